//! Workers of one function, each a thread that holds its own state.

use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use falco_core::{Error, ErrorKind, Payload, Result};
use tokio::sync::oneshot;

use crate::arguments::Arguments;
use crate::context::Context;
use crate::failure::Failure;
use crate::worker::{Start, Worker};

/// Threads that are free, and how to start another. Dropping it ends them.
pub(super) struct Pool {
    start: Start,
    /// The arguments that are stored with the function, as JSON.
    arguments: Option<Payload>,
    free: Mutex<Vec<mpsc::Sender<Job>>>,
}

/// The result of a call, and its times.
pub(super) struct Answer {
    pub(super) result: Result<Vec<u8>, Failure>,
    pub(super) ran: Duration,
    pub(super) is_cold: bool,
}

struct Job {
    argument: String,
    context: Context,
    reply: oneshot::Sender<Answer>,
}

impl Pool {
    pub(super) fn new(start: Start, arguments: Option<Payload>) -> Self {
        Self { start, arguments, free: Mutex::default() }
    }

    /// Runs one call on a free thread, or on a new one.
    pub(super) async fn call(&self, argument: String, context: Context) -> Result<Answer> {
        let (reply, answer) = oneshot::channel();
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let worker = match free {
            Some(worker) => worker,
            None => self.spawn()?,
        };
        let gone = || Error::new(ErrorKind::Other, "the function's thread has ended");
        worker.send(Job { argument, context, reply }).map_err(|_| gone())?;
        let answer = answer.await.map_err(|_| gone().with_may_have_run(true))?;
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
        Ok(answer)
    }

    fn spawn(&self) -> Result<mpsc::Sender<Job>> {
        let (jobs, queue) = mpsc::channel();
        let (start, arguments) = (self.start.clone(), self.arguments.clone());
        let name = "falco-in-process".to_owned();
        let work = move || work(&start, arguments.as_ref(), &queue);
        let spawned = thread::Builder::new().name(name).spawn(work);
        spawned.map_err(|error| {
            Error::new(ErrorKind::Other, "cannot start a thread").with_source(&error)
        })?;
        Ok(jobs)
    }
}

/// Answers until the pool is dropped.
fn work(start: &Start, arguments: Option<&Payload>, queue: &mpsc::Receiver<Job>) {
    let started = || {
        let json = arguments.map_or("{}", Payload::as_str);
        Worker::start_with(start.clone(), Arguments::parse(json.as_bytes())?)
    };
    let mut worker = None;
    while let Ok(Job { argument, context, reply }) = queue.recv() {
        let is_cold = worker.is_none();
        if is_cold {
            match started() {
                Ok(started) => worker = Some(started),
                Err(failure) => {
                    let answer = Answer { result: Err(failure), ran: Duration::ZERO, is_cold };
                    // Nobody waits for it any more.
                    let _ = reply.send(answer);
                    continue;
                }
            }
        }
        let began = Instant::now();
        let Some(worker) = &mut worker else { continue };
        let result = worker.call(argument.as_bytes(), context);
        let _ = reply.send(Answer { result, ran: began.elapsed(), is_cold });
    }
}
