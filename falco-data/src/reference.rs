//! References in the text of a payload.

use std::fmt;

use falco_core::{Error, Result};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::object::{Fields, SinkFields, is_false};

/// The text of a payload, cut at its references.
pub(crate) enum Piece<'a> {
    /// Text that stays as it is.
    Text(&'a str),
    /// Text of our own making.
    Owned(String),
    /// A reference, which is to be signed.
    Reference(Reference),
}

#[derive(Debug)]
pub(crate) enum Reference {
    Object(Fields),
    Objects(Vec<Fields>),
    Sink(SinkFields),
    Parts(PartsFields),
    Value(ValueFields),
}

/// A result that was too long for the platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ValueFields {
    pub(crate) url: String,
    pub(crate) size: u64,
}

/// Parts of many objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartsFields {
    /// The beginning of all URLs.
    pub(crate) base: String,
    pub(crate) parts: Vec<Part>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) gzip: bool,
}

/// `[key, bound, bound, ..]`: the partitions between the bounds, which follow one another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) key: String,
    pub(crate) bounds: Vec<u64>,
}

/// The payload's text begins a reference, or a text that looks like one.
pub(crate) const MARK: &str = "\"falco:";

/// The pieces of a payload; none when it holds no reference, so that it can be sent as it is.
pub(crate) fn find(text: &str) -> Result<Option<Vec<Piece<'_>>>> {
    if memchr::memmem::find(text.as_bytes(), MARK.as_bytes()).is_none() {
        return Ok(None);
    }
    let raw: &RawValue = parsed(text)?;
    let mut pieces = Vec::new();
    walk(raw, &mut pieces)?;
    let holds_one = pieces.iter().any(|piece| matches!(piece, Piece::Reference(_)));
    Ok(holds_one.then_some(pieces))
}

/// The reference to a spilled value, if `text` is one.
pub(crate) fn spilled(text: &str) -> Result<Option<ValueFields>> {
    if !text.trim_start().starts_with('{') || !text.contains("\"falco:value\"") {
        return Ok(None);
    }
    let Entries(entries) = parsed(text)?;
    match entries.as_slice() {
        [(key, value)] if key == "falco:value" => Ok(Some(fields(key, value)?)),
        _ => Ok(None),
    }
}

fn walk<'a>(raw: &'a RawValue, pieces: &mut Vec<Piece<'a>>) -> Result<()> {
    let text = raw.get();
    if !text.contains(MARK) {
        pieces.push(Piece::Text(text));
        return Ok(());
    }
    if text.starts_with('{') {
        let Entries(entries) = parsed(text)?;
        if let [(key, value)] = entries.as_slice()
            && let Some(reference) = reference(key, value)?
        {
            pieces.push(Piece::Reference(reference));
            return Ok(());
        }
        for (at, (key, value)) in entries.into_iter().enumerate() {
            let key = serde_json::to_string(&key).unwrap_or_default();
            let before = if at == 0 { '{' } else { ',' };
            pieces.push(Piece::Owned(format!("{before}{key}:")));
            walk(value, pieces)?;
        }
        pieces.push(Piece::Text("}"));
    } else if text.starts_with('[') {
        for (at, value) in parsed::<Vec<&RawValue>>(text)?.into_iter().enumerate() {
            pieces.push(Piece::Text(if at == 0 { "[" } else { "," }));
            walk(value, pieces)?;
        }
        pieces.push(Piece::Text("]"));
    } else {
        pieces.push(Piece::Text(text));
    }
    Ok(())
}

fn reference(key: &str, value: &RawValue) -> Result<Option<Reference>> {
    Ok(Some(match key {
        "falco:object" => Reference::Object(fields(key, value)?),
        "falco:objects" => Reference::Objects(fields(key, value)?),
        "falco:sink" => Reference::Sink(fields(key, value)?),
        "falco:parts" => Reference::Parts(fields(key, value)?),
        "falco:value" => Reference::Value(fields(key, value)?),
        _ => return Ok(None),
    }))
}

fn fields<'a, T: Deserialize<'a>>(key: &str, value: &'a RawValue) -> Result<T> {
    serde_json::from_str(value.get()).map_err(|error| {
        Error::invalid_input(format!("the payload holds an invalid {key:?}")).with_source(&error)
    })
}

fn parsed<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T> {
    serde_json::from_str(text)
        .map_err(|error| Error::invalid_input("the payload is not valid JSON").with_source(&error))
}

/// The entries of an object in their order, the values as they are.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

impl Serialize for Part {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.bounds.len() + 1))?;
        seq.serialize_element(&self.key)?;
        for bound in &self.bounds {
            seq.serialize_element(bound)?;
        }
        seq.end()
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyAndBounds;

        impl<'de> Visitor<'de> for KeyAndBounds {
            type Value = Part;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key and two bounds or more, in order")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Part, A::Error> {
                let invalid = |at| serde::de::Error::invalid_length(at, &self);
                let key = seq.next_element()?.ok_or_else(|| invalid(0))?;
                let mut bounds = Vec::<u64>::new();
                while let Some(bound) = seq.next_element()? {
                    bounds.push(bound);
                }
                if bounds.len() < 2 || !bounds.is_sorted() {
                    return Err(invalid(bounds.len() + 1));
                }
                Ok(Part { key, bounds })
            }
        }

        deserializer.deserialize_seq(KeyAndBounds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(text: &str) -> Option<String> {
        let pieces = find(text).unwrap()?;
        let of = |piece: &Piece<'_>| match piece {
            Piece::Text(text) => (*text).to_owned(),
            Piece::Owned(text) => text.clone(),
            Piece::Reference(reference) => format!("<{reference:?}>"),
        };
        Some(pieces.iter().map(of).collect())
    }

    #[test]
    fn what_holds_no_reference_is_left_alone() {
        for text in [
            r#"{"a": 1.50, "falco:data": 1}"#,
            r#"{"a":"text \"falco:object\" in a string"}"#,
            r#"{"falco:ran":{"ms":1}}"#,
            r#"{"falco:object":{"url":"x"},"and":"more"}"#,
            "{}",
        ] {
            assert!(joined(text).is_none(), "{text}");
        }
    }

    #[test]
    fn references_are_found_at_any_depth_and_all_else_stays_as_it_stands() {
        let text = r#"{"n": 1.50, "ä\n": [12345678901234567890123, {"falco:sink": {}}, "\u00e4"]}"#;
        let sink = "<Sink(SinkFields { url: None, partitions: None, gzip: false })>";
        let expected = format!(r#"{{"n":1.50,"ä\n":[12345678901234567890123,{sink},"\u00e4"]}}"#);
        assert_eq!(joined(text).unwrap(), expected);
    }

    #[test]
    fn references_that_make_no_sense_are_named() {
        for (text, key) in [
            (r#"{"a":{"falco:object":{}}}"#, "falco:object"),
            (r#"{"a":{"falco:parts":{"base":"s3://b","parts":[["k",4,3]]}}}"#, "falco:parts"),
            (r#"{"a":{"falco:parts":{"base":"s3://b","parts":[["k"]]}}}"#, "falco:parts"),
        ] {
            let error = find(text).err().unwrap().to_string();
            assert!(error.contains(key), "{error}");
        }
    }

    #[test]
    fn a_spilled_value_is_the_only_key() {
        let value = r#" {"falco:value": {"url":"s3://b/k","size":7}}"#;
        assert_eq!(spilled(value).unwrap().unwrap().size, 7);
        assert!(spilled(r#"{"a":{"falco:value":{"url":"s3://b/k","size":7}}}"#).unwrap().is_none());
    }
}
