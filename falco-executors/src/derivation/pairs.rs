//! Keys and values out of a result, without copying or parsing the values.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use falco_core::{Error, Payload, Result};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The text of one field of a result.
pub(super) fn field_of<'a>(result: &'a Payload, field: &str) -> Result<&'a RawValue> {
    let mut fields: BTreeMap<Cow<'a, str>, &'a RawValue> = result
        .parse()
        .map_err(|e| Error::invalid_input("the result is not a JSON object").with_source(&e))?;
    fields.remove(field).ok_or_else(|| {
        let names: Vec<&str> = fields.keys().map(AsRef::as_ref).collect();
        Error::invalid_input(format!("the result has no field {field:?}"))
            .with_hint(format!("its fields are: {}", names.join(", ")))
    })
}

/// Keys with their values as text, in the order written; a key may come more than once.
pub(super) struct KeyedValues<'a>(pub(super) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> KeyedValues<'a> {
    /// Reads `{"k": v, ..}` or `[["k", v], ..]`.
    pub(super) fn parse(json: &'a str) -> Result<Self> {
        serde_json::from_str(json).map_err(|e| {
            Error::invalid_input("neither an object nor a list of pairs of a string and a value")
                .with_source(&e)
        })
    }
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for KeyedValues<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeyedValuesVisitor)
    }
}

struct KeyedValuesVisitor;

impl<'de> Visitor<'de> for KeyedValuesVisitor {
    type Value = KeyedValues<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a list of pairs")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some((Key(key), value)) = map.next_entry()? {
            pairs.push((key, value));
        }
        Ok(KeyedValues(pairs))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some((Key(key), value)) = list.next_element()? {
            pairs.push((key, value));
        }
        Ok(KeyedValues(pairs))
    }
}
