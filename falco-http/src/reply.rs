//! A reply, read into bounded memory.

use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use falco_core::{Error, ErrorKind, Result};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde::Deserialize;

use crate::transport::{in_time, no_answer};
use crate::{excerpt, retry_after, transport_error};

/// A reply whose body was read up to a limit.
///
/// Status and headers are there even when the body is not: on many platforms the header alone says which activation
/// a broken answer belongs to.
#[derive(Debug)]
#[non_exhaustive]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, or its beginning: see [`end`](Self::end).
    pub body: Bytes,
    /// How the body ended.
    pub end: BodyEnd,
}

/// How the body of a [`Reply`] ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum BodyEnd {
    /// It is whole.
    Complete,
    /// It is longer than the limit, in bytes; the rest was not read.
    OverLimit(u64),
    /// The connection failed in the middle.
    Broken(Error),
}

impl Reply {
    /// Reads a reply that nothing may be missing of for longer than `timeout`.
    pub(crate) async fn read(
        mut response: reqwest::Response,
        limit: u64,
        timeout: Option<Duration>,
    ) -> Self {
        let status = response.status();
        let headers = std::mem::take(response.headers_mut());
        let (body, end) = read_body(&mut response, limit, timeout).await;
        Self { status, headers, body, end }
    }

    /// A header as text, when it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body, when it is whole.
    ///
    /// # Errors
    ///
    /// `PayloadTooLarge` when it is over the limit, and what the connection failed with when it broke off. Both leave
    /// open whether the function ran.
    pub fn whole_body(&self) -> Result<&Bytes> {
        match &self.end {
            BodyEnd::Complete => Ok(&self.body),
            BodyEnd::OverLimit(limit) => Err(Error::new(
                ErrorKind::PayloadTooLarge,
                format!("the answer has more than {limit} bytes"),
            )
            .with_may_have_run(true)),
            BodyEnd::Broken(error) => Err(error.clone()),
        }
    }

    /// The body, parsed.
    ///
    /// # Errors
    ///
    /// As [`whole_body`](Self::whole_body), and `Protocol` with an excerpt when it is not the JSON expected.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T> {
        serde_json::from_slice(self.whole_body()?).map_err(|e| self.unexpected().with_source(&e))
    }

    /// A `Protocol` error for a reply that makes no sense here, with its status and an excerpt of its body.
    pub fn unexpected(&self) -> Error {
        let message = format!("unexpected answer {}: {}", self.status, excerpt(&self.body));
        Error::new(ErrorKind::Protocol, message)
    }

    /// The server's clock, to the second.
    pub fn date(&self) -> Option<SystemTime> {
        httpdate::parse_http_date(self.header("date")?).ok()
    }

    /// The wait that the server asks for; see [`retry_after()`](retry_after()).
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(&self.headers, SystemTime::now())
    }
}

async fn read_body(
    response: &mut reqwest::Response,
    limit: u64,
    timeout: Option<Duration>,
) -> (Bytes, BodyEnd) {
    let capacity = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut body = BytesMut::new();
    loop {
        let Some(chunk) = in_time(timeout, response.chunk()).await else {
            let origin = response.url().origin().ascii_serialization();
            return (body.freeze(), BodyEnd::Broken(no_answer(&origin)));
        };
        match chunk {
            Ok(None) => return (body.freeze(), BodyEnd::Complete),
            Ok(Some(chunk)) if chunk.len() > capacity - body.len() => {
                body.extend_from_slice(&chunk[..capacity - body.len()]);
                return (body.freeze(), BodyEnd::OverLimit(limit));
            }
            // Most answers are one chunk, which is then the body without a copy.
            Ok(Some(chunk)) if body.is_empty() => body = BytesMut::from(chunk),
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Err(error) => return (body.freeze(), BodyEnd::Broken(transport_error(error))),
        }
    }
}
