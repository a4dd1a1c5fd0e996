//! Replies, in the shapes that Google gives them.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::http::Reply;

pub(super) fn with(status: u16, content_type: &str, body: impl Into<Bytes>) -> Reply {
    Reply::new(status, body).with_header("content-type", content_type)
}

pub(super) fn ok(json: &Value) -> Reply {
    with(200, "application/json; charset=UTF-8", json.to_string())
}

/// An error of an API.
pub(super) fn error(code: u16, status: &str, message: &str) -> Reply {
    let body = json!({"error": {"code": code, "status": status, "message": message}});
    with(code, "application/json; charset=UTF-8", body.to_string())
}

/// An error of Storage, which has no `status`.
pub(super) fn storage_error(code: u16, reason: &str, message: &str) -> Reply {
    let errors = json!([{"domain": "global", "reason": reason, "message": message}]);
    let body = json!({"error": {"code": code, "message": message, "errors": errors}});
    with(code, "application/json; charset=UTF-8", body.to_string())
}

/// An error of the front end.
pub(super) fn html(code: u16, title: &str) -> Reply {
    let page = format!(
        "<!DOCTYPE html><html><head><title>Error {code} ({title})!!1</title><style>*{{margin:0}}</style></head>\
         <body><p><b>{code}.</b> <ins>That's an error.</ins><p>{title}</body></html>"
    );
    with(code, "text/html; charset=UTF-8", page)
}

pub(super) fn not_found(what: &str) -> Reply {
    error(404, "NOT_FOUND", &format!("Resource '{what}' was not found"))
}
