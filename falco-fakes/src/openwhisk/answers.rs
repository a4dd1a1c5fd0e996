//! Answers of the API, and how its queries are read.

use std::collections::HashMap;

use axum::body::Body;
use axum::http::{Response, StatusCode, header};
use serde::Serialize;
use serde_json::json;

use super::FakeAnswer;

pub(super) type Answer = Response<Body>;
pub(super) type Query = HashMap<String, String>;

pub(super) fn scripted(answer: FakeAnswer) -> Answer {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    raw_answer(status, answer.content_type, answer.body)
}

pub(super) fn refuse(status: StatusCode, text: &str) -> Answer {
    json_answer(status, &json!({"error": text, "code": "tid-of-the-fake"}))
}

pub(super) fn malformed(detail: &str) -> Answer {
    refuse(StatusCode::BAD_REQUEST, &malformed_text(detail))
}

pub(super) fn malformed_text(detail: &str) -> String {
    format!("The request content was malformed:\n{detail}")
}

pub(super) fn not_found() -> Answer {
    refuse(StatusCode::NOT_FOUND, "The requested resource does not exist.")
}

/// A path or a method that the API does not have.
pub(super) fn no_route() -> Answer {
    refuse(StatusCode::NOT_FOUND, "The requested resource could not be found.")
}

pub(super) fn concurrent_modification() -> Answer {
    refuse(StatusCode::CONFLICT, "Concurrent modification to resource detected.")
}

/// A refusal of the HTTP layer below the API: a text, without the id of a transaction.
pub(super) fn below_the_api(status: StatusCode, text: &str) -> Answer {
    let mut answer = raw_answer(status, "text/plain; charset=UTF-8", text.to_owned());
    answer.headers_mut().remove("x-request-id");
    answer
}

pub(super) fn json_answer(status: StatusCode, body: &impl Serialize) -> Answer {
    match serde_json::to_string(body) {
        Ok(body) => raw_answer(status, "application/json", body),
        Err(e) => below_the_api(StatusCode::INTERNAL_SERVER_ERROR, &e.to_string()),
    }
}

pub(super) fn raw_answer(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Body::from(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    headers.insert("x-request-id", header::HeaderValue::from_static("tid-of-the-fake"));
    answer
}

pub(super) fn with_id(mut answer: Answer, id: &str) -> Answer {
    if let Ok(id) = id.parse() {
        answer.headers_mut().insert("x-openwhisk-activation-id", id);
    }
    answer
}

/// The limit, of which 0 means the most there is, and how many to skip.
pub(super) fn page(query: &Query, what: &str) -> Result<(usize, usize), String> {
    let number = |key: &str, default| query.get(key).map_or(Ok(default), |value| value.parse());
    match (number("limit", 30), number("skip", 0)) {
        (Ok(0), Ok(skip)) => Ok((200, skip)),
        (Ok(limit), Ok(skip)) if limit <= 200 => Ok((limit, skip)),
        (Ok(limit), Ok(_)) => {
            Err(format!("The value '{limit}' is not in the range of 0 to 200 for {what}."))
        }
        _ => Err("The query parameter 'limit' was malformed".into()),
    }
}

pub(super) fn decode_pairs(query: &str) -> Query {
    let pair = |pair: &str| match pair.split_once('=') {
        Some((key, value)) => (decode(key), decode(&value.replace('+', " "))),
        None => (decode(pair), String::new()),
    };
    query.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

pub(super) fn decode(encoded: &str) -> String {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => std::str::from_utf8(&[*high, *low])
                .ok()
                .and_then(|hex| u8::from_str_radix(hex, 16).ok()),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
