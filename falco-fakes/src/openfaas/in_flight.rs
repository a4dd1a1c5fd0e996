//! The requests that a replica works on, which the watchdog counts before it starts anything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::http::lock;

/// The requests in flight of each function.
#[derive(Clone, Debug, Default)]
pub(super) struct InFlight(Arc<Mutex<BTreeMap<String, u64>>>);

/// One request in flight, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    all: InFlight,
    function: String,
}

impl InFlight {
    /// Counts a request; `None` if that were more than `most`.
    pub(super) fn enter(&self, function: &str, most: Option<u64>) -> Option<Slot> {
        let mut counts = lock(&self.0);
        let count = counts.entry(function.to_owned()).or_default();
        if most.is_some_and(|most| *count >= most) {
            return None;
        }
        *count += 1;
        Some(Slot { all: self.clone(), function: function.to_owned() })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(count) = lock(&self.all.0).get_mut(&self.function) {
            *count -= 1;
        }
    }
}
