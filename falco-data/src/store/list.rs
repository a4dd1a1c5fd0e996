//! Listings that break off.

use std::future::Future;

use falco_core::Result;

/// Listings of one prefix at most.
const TRIES: u32 = 4;

/// The words of the client for it, with each of the stores.
const BROKEN_OFF: &str = "list response body";

/// Repeats work that lists, from its beginning, when the answer of the store breaks off in the middle of a list: the client
/// repeats requests that fail, and not those. The work has to be idempotent.
pub(crate) async fn whole_list<T, F>(work: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut tries = 1;
    loop {
        match work().await {
            Err(error) if tries < TRIES && error.to_string().contains(BROKEN_OFF) => tries += 1,
            done => return done,
        }
    }
}
