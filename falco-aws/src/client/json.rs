//! The protocols AWS JSON 1.0 (SQS) and 1.1 (CloudWatch Logs).

use falco_http::Reply;
use reqwest::Method;
use reqwest::header::HeaderValue;
use serde::Serialize;
use serde_json::Value;

use super::{Call, Client, RequestError};
use crate::config::Service;

/// The one of the two that a service speaks: the wrong version is refused.
#[derive(Clone, Copy)]
pub(super) struct Dialect {
    service: Service,
    content_type: &'static str,
    target: &'static str,
}

pub(super) const SQS: Dialect = Dialect {
    service: Service::Sqs,
    content_type: "application/x-amz-json-1.0",
    target: "AmazonSQS",
};

pub(super) const LOGS: Dialect = Dialect {
    service: Service::Logs,
    content_type: "application/x-amz-json-1.1",
    target: "Logs_20140328",
};

impl Dialect {
    /// A request of `operation`; `path` is always the root.
    pub(super) fn call<'a, T: Serialize>(
        self,
        operation: &'static str,
        input: &T,
    ) -> Result<Call<'a>, RequestError> {
        let target = HeaderValue::from_str(&format!("{}.{operation}", self.target));
        let target = target
            .map_err(|e| falco_core::Error::invalid_input("no such operation").with_source(&e))?;
        let mut call = Call::new(self.service, operation, Method::POST, "/")
            .header("content-type", HeaderValue::from_static(self.content_type))
            .header("x-amz-target", target);
        call.body = to_body(input)?;
        Ok(call)
    }
}

impl Client {
    pub(super) async fn json<T: Serialize + Sync>(
        &self,
        dialect: Dialect,
        operation: &'static str,
        input: &T,
    ) -> Result<Reply, RequestError> {
        self.send(&dialect.call(operation, input)?).await
    }
}

/// `value` as JSON.
pub(super) fn to_body<T: Serialize>(value: &T) -> Result<bytes::Bytes, RequestError> {
    Ok(falco_core::Payload::json(value)?.to_bytes())
}

/// The members of an object that are not null.
pub(super) fn without_nulls(object: Value) -> Value {
    match object {
        Value::Object(members) => {
            Value::Object(members.into_iter().filter(|(_, value)| !value.is_null()).collect())
        }
        other => other,
    }
}
