//! The names of activations.

use std::sync::atomic::{AtomicU64, Ordering};

use falco_core::ActivationId;

/// The names of a platform's activations: a prefix of its own and a number.
#[derive(Debug)]
pub struct ActivationIds {
    prefix: String,
    next: AtomicU64,
}

impl ActivationIds {
    /// Names that begin with `prefix`, which no other platform has.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), next: AtomicU64::new(0) }
    }

    /// The next name.
    pub fn next(&self) -> ActivationId {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        ActivationId::new(format!("{}-{number}", self.prefix))
    }

    /// Whether the name is one of these.
    pub fn contains(&self, id: &ActivationId) -> bool {
        let number = id.as_str().strip_prefix(&self.prefix);
        number.is_some_and(|number| number.starts_with('-'))
    }
}
