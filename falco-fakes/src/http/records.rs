//! The requests that a fake has got.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::{Request, lock};

/// Longer bodies are remembered by their beginning.
const MAX_REMEMBERED: usize = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Records {
    requests: Mutex<Vec<Request>>,
    is_off: AtomicBool,
}

impl Records {
    pub(super) fn add(&self, request: &Request) {
        if self.is_off.load(Ordering::Relaxed) {
            return;
        }
        let mut remembered = request.clone();
        if remembered.body.len() > MAX_REMEMBERED {
            // A slice would keep all of it alive.
            remembered.body = Bytes::copy_from_slice(&request.body[..MAX_REMEMBERED]);
        }
        lock(&self.requests).push(remembered);
    }

    pub(super) fn all(&self) -> Vec<Request> {
        lock(&self.requests).clone()
    }

    pub(super) fn count(&self, wanted: impl Fn(&Request) -> bool) -> usize {
        lock(&self.requests).iter().filter(|request| wanted(request)).count()
    }

    pub(super) fn forget(&self) {
        lock(&self.requests).clear();
    }

    pub(super) fn stop(&self) {
        self.is_off.store(true, Ordering::Relaxed);
        self.forget();
    }
}
