//! The query protocol of IAM and STS: a form goes out, XML comes back.

use falco_core::{Error, ErrorKind};
use falco_http::Reply;
use reqwest::Method;
use reqwest::header::HeaderValue;
use serde::de::DeserializeOwned;

use super::encoding::encode;
use super::{Call, Client, RequestError};
use crate::config::Service;

impl Client {
    pub(super) async fn query(
        &self,
        service: Service,
        operation: &'static str,
        parameters: &[(&str, &str)],
    ) -> Result<Reply, RequestError> {
        let version = match service {
            Service::Iam => "2010-05-08",
            _ => "2011-06-15",
        };
        let mut form = format!("Action={operation}&Version={version}");
        for (name, value) in parameters {
            form.push('&');
            form.push_str(name);
            form.push('=');
            form.push_str(&encode(value, ""));
        }
        let content_type =
            HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8");
        let mut call =
            Call::new(service, operation, Method::POST, "/").header("content-type", content_type);
        call.body = form.into();
        self.send(&call).await
    }
}

/// A reply's XML as a `T`. The name of the root is not looked at.
pub(super) fn from_xml<T: DeserializeOwned>(reply: &Reply) -> Result<T, RequestError> {
    let body = reply.whole_body()?;
    let text = std::str::from_utf8(body).map_err(|_| reply.unexpected())?;
    quick_xml::de::from_str(text).map_err(|e| {
        let error = Error::new(ErrorKind::Protocol, reply.unexpected().message().to_owned());
        RequestError::from(error.with_source(&e))
    })
}
