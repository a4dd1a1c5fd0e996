//! Requests as the fake has recorded them.

use axum::http::HeaderMap;

/// A request that the fake has seen.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RecordedRequest {
    pub method: String,
    /// As it was sent, still encoded.
    pub path: String,
    /// Decoded.
    pub query: Vec<(String, String)>,
    pub headers: HeaderMap,
    pub body: bytes::Bytes,
}

impl RecordedRequest {
    /// Method and path.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// When it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The segments of the path, decoded.
    pub(super) fn segments(&self) -> Vec<String> {
        self.path.trim_matches('/').split('/').map(decoded).collect()
    }

    pub(super) fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }
}

pub(super) fn decoded(text: &str) -> String {
    let url = falco_http::reqwest::Url::parse(&format!("http://x/?{text}")).unwrap();
    let plus = text.replace('+', "%2B");
    let url = falco_http::reqwest::Url::parse(&format!("http://x/?a={plus}")).unwrap_or(url);
    url.query_pairs().next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}
