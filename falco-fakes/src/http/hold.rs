//! A fake that stops answering after so many requests, for tests of what a caller that gave up leaves behind.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

use super::lock;

#[derive(Debug, Default)]
pub(super) struct Hold {
    requests: AtomicU64,
    limit: Mutex<Option<Limit>>,
    held: Notify,
    is_holding: AtomicBool,
}

/// After which request nothing is answered any more.
#[derive(Clone, Copy, Debug)]
struct Limit {
    after: u64,
    /// Whether the request that is not answered has its effect anyway.
    takes_effect: bool,
}

/// The fate of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Answered,
    Held { takes_effect: bool },
}

impl Hold {
    /// Counts a request.
    pub(super) fn admit(&self) -> Fate {
        let limit = *lock(&self.limit);
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        match limit {
            Some(limit) if number >= limit.after => {
                Fate::Held { takes_effect: limit.takes_effect && number == limit.after }
            }
            _ => Fate::Answered,
        }
    }

    /// Reports that a request is held.
    pub(super) fn report(&self) {
        self.is_holding.store(true, Ordering::SeqCst);
        self.held.notify_waiters();
    }

    pub(super) fn after(&self, requests: u64, takes_effect: bool) {
        let after = self.requests.load(Ordering::SeqCst) + requests;
        *lock(&self.limit) = Some(Limit { after, takes_effect });
        self.is_holding.store(false, Ordering::SeqCst);
    }

    pub(super) fn end(&self) {
        *lock(&self.limit) = None;
        self.is_holding.store(false, Ordering::SeqCst);
    }

    pub(super) async fn held(&self) {
        loop {
            let held = self.held.notified();
            if self.is_holding.load(Ordering::SeqCst) {
                return;
            }
            held.await;
        }
    }
}
