//! The routes, and their answers.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use falco_core::{Error, ErrorKind, Result};
use falco_trace::{CallIndex, Micros};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use tokio::sync::OnceCell;

use super::calls::{self, CallPage};
use super::guard::Guard;
use crate::metrics;
use crate::page;
use crate::report;
use crate::source::Source;
use crate::state::{CallState, Details, Seen, State};

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) type Answer = Response<Full<Bytes>>;

/// The content that is served, and to whom.
#[derive(Debug)]
pub(super) struct Routes {
    pub(super) source: Source,
    pub(super) guard: Guard,
    /// Where calls are in the trace file, once somebody has asked for any.
    pub(super) index: Arc<Mutex<Option<CallIndex>>>,
    /// All calls of a run that has ended, once somebody has asked for them.
    pub(super) timeline: OnceCell<Bytes>,
}

impl Routes {
    pub(super) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let mut answer = self.clone().route(&request).await;
        if request.method() == Method::HEAD {
            *answer.body_mut() = Full::default();
        }
        Guard::add_headers(answer.headers_mut());
        answer
    }

    async fn route(self: Arc<Self>, request: &Request<Incoming>) -> Answer {
        if !self.guard.is_host(request.headers()) {
            let text = "this page answers for IP addresses, localhost, and the names given to it\n";
            return of(StatusCode::MISDIRECTED_REQUEST, TEXT, text);
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut answer = of(StatusCode::METHOD_NOT_ALLOWED, TEXT, "read only\n");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match request.uri().path() {
            "/" => return of(StatusCode::OK, HTML, page::HTML),
            "/app.js" => return of(StatusCode::OK, SCRIPT, page::SCRIPT),
            "/app.css" => return of(StatusCode::OK, STYLE, page::STYLE),
            _ => {}
        }
        if !self.guard.knows(request.headers()) {
            let text = "the key is missing or wrong: open the address that the run has printed\n";
            let mut answer = of(StatusCode::UNAUTHORIZED, TEXT, text);
            answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return answer;
        }
        let query: HashMap<String, String> =
            form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes())
                .into_owned()
                .collect();
        let stage = query.get("stage").filter(|stage| !stage.is_empty());
        match request.uri().path() {
            "/api/v1/state" => {
                let calls = query.get("since").and_then(|since| since.parse().ok()).unwrap_or(0);
                let millis = query.get("t").and_then(|time| time.parse::<f64>().ok());
                let samples = millis.map(|millis| Micros((millis * 1e3).round() as i64));
                let seen = Seen { calls, samples };
                json(&self.source.with_view(|view, flying| State::of(view, flying, seen)))
            }
            "/api/v1/details" => {
                let wanted = stage.map(String::as_str);
                json(&self.source.with_view(|view, _| Details::of(view, wanted)))
            }
            "/api/v1/calls" => self.calls(&query).await,
            "/api/v1/timeline" => self.timeline().await,
            "/metrics" => of(StatusCode::OK, METRICS, self.source.with_view(metrics::text)),
            _ => of(StatusCode::NOT_FOUND, TEXT, "there is no such page\n"),
        }
    }

    async fn calls(&self, query: &HashMap<String, String>) -> Answer {
        let Some(path) = self.source.file().map(std::path::Path::to_owned) else {
            return of(StatusCode::NOT_FOUND, TEXT, "calls are listed out of a trace file\n");
        };
        let (wanted, after) = match calls::parse(query) {
            Ok(wanted) => wanted,
            Err(text) => return of(StatusCode::BAD_REQUEST, TEXT, format!("{text}\n")),
        };
        let index = self.index.clone();
        let listing = looking(move || {
            // What was read so far is right, also after a panic.
            let mut index = index.lock().unwrap_or_else(PoisonError::into_inner);
            let index = index.get_or_insert_with(|| CallIndex::new(path));
            let (calls, next) = index.calls(&wanted, after, calls::LISTED)?;
            Ok(CallPage { calls: calls.iter().map(CallState::of).collect(), next })
        });
        match listing.await {
            Ok(page) => json(&page),
            Err(error) => of(StatusCode::NOT_FOUND, TEXT, format!("{error}\n")),
        }
    }

    /// All calls, of a run that has ended.
    async fn timeline(&self) -> Answer {
        let is_over = self.source.with_view(|view, _| view.is_over());
        let Some(path) = self.source.file().map(PathBuf::from).filter(|_| is_over) else {
            let text = "all calls are shown out of a trace file, once the run has ended\n";
            return of(StatusCode::NOT_FOUND, TEXT, text);
        };
        let read = || looking(move || Ok(body(&report::timeline(&path)?)));
        match self.timeline.get_or_try_init(read).await {
            Ok(timeline) => of(StatusCode::OK, JSON, timeline.clone()),
            Err(error) => of(StatusCode::NOT_FOUND, TEXT, format!("{error}\n")),
        }
    }
}

/// Looks into a file, off the tasks that answer others.
async fn looking<T: Send + 'static>(
    look: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(look).await.map_err(|error| {
        Error::new(ErrorKind::Panicked, "the trace cannot be read").with_source(&error)
    })?
}

fn json(value: &impl Serialize) -> Answer {
    of(StatusCode::OK, JSON, body(value))
}

/// The text of a value.
fn body(value: &impl Serialize) -> Bytes {
    // Numbers and texts only, which always can be written.
    serde_json::to_vec(value).unwrap_or_default().into()
}

fn of(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
