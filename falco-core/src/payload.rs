//! JSON on one line: what goes into a function and what comes out of it.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::error::{Error, Result};
use crate::error_kind::ErrorKind;
use crate::surrogates::half_surrogate_pairs;
use crate::type_name;

/// How much of a payload `Debug` shows.
const DEBUG_BYTES: usize = 200;

/// Valid JSON in UTF-8 on one line, passed through without being parsed again. Cloning is cheap.
///
/// Raw line breaks become blanks on entry: they can be only between tokens, and they would end a message too
/// early in every protocol that sends one JSON value a line.
///
/// # Examples
///
/// ```
/// use falco_core::Payload;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Greeting { name: String }
///
/// let payload = Payload::json(&Greeting { name: "Ada".into() })?;
/// assert_eq!(payload.as_str(), r#"{"name":"Ada"}"#);
/// assert_eq!(payload.parse::<Greeting>()?.name, "Ada");
/// assert!(Payload::from_bytes("{oops").is_err());
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Payload(Bytes);

impl Payload {
    /// Serialises `value`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when `value` has no JSON form, such as a map with keys that are not strings, or passes JSON text
    /// through that [`from_bytes`](Self::from_bytes) would refuse.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        let mut json = serde_json::to_vec(value).map_err(|e| {
            Error::invalid_input("the value cannot be written as JSON").with_source(&e)
        })?;
        // serde_json writes none; a value that passes JSON text through may hold some.
        blank_line_breaks(&mut json, 0);
        check_text(&json)?;
        Ok(Self(json.into()))
    }

    /// Takes JSON text as it is.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when `json` is not one JSON value in UTF-8, or when a text in it has half of a surrogate pair as an
    /// escape, which no reader can decode.
    pub fn from_bytes(json: impl Into<Bytes>) -> Result<Self> {
        let json = json.into();
        serde_json::from_slice::<&RawValue>(&json)
            .map_err(|e| Error::invalid_input("the payload is not valid JSON").with_source(&e))?;
        check_text(&json)?;
        let Some(first) = line_break(&json) else { return Ok(Self(json)) };
        let mut one_line = json.to_vec();
        blank_line_breaks(&mut one_line, first);
        Ok(Self(one_line.into()))
    }

    /// A value within a payload, without checking again what was checked with the whole. For Falco's own crates.
    #[doc(hidden)]
    pub fn of_part(part: &RawValue) -> Self {
        Self(Bytes::copy_from_slice(part.get().as_bytes()))
    }

    /// JSON that is made of payloads, without checking them again. For Falco's own crates.
    #[doc(hidden)]
    pub fn of_parts(json: String) -> Self {
        debug_assert!(Self::from_bytes(json.clone()).is_ok(), "{json}");
        Self(json.into())
    }

    /// The empty object, `{}`.
    pub fn empty() -> Self {
        Self(Bytes::from_static(b"{}"))
    }

    /// Parses the payload.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when the payload does not have the shape of a `T`.
    pub fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T> {
        serde_json::from_slice(&self.0).map_err(|e| {
            Error::invalid_input(format!("the payload is not a valid {}", type_name::short::<T>()))
                .with_source(&e)
        })
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        // Validated on entry, so this never falls back.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The JSON text as bytes, sharing the payload's memory.
    pub fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }

    /// The length in bytes, which is what the platforms' limits count.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Always false: no JSON value is the empty text.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it is a JSON object, as the argument of a function has to be.
    pub fn is_object(&self) -> bool {
        self.0.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
    }

    /// Fails unless the payload is an object and no longer than `limit` bytes; for platforms, before they send.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for what is not an object, `PayloadTooLarge` for what is too long.
    pub fn check_argument(&self, limit: Option<u64>) -> Result<()> {
        if !self.is_object() {
            return Err(Error::invalid_input(format!(
                "a function's argument has to be a JSON object, and this is {}",
                self.excerpt()
            )));
        }
        match limit {
            Some(limit) if self.len() as u64 > limit => Err(Error::new(
                ErrorKind::PayloadTooLarge,
                format!("the payload has {} bytes, and {limit} are allowed", self.len()),
            )
            .with_hint("send smaller pieces, or a reference to the data")),
            _ => Ok(()),
        }
    }

    fn excerpt(&self) -> String {
        let text = self.as_str();
        if text.len() <= DEBUG_BYTES {
            return text.to_owned();
        }
        let end = text.floor_char_boundary(DEBUG_BYTES);
        format!("{}… ({} bytes)", &text[..end], text.len())
    }
}

fn check_text(json: &[u8]) -> Result<()> {
    let Some(at) = half_surrogate_pairs(json).next() else { return Ok(()) };
    let half = HalfPair { half: String::from_utf8_lossy(&json[at..at + 6]).into_owned(), at };
    Err(Error::invalid_input("the payload is not valid JSON")
        .with_source(&half)
        .with_hint("write both halves of the pair, or U+FFFD in their place"))
}

/// Why a text that is JSON by its grammar is refused.
#[derive(Debug)]
struct HalfPair {
    half: String,
    at: usize,
}

impl fmt::Display for HalfPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { half, at } = self;
        write!(f, "{half} at byte {at} is half of a surrogate pair, which is not a character")
    }
}

impl std::error::Error for HalfPair {}

/// The place of the first raw line break.
fn line_break(json: &[u8]) -> Option<usize> {
    memchr::memchr2(b'\n', b'\r', json)
}

/// Makes blanks of the raw line breaks from this place on.
fn blank_line_breaks(json: &mut [u8], mut from: usize) {
    while let Some(at) = line_break(&json[from..]) {
        json[from + at] = b' ';
        from += at + 1;
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.excerpt())
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::from_str::<&RawValue>(self.as_str())
            .map_err(serde::ser::Error::custom)?
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::from_bytes(Box::<str>::from(raw).into_string()).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_between_tokens_become_blanks_and_escaped_ones_stay() {
        let payload = Payload::from_bytes("{\n\"a\":\r\n\"x\\ny\"}").unwrap();
        assert_eq!(payload.as_str(), "{ \"a\":  \"x\\ny\"}");
        assert_eq!(payload.parse::<serde_json::Value>().unwrap()["a"], "x\ny");
    }

    #[test]
    fn line_breaks_in_text_that_is_passed_through_become_blanks_too() {
        let raw = RawValue::from_string("[1,\n2]".to_owned()).unwrap();
        assert_eq!(Payload::json(&raw).unwrap().as_str(), "[1, 2]");
    }

    #[test]
    fn a_parse_error_names_the_wanted_type() {
        type Named = std::collections::HashMap<String, Vec<u8>>;
        let payload = Payload::from_bytes("7").unwrap();
        let message = payload.parse::<Named>().unwrap_err().to_string();
        assert!(message.contains("the payload is not a valid HashMap: "), "{message}");
        let message = payload.parse::<(u8, String)>().unwrap_err().to_string();
        assert!(message.contains("the payload is not a valid tuple: "), "{message}");
    }

    #[test]
    fn text_that_no_reader_can_decode_is_refused_in_keys_and_in_values() {
        for json in [r#"{"a":"\ud83d hi"}"#, r#"{"\udc00":1}"#, r#"["\ud800\u0041"]"#] {
            let error = Payload::from_bytes(json).unwrap_err();
            assert!(error.to_string().contains("surrogate"), "{error}");
            let raw = RawValue::from_string(json.to_owned()).unwrap();
            assert_eq!(Payload::json(&raw).unwrap_err().kind(), ErrorKind::InvalidInput);
            assert!(serde_json::from_str::<Payload>(json).is_err());
        }
        Payload::from_bytes(r#"{"a":"\ud83d\ude00 \\ud83d"}"#).unwrap();
    }

    #[test]
    fn an_argument_has_to_be_an_object() {
        for (json, ok) in [("{}", true), (" {\"a\":1}", true), ("[]", false), ("null", false)] {
            let payload = Payload::from_bytes(json).unwrap();
            assert_eq!(payload.check_argument(None).is_ok(), ok, "{json}");
        }
    }

    #[test]
    fn the_limit_counts_bytes_and_is_inclusive() {
        let payload = Payload::json(&serde_json::json!({"a": "ä"})).unwrap();
        assert!(payload.check_argument(Some(10)).is_ok());
        let error = payload.check_argument(Some(9)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PayloadTooLarge);
    }

    #[test]
    fn a_payload_is_embedded_in_other_json_as_it_stands() {
        let payload = Payload::from_bytes("{\"n\":1.50}").unwrap();
        let line = serde_json::to_string(&[&payload]).unwrap();
        assert_eq!(line, "[{\"n\":1.50}]");
        assert_eq!(serde_json::from_str::<Vec<Payload>>(&line).unwrap()[0], payload);
    }
}
