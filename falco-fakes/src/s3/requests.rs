//! Requests by their kind and by the place of their object.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use hyper::{Method, Uri};

/// A kind of request to S3, as its price list distinguishes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RequestKind {
    /// The content of an object, or a range of it.
    Get,
    /// The size and the ETag of an object.
    Head,
    /// An object, or a step of an upload in parts.
    Put,
    /// The keys below a prefix.
    List,
    /// The removal of one object or of many, which costs nothing.
    Delete,
}

/// Counts of requests by kind and by the first part of the key.
#[derive(Default)]
pub(super) struct Counts(Mutex<BTreeMap<(RequestKind, String), u64>>);

impl Counts {
    pub(super) fn add(&self, method: &Method, uri: &Uri) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(classified(method, uri)).or_default() += 1;
    }

    /// How many there were of a kind; `top` is the first part of their keys, and empty for all.
    pub(super) fn of(&self, kind: RequestKind, top: &str) -> u64 {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_asked =
            |(one, place): &(RequestKind, String)| *one == kind && (top.is_empty() || place == top);
        counts.iter().filter(|(key, _)| is_asked(key)).map(|(_, count)| count).sum()
    }
}

/// The kind of a request, and the first part of the key, or of the prefix of a list. The path is `/BUCKET/KEY`.
fn classified(method: &Method, uri: &Uri) -> (RequestKind, String) {
    let key = uri.path().trim_start_matches('/').split_once('/').map_or("", |(_, key)| key);
    let query = uri.query().unwrap_or_default();
    let value_of = |name: &str| {
        let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.find(|(found, _)| *found == name).map(|(_, value)| value)
    };
    let kind = match *method {
        Method::HEAD => RequestKind::Head,
        Method::DELETE => RequestKind::Delete,
        Method::POST if value_of("delete").is_some() => RequestKind::Delete,
        Method::GET if key.is_empty() => RequestKind::List,
        Method::GET => RequestKind::Get,
        _ => RequestKind::Put,
    };
    let place = if key.is_empty() { value_of("prefix").unwrap_or_default() } else { key };
    // Slashes in a query are percent-encoded.
    let top = place.split('/').next().unwrap_or_default();
    let top = top.split("%2F").next().unwrap_or_default();
    (kind, top.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_distinguished_as_the_price_list_does() {
        let counts = Counts::default();
        for (method, uri) in [
            (Method::GET, "/bucket/in/a.txt?X-Amz-Signature=1"),
            (Method::GET, "/bucket/in/b/c"),
            (Method::GET, "/bucket?list-type=2&prefix=in%2Fb"),
            (Method::GET, "/bucket/?list-type=2&prefix=scratch/runs"),
            (Method::HEAD, "/bucket/in/a.txt"),
            (Method::PUT, "/bucket/scratch/x"),
            (Method::POST, "/bucket/scratch/x?uploads"),
            (Method::POST, "/bucket?delete"),
            (Method::DELETE, "/bucket/scratch/x"),
        ] {
            counts.add(&method, &uri.parse().unwrap());
        }
        use RequestKind::{Delete, Get, Head, List, Put};
        let count = |top| [Get, Head, Put, List, Delete].map(|kind| counts.of(kind, top));
        assert_eq!(count(""), [2, 1, 2, 2, 2]);
        assert_eq!(count("in"), [2, 1, 0, 1, 0]);
        assert_eq!(count("scratch"), [0, 0, 2, 1, 1]);
    }
}
