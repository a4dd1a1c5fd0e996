//! The workers that are forked, and the server that forks them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::fork::{ForkServer, Origin};
use crate::forked_workers::ForkedWorkers;
use crate::interpreter::Interpreter;

/// The largest number of workers for which no server is started, since it would be one more interpreter.
const FEW: usize = 4;

/// The number of workers that start by themselves in any case, so that the first call does not wait for the server.
const FIRST: usize = 2;

/// The part of a pool's state that says how its next worker starts.
#[derive(Debug, Default)]
pub(crate) struct Forking {
    server: Mutex<Server>,
    /// Workers that were started by themselves.
    alone: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
enum Server {
    #[default]
    NotStarted,
    Started(Weak<ForkServer>),
    /// It is not safe, or it did not work.
    Off,
}

/// How a worker is to start.
#[derive(Debug)]
pub(crate) enum Start {
    Alone(#[expect(dead_code, reason = "it counts the worker")] Alone),
    Forked(Arc<ForkServer>),
}

/// Counts a worker that was started by itself, as long as it lives.
#[derive(Debug)]
pub(crate) struct Alone(Arc<AtomicUsize>);

impl Alone {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Forking {
    /// How the next worker of a function starts, of which there may be `most`. It starts the server that it needs, and others wait
    /// for that.
    pub(crate) fn next(&self, origin: &Origin<'_>, most: usize) -> Start {
        let choice = origin.shared.config.forked_workers;
        let is_python = matches!(origin.function.interpreter, Interpreter::Python(_));
        if !is_python || choice == ForkedWorkers::Never {
            return self.alone();
        }
        if choice == ForkedWorkers::Auto {
            if most <= FEW {
                return self.alone();
            }
            let one_more = |count| (count < FIRST).then_some(count + 1);
            if self.alone.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok() {
                return Start::Alone(Alone(self.alone.clone()));
            }
        }
        match self.server(origin) {
            Some(server) => Start::Forked(server),
            None => self.alone(),
        }
    }

    /// A worker that is started by itself, because it cannot be forked.
    pub(crate) fn alone(&self) -> Start {
        Start::Alone(Alone::new(&self.alone))
    }

    fn server(&self, origin: &Origin<'_>) -> Option<Arc<ForkServer>> {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        match &*server {
            Server::Off => return None,
            Server::Started(started) => {
                if let Some(started) = started.upgrade() {
                    return Some(started);
                }
            }
            Server::NotStarted => {}
        }
        if (origin.is_closed)() {
            return None;
        }
        match ForkServer::start(origin) {
            Ok(started) => {
                *server = Server::Started(Arc::downgrade(&started));
                Some(started)
            }
            Err(reason) => {
                let function = &origin.function.name;
                tracing::debug!(function, reason, "its workers are started one by one");
                *server = Server::Off;
                None
            }
        }
    }

    /// Starts all later workers by themselves.
    pub(crate) fn turn_off(&self) {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Server::Off;
    }
}
