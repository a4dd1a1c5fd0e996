//! Requests as a fake has got them.

use axum::http::HeaderMap;
use axum::http::request::Parts;
use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;

use super::decode::{decode, pairs};

/// A request that a fake has got.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request {
    /// The provider's name of the operation, such as `CreateFunction`; empty where it has none.
    pub operation: String,
    /// The method, such as `POST`.
    pub method: String,
    /// The path and the query, as they were sent.
    pub target: String,
    /// The path as it was sent, still encoded.
    pub path: String,
    /// The query, decoded.
    pub query: Vec<(String, String)>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// When it came.
    pub at: Instant,
}

impl Request {
    /// The request whose body is still to come.
    pub(super) fn of(parts: Parts) -> Self {
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        Self {
            operation: String::new(),
            method: parts.method.to_string(),
            target: target.to_owned(),
            path: parts.uri.path().to_owned(),
            query: pairs(parts.uri.query().unwrap_or_default()),
            headers: parts.headers,
            body: Bytes::new(),
            at: Instant::now(),
        }
    }

    /// A request of the fake's own, such as one that a queue of the provider makes.
    pub fn new(method: &str, path: &str, headers: HeaderMap, body: impl Into<Bytes>) -> Self {
        Self {
            operation: String::new(),
            method: method.to_owned(),
            target: path.to_owned(),
            path: path.to_owned(),
            query: Vec::new(),
            headers,
            body: body.into(),
            at: Instant::now(),
        }
    }

    /// The line that a [`Fault`](super::Fault) is matched with: operation, if there is one, method and path.
    pub fn line(&self) -> String {
        let separator = if self.operation.is_empty() { "" } else { " " };
        format!("{}{separator}{} {}", self.operation, self.method, self.path)
    }

    /// A header as text, if it is there.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The bearer token that it carries.
    pub fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    /// A parameter of the query, decoded.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A parameter of a form in the body, decoded.
    pub fn form(&self, name: &str) -> Option<String> {
        self.header("content-type")?
            .starts_with("application/x-www-form-urlencoded")
            .then_some(())?;
        let fields = pairs(&String::from_utf8_lossy(&self.body));
        fields.into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The body as JSON; null when it is something else.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The parts of the path, decoded.
    pub fn segments(&self) -> Vec<String> {
        self.path.trim_matches('/').split('/').map(decode).collect()
    }
}
