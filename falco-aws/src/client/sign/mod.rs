//! Signature Version 4.
//!
//! The cryptography is `aws-sigv4`'s. The canonical request is written here: the crate's own `sign` derives the key anew
//! for each request (four HMACs), where one a day is enough, and writes every request to the log at `TRACE`. Its
//! result is the oracle of this module's tests.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use falco_core::{Error, Result};
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::encoding::{encode_onto, hex};
use crate::config::Service;

const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// The request to sign, with every header in it.
pub(crate) struct Signable<'a> {
    pub(crate) service: Service,
    pub(crate) region: &'a str,
    pub(crate) method: &'a str,
    pub(crate) url: &'a Url,
    pub(crate) headers: &'a mut HeaderMap,
    pub(crate) body: &'a [u8],
}

/// Signs requests, with one key a day for each service.
#[derive(Default)]
pub(crate) struct Signer {
    keys: RwLock<Vec<DayKey>>,
}

/// A key, and what it was derived from.
struct DayKey {
    credentials: Arc<Credentials>,
    service: Service,
    day: u64,
    key: Arc<[u8]>,
}

impl Signer {
    /// Adds the headers that make `request` a signed one, as of `time`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when the credentials hold a character that no header can.
    pub(crate) fn sign(
        &self,
        credentials: &Arc<Credentials>,
        time: SystemTime,
        request: Signable<'_>,
    ) -> Result<()> {
        let Signable { service, region, method, url, headers, body } = request;
        let stamp = amz_date(time);
        let day = &stamp[..8];
        let body_hash = hex(&Sha256::digest(body));
        headers.insert(HOST, to_header(&host(url))?);
        headers.insert(DATE, to_header(&stamp)?);
        if service == Service::S3 {
            headers.insert(CONTENT_SHA256, to_header(&body_hash)?);
        }
        if let Some(token) = credentials.session_token() {
            let mut token = to_header(token)?;
            token.set_sensitive(true);
            headers.insert(SECURITY_TOKEN, token);
        }
        let (canonical, signed) = canonical_request(service, method, url, headers, &body_hash);
        let scope = format!("{day}/{region}/{}/aws4_request", service.signing_name());
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}",
            hex(&Sha256::digest(canonical.as_bytes()))
        );
        let key = self.key(credentials, service, region, time);
        let signature = calculate_signature(&key, to_sign.as_bytes());
        let mut authorization = to_header(&format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}",
            credentials.access_key_id()
        ))?;
        authorization.set_sensitive(true);
        headers.insert(AUTHORIZATION, authorization);
        // The client writes it again, by the same rule; it only had to be signed.
        headers.remove(HOST);
        Ok(())
    }

    /// The signing key; a service has one region, so that the key depends on service, day and credentials.
    fn key(
        &self,
        credentials: &Arc<Credentials>,
        service: Service,
        region: &str,
        time: SystemTime,
    ) -> Arc<[u8]> {
        let day = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / 86_400;
        let fits = |known: &&DayKey| {
            known.service == service
                && known.day == day
                && Arc::ptr_eq(&known.credentials, credentials)
        };
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = keys.iter().find(fits) {
            return known.key.clone();
        }
        drop(keys);
        let derived = generate_signing_key(
            credentials.secret_access_key(),
            time,
            region,
            service.signing_name(),
        );
        let key: Arc<[u8]> = derived.as_ref().into();
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|known| known.service != service);
        keys.push(DayKey { credentials: credentials.clone(), service, day, key: key.clone() });
        key
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

/// The request in the form that is hashed, and the names of the headers signed.
fn canonical_request(
    service: Service,
    method: &str,
    url: &Url,
    headers: &HeaderMap,
    body_hash: &str,
) -> (String, String) {
    let mut sorted: Vec<(&str, &str)> = headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
        .collect();
    sorted.sort_unstable();
    let signed = sorted.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let mut canonical = String::with_capacity(512);
    canonical.push_str(method);
    canonical.push('\n');
    match service {
        // S3 takes the path as it is on the wire, all others encode that once more: `%3A` becomes `%253A`.
        Service::S3 => canonical.push_str(url.path()),
        _ => encode_onto(&mut canonical, url.path(), "/"),
    }
    canonical.push('\n');
    // `RequestUrl` has written the query sorted and encoded already.
    canonical.push_str(url.query().unwrap_or_default());
    canonical.push('\n');
    for (name, value) in sorted {
        canonical.push_str(name);
        canonical.push(':');
        for (index, word) in value.split_ascii_whitespace().enumerate() {
            if index > 0 {
                canonical.push(' ');
            }
            canonical.push_str(word);
        }
        canonical.push('\n');
    }
    canonical.push('\n');
    canonical.push_str(&signed);
    canonical.push('\n');
    canonical.push_str(body_hash);
    (canonical, signed)
}

/// The `Host` header as the HTTP client writes it: with the port, unless it is the scheme's own.
fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// A time as signatures have it, such as `20260102T030405Z`.
fn amz_date(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

fn to_header(value: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(value).map_err(|_| {
        Error::invalid_input("the credentials hold a character that cannot be sent")
            .with_platform(crate::NAME)
            .with_hint("look for a line break or a control character at their end")
    })
}

#[cfg(test)]
mod vectors;
