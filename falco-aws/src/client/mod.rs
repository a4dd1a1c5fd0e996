//! Requests to AWS, and what its replies mean.

mod credentials;
mod encoding;
mod iam;
mod json;
mod lambda;
mod logs;
mod query;
mod s3;
mod sign;
mod sqs;
mod sts;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use bytes::Bytes;
use falco_core::{Error, ErrorKind, Result};
use falco_http::Reply;
use reqwest::header::{DATE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};

use crate::config::{AwsConfig, Endpoint, Endpoints, Partition, Service};
use credentials::CredentialsCache;
use encoding::canonical_query;
use sign::{Signable, Signer};

pub(crate) use encoding::{encode, hex};
pub(crate) use lambda::{
    AccountSettings, CodeSource, Configuration, EventInvokeConfig, Function, InvokeReply,
    NewFunction, Reserved, Start, Variables,
};
pub(crate) use logs::LogEvent;
pub(crate) use sqs::{BATCH, Message};

pub(crate) use crate::refusal::{RequestError, ServiceError};

/// Bodies of replies other than results: nothing that Falco asks for is longer.
const REPLY_LIMIT: u64 = 16 << 20;

/// Sends signed requests.
#[derive(Debug)]
pub(crate) struct Client {
    http: falco_http::Client,
    endpoints: Endpoints,
    credentials: CredentialsCache,
    signer: Signer,
    /// The seconds by which AWS's clock is ahead of this machine's.
    skew: AtomicI64,
    request_timeout: Duration,
    pub(crate) region: String,
    pub(crate) partition: Partition,
}

/// One request, ready to be signed as often as it is sent.
pub(crate) struct Call<'a> {
    pub(crate) service: Service,
    /// The operation's name in AWS's own words, for errors and logs.
    pub(crate) operation: &'static str,
    pub(crate) method: Method,
    /// The part in front of the host, with S3's usual way of naming buckets.
    pub(crate) bucket: Option<&'a str>,
    /// The path, percent-encoded as it goes over the wire.
    pub(crate) path: String,
    pub(crate) query: &'a [(&'a str, &'a str)],
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Bytes,
    /// How long the exchange may take; none for the usual.
    pub(crate) timeout: Option<Duration>,
    pub(crate) reply_limit: u64,
}

impl Call<'_> {
    pub(crate) fn new(
        service: Service,
        operation: &'static str,
        method: Method,
        path: impl Into<String>,
    ) -> Self {
        Self {
            service,
            operation,
            method,
            bucket: None,
            path: path.into(),
            query: &[],
            headers: Vec::new(),
            body: Bytes::new(),
            timeout: None,
            reply_limit: REPLY_LIMIT,
        }
    }

    pub(crate) fn header(mut self, name: &'static str, value: HeaderValue) -> Self {
        self.headers.push((HeaderName::from_static(name), value));
        self
    }
}

impl Client {
    pub(crate) fn new(config: &AwsConfig) -> Result<Self> {
        // The connection is silent for as long as the function runs: each request has a timeout of its own.
        let longest = LONGEST_RUN + config.waits.invoke_margin;
        let http = config.http.clone().with_read_timeout(longest).build()?;
        Ok(Self {
            http,
            endpoints: config.endpoints.clone(),
            credentials: CredentialsCache::new(config.credentials.clone()),
            signer: Signer::default(),
            skew: AtomicI64::new(0),
            request_timeout: config.waits.request_timeout,
            region: config.region.clone(),
            partition: config.partition,
        })
    }

    /// Sends `call`, signed anew for each attempt. Any 2xx is `Ok`.
    ///
    /// A call is repeated once, with other credentials, when the ones used are not accepted, and once with another
    /// time when AWS says that the signature's is wrong: both were refused before anything happened.
    pub(crate) async fn send(&self, call: &Call<'_>) -> Result<Reply, RequestError> {
        let mut credentials = self.credentials.get().await?;
        let mut may_replace = true;
        let mut may_correct = true;
        loop {
            let reply = self.exchange(call, &credentials).await?;
            if reply.status.is_success() {
                return Ok(reply);
            }
            let fault = ServiceError::read(call.operation, &reply, &credentials);
            // Not its message, which may quote what was sent.
            let (status, code) = (fault.status, fault.code.as_str());
            tracing::debug!(operation = call.operation, status, code, "AWS refused");
            if fault.is_about_credentials() && std::mem::take(&mut may_replace) {
                credentials = self.credentials.replace(&credentials).await?;
                continue;
            }
            if fault.is_about_time() && std::mem::take(&mut may_correct) && self.correct(&reply) {
                continue;
            }
            return Err(RequestError::Refused(Box::new(fault)));
        }
    }

    async fn exchange(&self, call: &Call<'_>, credentials: &Arc<Credentials>) -> Result<Reply> {
        let endpoint = self.endpoints.get(call.service);
        let url = url(endpoint, call)?;
        let mut headers = HeaderMap::with_capacity(call.headers.len() + 6);
        for (name, value) in &call.headers {
            headers.insert(name.clone(), value.clone());
        }
        let signable = Signable {
            service: call.service,
            region: &endpoint.signing_region,
            method: call.method.as_str(),
            url: &url,
            headers: &mut headers,
            body: &call.body,
        };
        self.signer.sign(credentials, self.now(), signable)?;
        let mut request = reqwest::Request::new(call.method.clone(), url);
        *request.headers_mut() = headers;
        *request.timeout_mut() = Some(call.timeout.unwrap_or(self.request_timeout));
        if !call.body.is_empty() {
            *request.body_mut() = Some(call.body.clone().into());
        }
        tracing::trace!(operation = call.operation, path = call.path, "request");
        self.http.execute(request, call.reply_limit).await
    }

    /// The time by the clock of AWS, as far as it is known.
    fn now(&self) -> SystemTime {
        let skew = self.skew.load(Ordering::Relaxed);
        let ahead = Duration::from_secs(skew.unsigned_abs());
        let now = SystemTime::now();
        if skew < 0 { now - ahead } else { now + ahead }
    }

    /// Takes the time from a reply; false when it has none.
    fn correct(&self, reply: &Reply) -> bool {
        let date =
            reply.header(DATE.as_str()).and_then(|date| httpdate::parse_http_date(date).ok());
        let Some(date) = date else { return false };
        let now = SystemTime::now();
        let skew = match date.duration_since(now) {
            Ok(ahead) => i64::try_from(ahead.as_secs()).unwrap_or(0),
            Err(behind) => -i64::try_from(behind.duration().as_secs()).unwrap_or(0),
        };
        tracing::warn!(seconds = skew, "this machine's clock differs from that of AWS");
        self.skew.store(skew, Ordering::Relaxed);
        true
    }
}

/// Where the next page begins, if there is one. The token that has just been used again would go on for ever.
pub(crate) fn next_page(
    used: Option<&str>,
    next: Option<String>,
) -> Result<Option<String>, RequestError> {
    let next = next.filter(|token| !token.is_empty());
    if next.is_some() && next.as_deref() == used {
        let message = "a page of a list says that it comes after itself";
        return Err(Error::new(ErrorKind::Protocol, message).with_may_have_run(false).into());
    }
    Ok(next)
}

/// How long a function may run at most.
pub(crate) const LONGEST_RUN: Duration = Duration::from_secs(900);

fn url(endpoint: &Endpoint, call: &Call<'_>) -> Result<Url> {
    let mut url = endpoint.url.clone();
    let prefix = url.path().trim_end_matches('/').to_owned();
    match call.bucket {
        Some(bucket) if endpoint.is_custom => {
            url.set_path(&format!("{prefix}/{bucket}{}", call.path));
        }
        Some(bucket) => {
            let host = format!("{bucket}.{}", url.host_str().unwrap_or_default());
            url.set_host(Some(&host)).map_err(|e| {
                Error::invalid_input(format!("invalid bucket name {bucket:?}")).with_source(&e)
            })?;
            url.set_path(&call.path);
        }
        None if prefix.is_empty() => url.set_path(&call.path),
        None => url.set_path(&format!("{prefix}{}", call.path)),
    }
    if !call.query.is_empty() {
        url.set_query(Some(&canonical_query(call.query)));
    }
    Ok(url)
}
