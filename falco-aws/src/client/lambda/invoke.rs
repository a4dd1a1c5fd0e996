//! Calls of functions, and the answers.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use falco_http::Reply;
use reqwest::Method;
use reqwest::header::HeaderValue;
use serde_json::json;

use super::{JSON, call, path};
use crate::client::{Client, RequestError};

/// The answer to an invocation.
#[derive(Debug)]
pub(crate) struct InvokeReply {
    pub(crate) reply: Reply,
}

impl InvokeReply {
    pub(crate) fn request_id(&self) -> Option<&str> {
        self.reply.header("x-amzn-requestid")
    }

    /// How the function failed, if it did: the status of a failed function is 200.
    pub(crate) fn function_error(&self) -> Option<&str> {
        self.reply.header("x-amz-function-error")
    }

    pub(crate) fn version(&self) -> Option<&str> {
        self.reply.header("x-amz-executed-version")
    }

    /// The last 4 KB of the log.
    pub(crate) fn log_tail(&self) -> Option<String> {
        let encoded = self.reply.header("x-amz-log-result")?;
        let bytes = STANDARD.decode(encoded).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Client {
    /// Runs a function and waits for its result, `timeout` at most. `trace` is the value of a `traceparent` header.
    pub(crate) async fn invoke(
        &self,
        name: &str,
        event: Bytes,
        trace: &str,
        timeout: Duration,
        result_limit: u64,
    ) -> Result<InvokeReply, RequestError> {
        let context = json!({"custom": {"traceparent": trace}}).to_string();
        let mut request = call("Invoke", Method::POST, path("2015-03-31", name, "/invocations"))
            .header("content-type", JSON)
            .header("x-amz-invocation-type", HeaderValue::from_static("RequestResponse"))
            .header("x-amz-log-type", HeaderValue::from_static("Tail"));
        if let Ok(context) = HeaderValue::try_from(STANDARD.encode(context)) {
            request = request.header("x-amz-client-context", context);
        }
        request.body = event;
        request.timeout = Some(timeout);
        request.reply_limit = result_limit;
        Ok(InvokeReply { reply: self.send(&request).await? })
    }

    /// Puts an event into a function's queue, and gives the id of the request.
    pub(crate) async fn invoke_event(
        &self,
        name: &str,
        event: Bytes,
    ) -> Result<Option<String>, RequestError> {
        let mut request = call("Invoke", Method::POST, path("2015-03-31", name, "/invocations"))
            .header("content-type", JSON)
            .header("x-amz-invocation-type", HeaderValue::from_static("Event"));
        request.body = event;
        let reply = InvokeReply { reply: self.send(&request).await? };
        let id = reply.request_id().map(str::to_owned);
        if id.is_none() {
            // What broke off before an answer is a fault of the connection.
            reply.reply.whole_body()?;
        }
        Ok(id)
    }
}
