//! Which workers are forked, and by which server.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use falco_core::{Error, Result};

use crate::fork::ForkServer;
use crate::interpreter::Interpreter;
use crate::pool::Pool;

/// A function with at most so many workers has each of them started by itself: a server would be one interpreter more.
const FEW: usize = 4;

/// So many workers start by themselves while the server starts, so that the first is no later for it.
const FIRST: usize = 2;

/// How the workers of Python functions start: by themselves, or forked out of an interpreter that is there already, which takes
/// a tenth of the time and shares memory.
///
/// Only imports at the very beginning of the function's file happen before the fork, and only where that makes no difference:
/// where one of them starts a thread or a process, opens a file, prints, or makes a generator of random numbers, workers
/// start by themselves, as those of other languages always do. `random` starts anew in each worker. Forked workers
/// of a function have one seed of `hash` in common.
///
/// # Examples
///
/// ```
/// use falco_local::{ForkedWorkers, LocalConfig};
///
/// let config = LocalConfig::builder()
///     .directory("/tmp/falco")
///     .forked_workers(ForkedWorkers::Never)
///     .build()?;
/// assert_eq!("never".parse::<ForkedWorkers>()?, ForkedWorkers::Never);
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ForkedWorkers {
    /// From the third worker on, of functions that may have more than four.
    #[default]
    Auto,
    /// All.
    Always,
    /// None.
    Never,
}

impl fmt::Display for ForkedWorkers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        })
    }
}

impl FromStr for ForkedWorkers {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => Err(Error::invalid_input(format!(
                "invalid choice of forked workers {text:?}: use auto, always or never"
            ))),
        }
    }
}

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
    /// How the next worker of `pool` starts. A server that is needed is started; others who need it wait meanwhile.
    pub(crate) fn next(&self, pool: &Pool) -> Start {
        let choice = pool.shared.config.forked_workers;
        let is_python = matches!(pool.function.interpreter, Interpreter::Python(_));
        if !is_python || choice == ForkedWorkers::Never {
            return self.alone();
        }
        if choice == ForkedWorkers::Auto {
            if pool.limits().max_workers <= FEW {
                return self.alone();
            }
            let one_more = |count| (count < FIRST).then_some(count + 1);
            if self.alone.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok() {
                return Start::Alone(Alone(self.alone.clone()));
            }
        }
        match self.server(pool) {
            Some(server) => Start::Forked(server),
            None => self.alone(),
        }
    }

    /// A worker that is started by itself, because it cannot be forked.
    pub(crate) fn alone(&self) -> Start {
        Start::Alone(Alone::new(&self.alone))
    }

    fn server(&self, pool: &Pool) -> Option<Arc<ForkServer>> {
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
        if pool.is_closed() {
            return None;
        }
        match ForkServer::start(pool) {
            Ok(started) => {
                *server = Server::Started(Arc::downgrade(&started));
                Some(started)
            }
            Err(reason) => {
                let function = &pool.function.name;
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
