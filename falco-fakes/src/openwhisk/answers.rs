//! Replies of the API, and how its queries are read.

use std::collections::HashMap;

use falco_http::reqwest::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use crate::http::Reply;

pub(super) type Query = HashMap<String, String>;

pub(super) fn refuse(status: StatusCode, text: &str) -> Reply {
    json_answer(status, &json!({"error": text, "code": "tid-of-the-fake"}))
}

pub(super) fn malformed(detail: &str) -> Reply {
    refuse(StatusCode::BAD_REQUEST, &malformed_text(detail))
}

pub(super) fn malformed_text(detail: &str) -> String {
    format!("The request content was malformed:\n{detail}")
}

pub(super) fn not_found() -> Reply {
    refuse(StatusCode::NOT_FOUND, "The requested resource does not exist.")
}

/// A path or a method that the API does not have.
pub(super) fn no_route() -> Reply {
    refuse(StatusCode::NOT_FOUND, "The requested resource could not be found.")
}

pub(super) fn concurrent_modification() -> Reply {
    refuse(StatusCode::CONFLICT, "Concurrent modification to resource detected.")
}

/// A refusal of the HTTP layer below the API: a text, without the id of a transaction.
pub(super) fn below_the_api(status: StatusCode, text: &str) -> Reply {
    Reply::new(status.as_u16(), text.to_owned())
        .with_header("content-type", "text/plain; charset=UTF-8")
}

pub(super) fn json_answer(status: StatusCode, body: &impl Serialize) -> Reply {
    match serde_json::to_string(body) {
        Ok(body) => raw_answer(status, "application/json", body),
        Err(e) => below_the_api(StatusCode::INTERNAL_SERVER_ERROR, &e.to_string()),
    }
}

/// As [`json_answer`] with what may be long. `Display` is compiled with serde_json, which is optimized also in tests.
pub(super) fn value_answer(status: StatusCode, body: &Value) -> Reply {
    raw_answer(status, "application/json", body.to_string())
}

pub(super) fn raw_answer(status: StatusCode, content_type: &str, body: String) -> Reply {
    with_request_id(Reply::new(status.as_u16(), body).with_header("content-type", content_type))
}

/// The answer with the id of the transaction, which the API gives each.
pub(super) fn with_request_id(answer: Reply) -> Reply {
    answer.with_header("x-request-id", "tid-of-the-fake")
}

pub(super) fn with_id(answer: Reply, id: &str) -> Reply {
    answer.with_header("x-openwhisk-activation-id", id)
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
