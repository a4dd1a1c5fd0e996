//! The containers of one deployment: started as demand rises, ended when idle.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use falco_core::{Activation, Invocation, Result};
use falco_workers::{self as workers, Job, Logs, PoolLimits, removed};
use futures_util::future::BoxFuture;
use tokio::sync::{OnceCell, oneshot, watch};

use crate::bundle::Dialogue;
use crate::config::DockerConfig;
use crate::events::Ends;
use crate::images::Images;

/// Everything that all containers of a platform share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: DockerConfig,
    pub(crate) images: Images,
    pub(crate) ends: Arc<Ends>,
    /// The label by which this process's containers are known.
    pub(crate) driver: String,
    pub(crate) logs: Logs,
}

/// The code that a pool runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) version: String,
    pub(crate) dialogue: Dialogue,
    pub(crate) binds: Vec<String>,
}

/// The task of a worker, which may start its container before there is a job.
pub(crate) type Work = fn(Arc<Pool>, bool) -> BoxFuture<'static, ()>;

/// A queue, and up to `max_workers` tasks that each drive one container.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) function: Function,
    pub(crate) shared: Arc<Shared>,
    /// The body by which a container takes the code: known to the process that deployed it, and else read from the image.
    pub(crate) init: OnceCell<Bytes>,
    work: Work,
    state: Mutex<State>,
    /// The number of tasks, for callers that wait for the last.
    workers: watch::Sender<usize>,
    closed: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    queue: VecDeque<Job>,
    limits: PoolLimits,
    phase: Phase,
    /// Containers without work; the one that was used last is used first.
    idle: Vec<oneshot::Sender<(Job, PoolLimits)>>,
    workers: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Jobs are taken.
    Open,
    /// Replaced by newer code: what is queued is run, and no container stays.
    Retired,
    /// Removed: nothing runs any more.
    Closed,
}

impl Pool {
    pub(crate) fn new(
        function: Function,
        shared: Arc<Shared>,
        limits: PoolLimits,
        work: Work,
    ) -> Arc<Self> {
        let state = State {
            queue: VecDeque::new(),
            limits,
            phase: Phase::Open,
            idle: Vec::new(),
            workers: 0,
        };
        let (workers, closed) = (watch::channel(0).0, watch::channel(false).0);
        let pool = Arc::new(Self {
            function,
            shared,
            init: OnceCell::new(),
            work,
            state: Mutex::new(state),
            workers,
            closed,
        });
        workers::Pool::set_limits(&pool, limits);
        pool
    }

    /// Keeps the body by which a container takes the code, which then is not read from the image.
    pub(crate) fn set_init(&self, init: Option<Bytes>) {
        if let Some(init) = init {
            // One that was read meanwhile is the same.
            let _ = self.init.set(init);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a job to a container that is free, or queues it for the next.
    pub(crate) fn submit(self: &Arc<Self>, mut job: Job, invocation: &Invocation) {
        // Reported before a container can take it: its start is reported after that.
        if invocation.is_monitored() && self.is_busy() {
            job.hold(invocation);
        }
        let mut state = self.lock();
        if state.phase == Phase::Closed {
            drop(state);
            return job.refuse(removed());
        }
        while let Some(idle) = state.idle.pop() {
            // One whose time was over has gone, and gives the job back.
            match idle.send((job, state.limits)) {
                Ok(()) => return,
                Err((returned, _)) => job = returned,
            }
        }
        state.queue.push_back(job);
        if state.workers < state.limits.max_workers {
            self.hire(&mut state, false);
        }
    }

    /// Whether all containers that are allowed are there, and busy.
    fn is_busy(&self) -> bool {
        let state = self.lock();
        state.idle.is_empty() && state.workers >= state.limits.max_workers
    }

    /// Starts a task for one more container. `early` ones start it before there is a job.
    fn hire(self: &Arc<Self>, state: &mut State, early: bool) {
        state.workers += 1;
        self.workers.send_modify(|workers| *workers += 1);
        tokio::spawn((self.work)(self.clone(), early));
    }

    /// Delivers the result of a worker's last job and gives it the next one; `None` sends it home.
    pub(crate) async fn next(
        &self,
        done: Option<(Job, Result<Activation>)>,
        is_warm: bool,
    ) -> Option<(Job, PoolLimits)> {
        let waiting = {
            let mut state = self.lock();
            match state.queue.pop_front() {
                Some(job) => Ok((job, state.limits)),
                None => {
                    let is_surplus = state.workers > state.limits.max_workers;
                    let stays = is_warm && !is_surplus && state.phase == Phase::Open;
                    Err(stays.then(|| {
                        let (sender, receiver) = oneshot::channel();
                        // Counted as idle before its result is delivered: the caller's next job must find it.
                        state.idle.push(sender);
                        receiver
                    }))
                }
            }
        };
        if let Some((job, result)) = done {
            job.answer(result);
        }
        let (mut job, limits) = match waiting {
            Ok(next) => next,
            Err(None) => return None,
            Err(Some(receiver)) => self.wait_for_job(receiver).await?,
        };
        job.begin();
        Some((job, limits))
    }

    async fn wait_for_job(
        &self,
        mut receiver: oneshot::Receiver<(Job, PoolLimits)>,
    ) -> Option<(Job, PoolLimits)> {
        loop {
            match tokio::time::timeout(self.shared.config.workers.idle_timeout, &mut receiver).await
            {
                Ok(received) => return received.ok(),
                Err(_) => {
                    let state = self.lock();
                    let may_go = state.workers > state.limits.min_workers;
                    if may_go || state.phase != Phase::Open {
                        receiver.close();
                        // A job may have come at this very moment.
                        return receiver.try_recv().ok();
                    }
                }
            }
        }
    }

    /// A worker's task ends.
    pub(crate) fn leave(self: &Arc<Self>) {
        let mut state = self.lock();
        state.workers -= 1;
        // A job that came while this worker was on its way out has counted on it.
        if !state.queue.is_empty() && state.workers < state.limits.max_workers {
            self.hire(&mut state, false);
        }
        drop(state);
        self.workers.send_modify(|workers| *workers -= 1);
    }

    /// The sizes in force.
    pub(crate) fn limits(&self) -> PoolLimits {
        self.lock().limits
    }

    /// Waits until no container is left of a closed or retired pool.
    pub(crate) async fn wait_until_empty(&self) {
        let mut workers = self.workers.subscribe();
        // The sender lives as long as the pool.
        let _ = workers.wait_for(|workers| *workers == 0).await;
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }
}

impl workers::Pool for Pool {
    type Function = Function;

    fn function(&self) -> &Function {
        &self.function
    }

    fn set_limits(self: &Arc<Self>, limits: PoolLimits) {
        let mut state = self.lock();
        state.limits = limits;
        let surplus = state.workers.saturating_sub(limits.max_workers).min(state.idle.len());
        // Dropped, a sender sends its worker home.
        state.idle.drain(..surplus);
        while state.workers < limits.min_workers && state.phase == Phase::Open {
            self.hire(&mut state, true);
        }
        let wanted = (state.workers + state.queue.len()).min(limits.max_workers);
        while state.workers < wanted && state.phase == Phase::Open {
            self.hire(&mut state, false);
        }
    }

    fn retire(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Retired;
        }
        state.idle.clear();
    }

    fn close(&self) {
        let mut state = self.lock();
        state.phase = Phase::Closed;
        state.idle.clear();
        let queue = std::mem::take(&mut state.queue);
        drop(state);
        self.closed.send_replace(true);
        for job in queue {
            job.refuse(removed());
        }
    }

    fn is_empty(&self) -> bool {
        self.lock().workers == 0
    }
}
