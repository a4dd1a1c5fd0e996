//! How many files this process may have open: each worker needs up to six.

use std::sync::OnceLock;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

/// The limits that this process was started with.
static INHERITED: OnceLock<Rlimit> = OnceLock::new();

/// Raises the soft limit to the hard one. The soft one is there for programs that use `select`.
pub(crate) fn raise() {
    let inherited = INHERITED.get_or_init(|| getrlimit(Resource::Nofile));
    if inherited.current == inherited.maximum {
        return;
    }
    let raised = Rlimit { current: inherited.maximum, maximum: inherited.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays at {:?}", inherited.current);
    }
}

/// Gives a worker the limits that this process was started with: what a function can do must not depend on its driver.
pub(crate) fn restore(worker: Pid) {
    let Some(inherited) = INHERITED.get().filter(|limits| limits.current != limits.maximum) else {
        return;
    };
    if let Err(error) = prlimit(Some(worker), Resource::Nofile, *inherited) {
        tracing::debug!(%error, "a worker keeps the raised limit of open files");
    }
}
