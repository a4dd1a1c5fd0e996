//! From a result to JSON text that every platform carries unchanged.

mod finite;

use memchr::memmem;
use serde::Serialize;
use serde::de::{IgnoredAny, MapAccess, Visitor};

use crate::failure::{BAD_RESULT, Failure};

/// The JSON text of a function's result.
///
/// # Errors
///
/// A `BadResult` for what is not a JSON object, has the key `error` at its top, or holds NaN or an infinity.
pub(crate) fn to_json<R: Serialize>(result: &R) -> Result<Vec<u8>, Failure> {
    let bad = |message: String| Failure::new(BAD_RESULT, message);
    let json = serde_json::to_vec(result)
        .map_err(|error| bad(format!("the result has no JSON form: {error}")))?;
    if !json.starts_with(b"{") {
        return Err(bad(format!("the result must be a JSON object, got {}", kind(&json))));
    }
    // serde_json writes `null` for numbers that JSON lacks, so only a result with a null can hold one.
    if memmem::find(&json, b"null").is_some() && !finite::is_finite(result) {
        return Err(bad("the result holds NaN or an infinity, which JSON lacks".to_owned()));
    }
    if memmem::find(&json, b"\"error\"").is_some() && has_error(&json) {
        let message = "the result has the key \"error\", by which a function says that it failed: \
                       rename the key, or return an Err";
        return Err(bad(message.to_owned()));
    }
    // A RawValue is passed through as it was written, and a line break would end the answer.
    let is_one_line = memchr::memchr2(b'\n', b'\r', &json).is_none();
    Ok(if is_one_line { json } else { on_one_line(json) })
}

/// Raw line breaks stand only between the tokens of JSON text, where a blank means the same.
fn on_one_line(mut json: Vec<u8>) -> Vec<u8> {
    for byte in &mut json {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    json
}

fn kind(json: &[u8]) -> &'static str {
    match json.first() {
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

fn has_error(json: &[u8]) -> bool {
    struct Keys;

    impl<'de> Visitor<'de> for Keys {
        type Value = bool;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a JSON object")
        }

        fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<bool, M::Error> {
            let mut found = false;
            while let Some((key, _)) = map.next_entry::<std::borrow::Cow<'_, str>, IgnoredAny>()? {
                found |= key == "error";
            }
            Ok(found)
        }
    }

    let mut reader = serde_json::Deserializer::from_slice(json);
    // What was just written can be read; if it cannot, platforms will not take it for a success either.
    serde::Deserializer::deserialize_map(&mut reader, Keys).unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn text<R: Serialize>(result: R) -> String {
        match to_json(&result) {
            Ok(json) => String::from_utf8(json).unwrap(),
            Err(failure) => failure.message,
        }
    }

    #[test]
    fn only_an_object_is_a_result() {
        assert_eq!(text(BTreeMap::from([("a", 1)])), r#"{"a":1}"#);
        for (message, kind) in [
            (text([1, 2]), "an array"),
            (text("x"), "a string"),
            (text(true), "a boolean"),
            (text(()), "null"),
            (text(7), "a number"),
        ] {
            assert_eq!(message, format!("the result must be a JSON object, got {kind}"));
        }
    }

    #[test]
    fn the_key_error_is_refused_at_the_top_only() {
        assert!(text(BTreeMap::from([("error", 1)])).contains("key \"error\""));
        assert!(text(serde_json::json!({"err\u{6f}r": null})).contains("key \"error\""));
        let nested = serde_json::json!({"a": {"error": 1}, "b": "\"error\""});
        assert_eq!(text(&nested), nested.to_string());
    }

    #[test]
    fn numbers_that_json_lacks_are_refused_and_a_null_is_not() {
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(text(BTreeMap::from([("a", vec![Some(number)])])).contains("NaN"), "{number}");
            assert!(text(BTreeMap::from([("a", number as f32)])).contains("NaN"), "{number}");
        }
        assert_eq!(text(BTreeMap::from([("a", None::<f64>)])), r#"{"a":null}"#);
    }

    #[test]
    fn text_that_is_passed_through_stays_on_one_line() {
        let raw = serde_json::value::RawValue::from_string("{\"a\":\r\n [1,\n2]}".into()).unwrap();
        assert_eq!(text(raw), "{\"a\":   [1, 2]}");
    }

    proptest! {
        #[test]
        fn what_comes_out_is_what_serde_json_writes(map: BTreeMap<String, Option<i64>>) {
            prop_assume!(!map.contains_key("error"));
            prop_assert_eq!(text(&map), serde_json::to_string(&map).unwrap());
        }
    }
}
