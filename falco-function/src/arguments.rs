//! Arguments that are stored with the function: they lie beneath each payload at the top level, where the payload wins.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::value::RawValue;

use crate::failure::Failure;

/// The file that holds them, beside the executable. Falco's platforms put it there.
const FILE: &str = "falco_arguments.json";

/// The stored arguments of a function by their names.
#[derive(Debug, Default)]
pub(crate) struct Arguments(BTreeMap<String, Box<RawValue>>);

impl Arguments {
    /// Reads those that were deployed with this executable; none where there is no such file.
    ///
    /// # Errors
    ///
    /// A failed initialization for a file that cannot be read.
    pub(crate) fn stored() -> Result<Self, Failure> {
        // A platform that drops the executable bit starts a copy, in the directory of the original.
        let beside = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.join(FILE)));
        for path in beside.into_iter().chain([PathBuf::from(FILE)]) {
            match std::fs::read(&path) {
                Ok(json) => return Self::parse(&json),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    let message = format!("cannot read {}: {error}", path.display());
                    return Err(Failure::initialization(message));
                }
            }
        }
        Ok(Self::default())
    }

    /// Reads arguments, a JSON object.
    ///
    /// # Errors
    ///
    /// A failed initialization for what is not an object.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, Failure> {
        serde_json::from_slice(json).map(Self).map_err(|error| {
            Failure::initialization(format!("the stored arguments are not a JSON object: {error}"))
        })
    }

    /// The payload with these arguments beneath it.
    pub(crate) fn beneath<'a>(&self, payload: &'a [u8]) -> Cow<'a, [u8]> {
        if self.0.is_empty() {
            return Cow::Borrowed(payload);
        }
        let Ok(own) = serde_json::from_slice::<BTreeMap<Cow<'_, str>, &RawValue>>(payload) else {
            // Not an object: the function says so.
            return Cow::Borrowed(payload);
        };
        let mut all: BTreeMap<&str, &RawValue> =
            self.0.iter().map(|(name, value)| (name.as_str(), &**value)).collect();
        all.extend(own.iter().map(|(name, value)| (name.as_ref(), *value)));
        serde_json::to_vec(&all).map_or(Cow::Borrowed(payload), Cow::Owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_wins_at_the_top_level() {
        let arguments = Arguments::parse(br#"{"a":{"x":1},"b":2}"#).ok().unwrap();
        let merged = arguments.beneath(br#"{"a":{"y":1},"c\n":3}"#);
        assert_eq!(&*merged, br#"{"a":{"y":1},"b":2,"c\n":3}"#);
        assert_eq!(&*arguments.beneath(b"[1]"), b"[1]");
        assert!(matches!(Arguments::default().beneath(b"{}"), Cow::Borrowed(_)));
    }

    #[test]
    fn arguments_that_are_not_an_object_fail_the_start() {
        let failure = Arguments::parse(b"7").err().unwrap();
        assert!(failure.message.contains("stored arguments"), "{}", failure.message);
    }
}
