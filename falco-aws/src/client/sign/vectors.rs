//! The test vectors of the contract, and `aws-sigv4` as the oracle of everything else.

use std::time::Duration;

use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4::SigningParams;
use proptest::prelude::*;

use super::super::encoding::{canonical_query, encode};
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

    /// The signature that `aws-sigv4` makes of the same request.
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
        // A URL has no such segments: they are resolved before there is anything to sign.
        prop_assume!(name != "." && name != "..");
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
