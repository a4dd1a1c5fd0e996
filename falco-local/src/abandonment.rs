//! Says to work on another thread that nobody waits for it any more.

use std::sync::Arc;

use falco_core::{Error, ErrorKind, Result};

/// Held by the one who waits for the work.
#[derive(Debug)]
pub(crate) struct Caller(#[expect(dead_code, reason = "the work counts it")] Arc<()>);

/// Held by the work.
#[derive(Debug)]
pub(crate) struct Abandonment(Arc<()>);

pub(crate) fn abandonment() -> (Caller, Abandonment) {
    let shared = Arc::new(());
    (Caller(shared.clone()), Abandonment(shared))
}

impl Abandonment {
    /// Whether nobody waits for the work any more.
    pub(crate) fn has_come(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// # Errors
    ///
    /// `Cancelled` when nobody waits for the work any more.
    pub(crate) fn check(&self) -> Result<()> {
        match self.has_come() {
            true => Err(Error::new(ErrorKind::Cancelled, "nobody waits for it any more")),
            false => Ok(()),
        }
    }
}
