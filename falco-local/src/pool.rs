//! The workers of one deployment: started as demand rises, stopped when idle.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use falco_core::{Activation, Error, ErrorKind, Invocation, Result};
use falco_workers::{self as workers, Job, PoolLimits, removed};
use rustix::process::Pid;

use crate::fork::Origin;
use crate::forking::{Forking, Start};
use crate::package::Function;
use crate::process::kill_group;
use crate::shared::Shared;

/// A worker's thread mostly waits.
const STACK: usize = 256 * 1024;

/// How long no worker is started after the system had no room for one.
const FULL: Duration = Duration::from_millis(100);

/// A worker's last jobs with their results, until these are delivered. Where several answers came at once, they are delivered
/// together, since each delivery may wake the task that waits for it.
#[derive(Debug, Default)]
pub(crate) struct Done(Vec<(Job, Result<Activation>)>);

impl Done {
    pub(crate) fn push(&mut self, job: Job, result: Result<Activation>) {
        self.0.push((job, result));
    }

    /// Delivers the results that are not delivered yet.
    pub(crate) fn deliver(&mut self) {
        for (job, result) in self.0.drain(..) {
            job.answer(result);
        }
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        self.deliver();
    }
}

/// The work of a worker's thread, by the worker's number; whether it starts its process before there is a job.
pub(crate) type Work = fn(pool: Arc<Pool>, id: u64, early: bool);

/// A queue, and up to `max_workers` threads that each drive one process. A blocking thread for each worker costs fewer
/// system calls and switches an activation than tasks would, and there are as many as processors, not as invocations.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) function: Function,
    pub(crate) shared: Arc<Shared>,
    pub(crate) forking: Forking,
    work: Work,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug)]
struct State {
    queue: VecDeque<Job>,
    limits: PoolLimits,
    phase: Phase,
    /// The process groups of all workers, as far as they have one.
    workers: HashMap<u64, Option<Pid>>,
    idle: usize,
    next_worker: u64,
    threads: Vec<JoinHandle<()>>,
    /// Until then the system has no room for another worker.
    full_until: Option<Instant>,
}

impl State {
    /// Whether one more worker is allowed, and likely to start. Where there is none, only trying can show.
    fn has_room(&mut self) -> bool {
        if self.full_until.is_some_and(|until| Instant::now() >= until) {
            self.full_until = None;
        }
        let may_start = self.full_until.is_none() || self.workers.is_empty();
        may_start && self.workers.len() < self.limits.max_workers
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Jobs are taken.
    Open,
    /// Replaced by newer code: what is queued is run, and no worker stays.
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
            workers: HashMap::new(),
            idle: 0,
            next_worker: 0,
            threads: Vec::new(),
            full_until: None,
        };
        let pool = Arc::new(Self {
            function,
            shared,
            forking: Forking::default(),
            work,
            state: Mutex::new(state),
            wake: Condvar::new(),
        });
        workers::Pool::set_limits(&pool, limits);
        pool
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a job for the next worker that is free.
    pub(crate) fn submit(self: &Arc<Self>, mut job: Job, invocation: &Invocation) {
        // Reported before a worker can take it: its start is reported after that.
        if invocation.is_monitored() && self.is_busy() {
            job.hold(invocation);
        }
        let mut state = self.lock();
        if state.phase == Phase::Closed {
            drop(state);
            return job.refuse(removed());
        }
        state.queue.push_back(job);
        if state.queue.len() <= state.idle {
            drop(state);
            self.wake.notify_one();
        } else if state.has_room()
            && let Err(error) = self.hire(&mut state, false)
            && state.workers.is_empty()
        {
            let job = state.queue.pop_back();
            drop(state);
            if let Some(job) = job {
                job.answer(Err(error));
            }
        }
    }

    /// Whether all workers that are allowed are there, and have as much to do as they can.
    fn is_busy(&self) -> bool {
        let state = self.lock();
        state.queue.len() >= state.idle && state.workers.len() >= state.limits.max_workers
    }

    /// Starts a thread for one more worker. `early` ones start their process before there is a job.
    fn hire(self: &Arc<Self>, state: &mut State, early: bool) -> Result<()> {
        let id = state.next_worker;
        state.next_worker += 1;
        state.threads.retain(|thread| !thread.is_finished());
        let pool = self.clone();
        let thread = thread::Builder::new()
            .name(format!("falco-{}-{id}", self.function.name))
            .stack_size(STACK)
            .spawn(move || (pool.work)(pool.clone(), id, early))
            .map_err(|error| {
                Error::new(ErrorKind::Unavailable, "a thread for a worker cannot be started")
                    .with_source(&error)
            })?;
        state.workers.insert(id, None);
        state.threads.push(thread);
        Ok(())
    }

    /// Gives a worker its next job; `None` sends it home. Where it has to wait for one, the result of its last job is
    /// delivered; else that is left to the worker, which may give its process the next request first.
    ///
    /// A worker that finds no job is counted as idle before its result is delivered: the caller's next job must find
    /// it, and not start another.
    pub(crate) fn next(&self, done: &mut Done, is_warm: bool) -> Option<(Job, PoolLimits)> {
        let mut state = self.lock();
        let job = state.queue.pop_front();
        if job.is_none() && is_warm {
            state.idle += 1;
        }
        let limits = state.limits;
        drop(state);
        if job.is_none() {
            done.deliver();
        }
        let (mut job, limits) = match job {
            Some(job) => (job, limits),
            // A worker without a process has no reason to wait.
            None if !is_warm => return None,
            None => self.wait_for_job()?,
        };
        job.begin();
        Some((job, limits))
    }

    fn wait_for_job(&self) -> Option<(Job, PoolLimits)> {
        let idle_timeout = self.shared.config.workers.idle_timeout;
        let mut state = self.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                state.idle -= 1;
                return Some((job, state.limits));
            }
            let is_surplus = state.workers.len() > state.limits.max_workers;
            if state.phase != Phase::Open || is_surplus {
                break;
            }
            let (next, waited) =
                self.wake.wait_timeout(state, idle_timeout).unwrap_or_else(PoisonError::into_inner);
            state = next;
            let may_go = state.workers.len() > state.limits.min_workers;
            if waited.timed_out() && state.queue.is_empty() && may_go {
                break;
            }
        }
        state.idle -= 1;
        None
    }

    /// Notes a worker's process group. False when the function has been removed: the process must not run then.
    pub(crate) fn attach(&self, worker: u64, group: Pid) -> bool {
        let mut state = self.lock();
        if state.phase == Phase::Closed {
            return false;
        }
        state.workers.insert(worker, Some(group));
        true
    }

    /// Forgets a worker's process group. After that, the group's number may become another's.
    pub(crate) fn detach(&self, worker: u64) {
        if let Some(group) = self.lock().workers.get_mut(&worker) {
            *group = None;
        }
    }

    /// Takes back the job of a worker that the system has no room for, and forgets the worker: the others will do it.
    /// Without others the job is returned, since nothing would ever run it.
    pub(crate) fn give_back(&self, worker: u64, job: Job) -> Option<Job> {
        let mut state = self.lock();
        if state.workers.len() <= 1 || state.phase == Phase::Closed {
            return Some(job);
        }
        state.workers.remove(&worker);
        state.full_until = Some(Instant::now() + FULL);
        state.queue.push_front(job);
        drop(state);
        self.wake.notify_one();
        None
    }

    /// Takes jobs that a worker is sent before it has answered the one that it runs: at most so many, at most its share,
    /// and none while another worker is idle.
    pub(crate) fn take_ahead(&self, most: usize) -> VecDeque<Job> {
        let mut state = self.lock();
        if state.idle > 0 {
            return VecDeque::new();
        }
        let share = state.queue.len() / state.workers.len().max(1);
        state.queue.drain(..most.min(share)).collect()
    }

    /// Takes back jobs that were sent ahead, in their order, and were not begun.
    pub(crate) fn give_back_ahead(self: &Arc<Self>, jobs: VecDeque<Job>) {
        let mut state = self.lock();
        if state.phase == Phase::Closed {
            drop(state);
            return jobs.into_iter().for_each(|job| job.refuse(removed()));
        }
        for job in jobs.into_iter().rev() {
            state.queue.push_front(job);
        }
        self.replace_missing(&mut state);
        drop(state);
        self.wake.notify_all();
    }

    /// Whether another worker could run what waits behind a call: one is idle, or one more may start.
    pub(crate) fn could_take(&self) -> bool {
        let mut state = self.lock();
        state.idle > state.queue.len() || state.has_room()
    }

    /// Starts a worker for each job that waits and that no idle worker takes, as far as there is room.
    fn replace_missing(self: &Arc<Self>, state: &mut State) {
        let waiting = state.queue.len().saturating_sub(state.idle);
        for _ in 0..waiting {
            if !state.has_room() {
                break;
            }
            if let Err(error) = self.hire(state, false) {
                tracing::warn!(%error, "a worker could not be replaced");
                break;
            }
        }
    }

    /// A worker's thread ends.
    pub(crate) fn leave(self: &Arc<Self>, worker: u64) {
        let mut state = self.lock();
        state.workers.remove(&worker);
        // A job that came while this worker was on its way out has counted on it.
        self.replace_missing(&mut state);
    }

    /// How the next worker's process starts.
    pub(crate) fn next_start(&self) -> Start {
        let is_closed = || self.is_closed();
        let (function, shared) = (&self.function, &self.shared);
        let most = self.limits().max_workers;
        self.forking.next(&Origin { function, shared, is_closed: &is_closed }, most)
    }

    /// The sizes in force.
    pub(crate) fn limits(&self) -> PoolLimits {
        self.lock().limits
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().phase == Phase::Closed
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
        while state.workers.len() < limits.min_workers && state.phase == Phase::Open {
            if let Err(error) = self.hire(&mut state, true) {
                tracing::warn!(%error, "a worker could not be started early");
                break;
            }
        }
        let waiting = state.queue.len().saturating_sub(state.idle);
        let wanted = (state.workers.len() + waiting).min(limits.max_workers);
        while state.workers.len() < wanted && state.phase == Phase::Open {
            if self.hire(&mut state, false).is_err() {
                break;
            }
        }
        drop(state);
        self.wake.notify_all();
    }

    fn retire(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Retired;
        }
        drop(state);
        self.wake.notify_all();
    }

    /// Ends all workers, whatever they do, and waits until they are gone.
    fn close(&self) {
        let mut state = self.lock();
        state.phase = Phase::Closed;
        let queue = std::mem::take(&mut state.queue);
        let threads = std::mem::take(&mut state.threads);
        for group in state.workers.values().flatten() {
            kill_group(*group);
        }
        drop(state);
        self.wake.notify_all();
        for job in queue {
            job.refuse(removed());
        }
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!(function = self.function.name, "a worker's thread panicked");
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.lock().workers.is_empty()
    }
}

#[cfg(test)]
mod tests;
