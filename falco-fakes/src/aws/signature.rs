//! Signatures of requests, Version 4.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4::SigningParams;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{FAKE_ACCESS_KEY, FAKE_SECRET};
use crate::http::Request;

/// Whether the signature is the one that AWS would compute for what has arrived.
pub(super) fn is_signed(request: &Request) -> bool {
    expected_signature(request).is_some_and(|expected| {
        header(request, "authorization").ends_with(&format!("Signature={expected}"))
    })
}

/// A header as text; empty when it is not there.
fn header<'a>(request: &'a Request, name: &str) -> &'a str {
    request.header(name).unwrap_or_default()
}

fn expected_signature(request: &Request) -> Option<String> {
    let authorization = header(request, "authorization");
    let (_, credential) = authorization.split_once("Credential=")?;
    let mut scope = credential.split(',').next()?.split('/');
    if scope.next()? != FAKE_ACCESS_KEY {
        return None;
    }
    let (_day, region, service) = (scope.next()?, scope.next()?, scope.next()?);
    let (_, names) = authorization.split_once("SignedHeaders=")?;
    let names: Vec<&str> = names.split(',').next()?.split(';').collect();
    let token = Some(header(request, "x-amz-security-token")).filter(|token| !token.is_empty());
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
        .time(time(header(request, "x-amz-date"))?)
        .settings(settings)
        .build()
        .ok()?
        .into();
    // The signer adds these itself.
    let own = ["host", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"];
    let headers = names.iter().filter(|name| !own.contains(name));
    let headers: Vec<(&str, &str)> = headers.map(|name| (*name, header(request, name))).collect();
    let url = format!("http://{}{}", header(request, "host"), request.target);
    let body = SignableBody::Bytes(&request.body);
    let request =
        SignableRequest::new(request.method.as_str(), url, headers.into_iter(), body).ok()?;
    Some(sign(request, &params).ok()?.into_parts().1)
}

fn time(stamp: &str) -> Option<SystemTime> {
    let part = |range: std::ops::Range<usize>| stamp.get(range).unwrap_or_default();
    let (date, time) =
        ((part(0..4), part(4..6), part(6..8)), (part(9..11), part(11..13), part(13..15)));
    let text = format!("{}-{}-{}T{}:{}:{}Z", date.0, date.1, date.2, time.0, time.1, time.2);
    OffsetDateTime::parse(&text, &Rfc3339).ok().map(SystemTime::from)
}
