//! The body of an error, in whichever of AWS's protocols it is.

use serde::Deserialize;
use serde_json::Value;

/// The body of an error, in whichever of AWS's protocols it is.
#[derive(Default)]
pub(super) struct ErrorBody {
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) request_id: Option<String>,
}

impl ErrorBody {
    pub(super) fn read(body: &[u8]) -> Self {
        match body.trim_ascii_start().first() {
            Some(b'{') => Self::from_json(body),
            Some(b'<') => Self::from_xml(body),
            _ => Self::default(),
        }
    }

    fn from_json(body: &[u8]) -> Self {
        let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
            return Self::default();
        };
        // `Message` in some errors and `message` in others, of the same service.
        let text = |names: &[&str]| {
            let found = fields
                .iter()
                .find(|(name, _)| names.iter().any(|wanted| name.eq_ignore_ascii_case(wanted)));
            found.and_then(|(_, value)| value.as_str()).map(str::to_owned)
        };
        Self {
            code: text(&["__type", "code"]),
            message: text(&["message", "errorMessage"]),
            reason: text(&["reason"]),
            request_id: None,
        }
    }

    fn from_xml(body: &[u8]) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "PascalCase", default)]
        struct Body {
            code: Option<String>,
            message: Option<String>,
        }
        /// The root of IAM's and STS's errors holds an `Error`; that of S3's is one.
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "PascalCase", default)]
        struct Root {
            error: Option<Body>,
            code: Option<String>,
            message: Option<String>,
            request_id: Option<String>,
        }
        let text = String::from_utf8_lossy(body);
        let root: Root = quick_xml::de::from_str(&text).unwrap_or_default();
        let inner = root.error.unwrap_or(Body { code: root.code, message: root.message });
        Self { code: inner.code, message: inner.message, reason: None, request_id: root.request_id }
    }
}

/// A code without what may be around it: a namespace in front, a URL behind.
pub(super) fn plain_code(code: &str) -> &str {
    let code = code.rsplit('#').next().unwrap_or(code);
    code.split(':').next().unwrap_or(code).trim()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn codes_are_read_in_every_protocol() {
        for (body, code, message) in [
            (
                r#"{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"m"}"#,
                "QueueDoesNotExist",
                "m",
            ),
            (
                r#"{"__type":"ResourceNotFoundException","Message":"m"}"#,
                "ResourceNotFoundException",
                "m",
            ),
            (
                "<ErrorResponse xmlns=\"https://iam\"><Error><Type>Sender</Type><Code>NoSuchEntity</Code>\
                 <Message>a &amp; b</Message></Error><RequestId>r</RequestId></ErrorResponse>",
                "NoSuchEntity",
                "a & b",
            ),
            (
                "<?xml version=\"1.0\"?>\n<Error><Code>NoSuchBucket</Code><Message>m</Message></Error>",
                "NoSuchBucket",
                "m",
            ),
        ] {
            let said = ErrorBody::read(body.as_bytes());
            assert_eq!(said.code.as_deref().map(plain_code), Some(code), "{body}");
            assert_eq!(said.message.as_deref(), Some(message), "{body}");
        }
        assert_eq!(
            plain_code("ResourceNotFoundException:http://internal.amazon.com/"),
            "ResourceNotFoundException"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn arbitrary_bodies_cause_no_panic(
            start in prop::sample::select(vec!["", "{", "<", "<Error><Code>", "{\"message\":"]),
            rest in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut body = start.as_bytes().to_vec();
            body.extend(rest);
            let _ = ErrorBody::read(&body);
        }
    }
}
