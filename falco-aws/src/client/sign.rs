//! Signature Version 4.
//!
//! The cryptography is `aws-sigv4`'s. The canonical request is written here: the crate's own `sign` derives the key anew
//! for each request (four HMACs), where one a day is enough, and writes every request to the log at `TRACE`. Its
//! result is the oracle of this module's tests.

use std::fmt::{self, Write};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use falco_core::{Error, Result};
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use crate::config::Service;

const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// What is signed. Every header in it is.
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

/// `text` with everything percent-encoded that is neither unreserved nor in `kept`, as every canonical form of AWS
/// demands: a blank is `%20`, never `+`.
pub(crate) fn encode(text: &str, kept: &str) -> String {
    let mut encoded = String::with_capacity(text.len() + 16);
    encode_onto(&mut encoded, text, kept);
    encoded
}

fn encode_onto(encoded: &mut String, text: &str, kept: &str) {
    for byte in text.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric() || "-_.~".contains(c) || (c.is_ascii() && kept.contains(c)) {
            encoded.push(c);
        } else {
            // Writing to a `String` cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
}

/// A query in its canonical form: sorted by name, then by value.
pub(crate) fn canonical_query(pairs: &[(&str, &str)]) -> String {
    let mut encoded: Vec<(String, String)> =
        pairs.iter().map(|(name, value)| (encode(name, ""), encode(value, ""))).collect();
    encoded.sort_unstable();
    let pairs: Vec<String> =
        encoded.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
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
            .with_platform(crate::PLATFORM)
            .with_hint("look for a line break or a control character at their end")
    })
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_sigv4::http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    };
    use aws_sigv4::sign::v4::SigningParams;
    use proptest::prelude::*;

    use super::*;

    /// 20260102T030405Z, the time of the contract's vectors.
    fn time() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_767_323_045)
    }

    fn credentials(token: Option<&str>) -> Arc<Credentials> {
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        Arc::new(Credentials::new("AKIDEXAMPLE", secret, token.map(str::to_owned), None, "test"))
    }

    struct Case<'a> {
        service: Service,
        region: &'a str,
        method: &'a str,
        url: &'a str,
        headers: &'a [(&'static str, &'a str)],
        body: &'a str,
        token: Option<&'a str>,
    }

    impl Case<'_> {
        /// The headers signed and the signature.
        fn sign(&self) -> (String, String) {
            let url = Url::parse(self.url).unwrap();
            let mut headers = HeaderMap::new();
            for (name, value) in self.headers {
                headers.insert(*name, HeaderValue::from_str(value).unwrap());
            }
            let request = Signable {
                service: self.service,
                region: self.region,
                method: self.method,
                url: &url,
                headers: &mut headers,
                body: self.body.as_bytes(),
            };
            Signer::default().sign(&credentials(self.token), time(), request).unwrap();
            let authorization = headers[AUTHORIZATION].to_str().unwrap().to_owned();
            let part = |name: &str| {
                let (_, rest) = authorization.split_once(name).unwrap();
                rest.split(',').next().unwrap().to_owned()
            };
            (part("SignedHeaders="), part("Signature="))
        }

        /// What `aws-sigv4` makes of the same request.
        fn oracle(&self) -> String {
            let mut settings = SigningSettings::default();
            if self.service == Service::S3 {
                settings.percent_encoding_mode = PercentEncodingMode::Single;
                settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
                settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
            }
            let identity = (*credentials(self.token)).clone().into();
            let params = SigningParams::builder()
                .identity(&identity)
                .region(self.region)
                .name(self.service.signing_name())
                .time(time())
                .settings(settings)
                .build()
                .unwrap()
                .into();
            let request = SignableRequest::new(
                self.method,
                self.url,
                self.headers.iter().copied(),
                SignableBody::Bytes(self.body.as_bytes()),
            )
            .unwrap();
            sign(request, &params).unwrap().into_parts().1
        }
    }

    const LAMBDA: Case<'_> = Case {
        service: Service::Lambda,
        region: "us-east-1",
        method: "GET",
        url: "",
        headers: &[],
        body: "",
        token: None,
    };

    #[track_caller]
    fn check(case: Case<'_>, headers: &str, signature: &str) {
        assert_eq!(case.sign(), (headers.to_owned(), signature.to_owned()));
    }

    #[test]
    fn v1_an_invocation() {
        check(
            Case {
                method: "POST",
                url: "https://lambda.us-east-1.amazonaws.com/2015-03-31/functions/my-fn/invocations",
                headers: &[
                    ("content-type", "application/json"),
                    ("x-amz-invocation-type", "RequestResponse"),
                ],
                body: r#"{"x":1}"#,
                ..LAMBDA
            },
            "content-type;host;x-amz-date;x-amz-invocation-type",
            "66937e06971d42ff405123e98386f094fe3499cea75a2d61cb6cd2c45e337153",
        );
    }

    #[test]
    fn v2_an_arn_in_the_path_is_encoded_twice() {
        check(
            Case {
                method: "POST",
                url: "https://lambda.us-east-1.amazonaws.com/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A123456789012%3Afunction%3Amy-fn/invocations?Qualifier=%24LATEST",
                headers: &[("content-type", "application/json")],
                body: "{}",
                token: Some("TOKEN=="),
                ..LAMBDA
            },
            "content-type;host;x-amz-date;x-amz-security-token",
            "60076eecc6cf1f8c02d1a0fbbc96040aede80f76cbdf58660dbe60ed2dcd52bd",
        );
    }

    #[test]
    fn v3_a_request_without_body() {
        check(
            Case {
                url: "https://lambda.us-east-1.amazonaws.com/2015-03-31/functions/my-fn/configuration",
                ..LAMBDA
            },
            "host;x-amz-date",
            "dbd3a11f4c6f1b770efb8acd9c7062d79ba8025908915b50e7a3ff968c90434e",
        );
    }

    #[test]
    fn v4_a_receive_on_a_queue() {
        check(
            Case {
                service: Service::Sqs,
                region: "eu-west-1",
                method: "POST",
                url: "https://sqs.eu-west-1.amazonaws.com/",
                headers: &[
                    ("content-type", "application/x-amz-json-1.0"),
                    ("x-amz-target", "AmazonSQS.ReceiveMessage"),
                ],
                body: r#"{"QueueUrl":"https://sqs.eu-west-1.amazonaws.com/123456789012/q","MaxNumberOfMessages":10,"WaitTimeSeconds":20}"#,
                token: None,
            },
            "content-type;host;x-amz-date;x-amz-target",
            "ebe40d42133583b04d23c2c63a394932fdddcb76ebeac1898196f9ab40dfff55",
        );
    }

    #[test]
    fn v5_a_form_to_iam() {
        check(
            Case {
                service: Service::Iam,
                method: "POST",
                url: "https://iam.amazonaws.com/",
                headers: &[("content-type", "application/x-www-form-urlencoded; charset=utf-8")],
                body: "Action=GetRole&Version=2010-05-08&RoleName=r",
                ..LAMBDA
            },
            "content-type;host;x-amz-date",
            "f1d2d869d20a825c9f79a656bbfcd19e0550447551d603f27520b133a5567074",
        );
    }

    #[test]
    fn v6_a_port_is_part_of_the_host() {
        check(
            Case { url: "http://127.0.0.1:5900/2015-03-31/functions/my-fn", ..LAMBDA },
            "host;x-amz-date",
            "ba8fa75653048dc25a7b129eed014ba44498ce64f61fd397a66d6691acb620f4",
        );
    }

    #[test]
    fn v7_s3_signs_its_path_as_it_is_and_the_hash_of_the_body() {
        check(
            Case {
                service: Service::S3,
                method: "PUT",
                url: "https://bkt.s3.us-east-1.amazonaws.com/dir/code%2B1.zip",
                body: "PK",
                ..LAMBDA
            },
            "host;x-amz-content-sha256;x-amz-date",
            "d0e646b9d440dc41cdc2f5e4ef51515fb101200df33b4000884736a6b7f6f0fd",
        );
    }

    #[test]
    fn the_key_of_a_day_is_derived_once() {
        let signer = Signer::default();
        let credentials = credentials(None);
        let key = |time| signer.key(&credentials, Service::Lambda, "us-east-1", time);
        let first = key(time());
        assert!(Arc::ptr_eq(&first, &key(time() + Duration::from_secs(3600))));
        let tomorrow = key(time() + Duration::from_secs(86_400));
        assert_ne!(first, tomorrow);
        assert_eq!(signer.keys.read().unwrap().len(), 1, "yesterday's key is dropped");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn signatures_are_those_of_aws_sigv4(
            name in "[a-zA-Z0-9:/%$+ ~_.-]{1,20}",
            value in "[ -~]{0,20}",
            body in "\\PC{0,40}",
            token in proptest::option::of("[A-Za-z0-9/+=]{1,20}"),
            s3 in any::<bool>(),
        ) {
            let service = if s3 { Service::S3 } else { Service::Lambda };
            let query = canonical_query(&[("Qualifier", &value), ("A", "b c")]);
            let url = format!("http://h:99/2015-03-31/functions/{}?{query}", encode(&name, ""));
            let value = format!("a{value}a");
            let headers = [("x-amz-meta-some", value.as_str())];
            let case = Case {
                service,
                url: &url,
                headers: &headers,
                body: &body,
                token: token.as_deref(),
                ..LAMBDA
            };
            prop_assert_eq!(case.sign().1, case.oracle());
        }
    }
}
