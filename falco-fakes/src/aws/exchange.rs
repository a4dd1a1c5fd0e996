//! Requests as the fake sees them, and its replies.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4::SigningParams;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Response, Uri};
use bytes::Bytes;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{FAKE_ACCESS_KEY, FAKE_SECRET};

/// A request that the fake has had.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FakeRequest {
    /// AWS's name of the operation, such as `CreateFunction`.
    pub operation: String,
    /// The method.
    pub method: Method,
    /// The path and the query, as they were on the wire.
    pub target: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl FakeRequest {
    pub(super) fn new(method: Method, uri: &Uri, headers: HeaderMap, body: Bytes) -> Self {
        let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        let mut request = Self { operation: String::new(), method, target, headers, body };
        request.operation = request.operation_name();
        request
    }

    /// A header as text; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// A parameter of a form, decoded.
    pub fn form(&self, name: &str) -> Option<String> {
        let body = String::from_utf8_lossy(&self.body);
        pair(&body, name)
    }

    /// A parameter of the query, decoded.
    pub(super) fn query(&self, name: &str) -> Option<String> {
        pair(self.target.split_once('?')?.1, name)
    }

    pub(super) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The parts of the path, decoded.
    pub(super) fn segments(&self) -> Vec<String> {
        self.path().trim_start_matches('/').split('/').map(decode).collect()
    }

    /// The service that it was signed for.
    pub(super) fn service(&self) -> &str {
        let authorization = self.header("authorization");
        authorization.split('/').nth(3).unwrap_or_default()
    }

    fn operation_name(&self) -> String {
        if let Some((_, name)) = self.header("x-amz-target").split_once('.') {
            return name.to_owned();
        }
        if let Some(action) = self.form("Action") {
            return action;
        }
        let segments = self.segments();
        let at = |index: usize| segments.get(index).map(String::as_str).unwrap_or_default();
        let name = if self.service() == "s3" {
            match (self.method.as_str(), segments.len()) {
                ("PUT", _) => "PutObject",
                ("DELETE", _) => "DeleteObject",
                ("GET", _) if self.query("list-type").is_some() => "ListObjectsV2",
                _ => "",
            }
        } else {
            match (self.method.as_str(), at(0), at(1), at(3)) {
                ("GET", "2016-08-19", "account-settings", _) => "GetAccountSettings",
                ("GET", "2015-03-31", "functions", "") if segments.len() == 2 => "ListFunctions",
                ("POST", "2015-03-31", "functions", "") => "CreateFunction",
                ("GET", "2015-03-31", "functions", "") => "GetFunction",
                ("DELETE", "2015-03-31", "functions", "") => "DeleteFunction",
                ("PUT", "2015-03-31", "functions", "code") => "UpdateFunctionCode",
                ("PUT", "2015-03-31", "functions", "configuration") => {
                    "UpdateFunctionConfiguration"
                }
                ("POST", "2015-03-31", "functions", "invocations") => "Invoke",
                ("PUT", "2017-10-31", "functions", "concurrency") => "PutFunctionConcurrency",
                ("PUT", "2019-09-25", "functions", "event-invoke-config") => {
                    "PutFunctionEventInvokeConfig"
                }
                ("DELETE", "2019-09-25", "functions", "event-invoke-config") => {
                    "DeleteFunctionEventInvokeConfig"
                }
                ("POST", "2017-03-31", "tags", _) => "TagResource",
                _ => "",
            }
        };
        name.to_owned()
    }

    /// Whether the signature is the one that AWS would compute for what has arrived.
    pub(super) fn is_signed(&self) -> bool {
        self.expected_signature().is_some_and(|expected| {
            self.header("authorization").ends_with(&format!("Signature={expected}"))
        })
    }

    fn expected_signature(&self) -> Option<String> {
        let authorization = self.header("authorization");
        let (_, credential) = authorization.split_once("Credential=")?;
        let mut scope = credential.split(',').next()?.split('/');
        if scope.next()? != FAKE_ACCESS_KEY {
            return None;
        }
        let (_day, region, service) = (scope.next()?, scope.next()?, scope.next()?);
        let (_, names) = authorization.split_once("SignedHeaders=")?;
        let names: Vec<&str> = names.split(',').next()?.split(';').collect();
        let token = Some(self.header("x-amz-security-token")).filter(|token| !token.is_empty());
        let mut settings = SigningSettings::default();
        if service == "s3" {
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        }
        let credentials =
            Credentials::new(FAKE_ACCESS_KEY, FAKE_SECRET, token.map(str::to_owned), None, "fake");
        let identity = credentials.into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name(service)
            .time(time(self.header("x-amz-date"))?)
            .settings(settings)
            .build()
            .ok()?
            .into();
        // The signer adds these itself.
        let own = ["host", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"];
        let headers = names.iter().filter(|name| !own.contains(name));
        let headers: Vec<(&str, &str)> = headers.map(|name| (*name, self.header(name))).collect();
        let url = format!("http://{}{}", self.header("host"), self.target);
        let body = SignableBody::Bytes(&self.body);
        let request =
            SignableRequest::new(self.method.as_str(), url, headers.into_iter(), body).ok()?;
        Some(sign(request, &params).ok()?.into_parts().1)
    }
}

fn time(stamp: &str) -> Option<SystemTime> {
    let part = |range: std::ops::Range<usize>| stamp.get(range).unwrap_or_default();
    let (date, time) =
        ((part(0..4), part(4..6), part(6..8)), (part(9..11), part(11..13), part(13..15)));
    let text = format!("{}-{}-{}T{}:{}:{}Z", date.0, date.1, date.2, time.0, time.1, time.2);
    OffsetDateTime::parse(&text, &Rfc3339).ok().map(SystemTime::from)
}

fn pair(text: &str, name: &str) -> Option<String> {
    let mut pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| decode(key) == name).map(|(_, value)| decode(value))
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digits = (byte == b'%').then(|| rest.clone().take(2).collect::<Vec<u8>>());
        let decoded = digits
            .and_then(|digits| String::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(&digits, 16).ok());
        match decoded {
            Some(decoded) => {
                bytes.push(decoded);
                rest.nth(1);
            }
            None => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A reply of the fake's.
#[derive(Clone, Debug, Default)]
pub struct FakeReply {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl FakeReply {
    /// A reply with a JSON body.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::new(status, body.to_string()).with_header("content-type", "application/json")
    }

    /// A reply with any body.
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// An error of Lambda's.
    pub fn lambda_error(status: u16, code: &str, message: &str) -> Self {
        // `Message` in some of Lambda's errors, `message` in others.
        let key = if code.starts_with("ResourceNotFound") || code.starts_with("Service") {
            "Message"
        } else {
            "message"
        };
        Self::json(status, &json!({"Type": "User", key: message}))
            .with_header("x-amzn-ErrorType", &format!("{code}:http://internal.amazon.com/"))
    }

    /// An error of a service that speaks AWS JSON.
    pub fn json_error(code: &str, message: &str) -> Self {
        let body = json!({"__type": format!("com.amazonaws#{code}"), "message": message});
        Self::json(400, &body)
    }

    /// An error of IAM or STS.
    pub fn xml_error(status: u16, code: &str, message: &str) -> Self {
        Self::new(
            status,
            format!(
                "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
                 <RequestId>r-1</RequestId></ErrorResponse>"
            ),
        )
        .with_header("content-type", "text/xml")
    }

    /// A result of IAM or STS.
    pub(super) fn xml(operation: &str, result: &str) -> Self {
        let body = format!(
            "<?xml version=\"1.0\"?><{operation}Response><{operation}Result>{result}</{operation}Result>\
             <ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata></{operation}Response>"
        );
        Self::new(200, body).with_header("content-type", "text/xml")
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let mut builder = Response::builder().status(self.status);
        let mut has_id = false;
        for (name, value) in &self.headers {
            has_id |= name.eq_ignore_ascii_case("x-amzn-requestid");
            builder = builder.header(name, value);
        }
        if !has_id {
            builder = builder.header("x-amzn-RequestId", "00000000-fake");
        }
        builder.body(Body::from(self.body)).unwrap_or_else(|_| Response::new(Body::empty()))
    }
}
