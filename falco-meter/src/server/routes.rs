//! The routes, and their answers.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;

use super::calls::{self, Wanted};
use super::guard::Guard;
use crate::metrics;
use crate::page;
use crate::source::Source;
use crate::state::{Details, State};

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
                let since = query.get("since").and_then(|since| since.parse().ok()).unwrap_or(0);
                let state = self.source.with_view(|view, flying| State::of(view, flying, since));
                json(&state)
            }
            "/api/v1/details" => {
                let wanted = stage.map(String::as_str);
                json(&self.source.with_view(|view, _| Details::of(view, wanted)))
            }
            "/api/v1/calls" => self.calls(&query).await,
            "/metrics" => of(StatusCode::OK, METRICS, self.source.with_view(metrics::text)),
            _ => of(StatusCode::NOT_FOUND, TEXT, "there is no such page\n"),
        }
    }

    async fn calls(&self, query: &HashMap<String, String>) -> Answer {
        let Some(path) = self.source.file().map(std::path::Path::to_owned) else {
            return of(StatusCode::NOT_FOUND, TEXT, "calls are listed out of a trace file\n");
        };
        let wanted = match Wanted::parse(query) {
            Ok(wanted) => wanted,
            Err(text) => return of(StatusCode::BAD_REQUEST, TEXT, format!("{text}\n")),
        };
        let listing = tokio::task::spawn_blocking(move || calls::list(&path, &wanted));
        match listing.await {
            Ok(Ok(page)) => json(&page),
            Ok(Err(error)) => of(StatusCode::NOT_FOUND, TEXT, format!("{error}\n")),
            Err(_) => of(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "the trace cannot be read\n"),
        }
    }
}

fn json(value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => of(StatusCode::OK, JSON, body),
        Err(_) => of(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "the numbers cannot be written\n"),
    }
}

fn of(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
