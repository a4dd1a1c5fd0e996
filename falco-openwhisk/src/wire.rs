//! The API's JSON, as far as it is used. What is borrowed points into the body.

use std::borrow::Cow;
use std::fmt;

use falco_core::{Ownership, RuntimeName};
use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// Parses a JSON object.
///
/// serde reads a struct from an array as well, field by field. Functions may return arrays, and an array is not a
/// record, an acceptance or a refusal, whatever it holds.
pub(crate) fn object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> serde_json::Result<T> {
    match json.trim_ascii_start().first() {
        Some(b'{') => serde_json::from_slice(json),
        _ => Err(serde::de::Error::custom("expected a JSON object")),
    }
}

/// A parameter that is stored with an action: one of its arguments, or an environment variable.
#[derive(Serialize, Deserialize)]
pub(crate) struct Parameter<'a> {
    #[serde(borrow)]
    pub(crate) key: Cow<'a, str>,
    pub(crate) value: Box<RawValue>,
    /// Whether it becomes an environment variable.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) init: bool,
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

/// The value may be a secret.
impl fmt::Debug for Parameter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parameter").field("key", &self.key).finish_non_exhaustive()
    }
}

/// The annotation by which Falco knows its own actions.
#[derive(Debug, Serialize)]
pub(crate) struct FalcoAnnotation {
    pub(crate) key: &'static str,
    pub(crate) value: Marks,
}

/// The annotation: how the user named the runtime, and whose the action is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Marks {
    pub(crate) runtime: RuntimeName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ownership: Option<Ownership>,
    /// A hash of what was deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content: Option<String>,
}

/// The body of a PUT of an action.
#[derive(Debug, Serialize)]
pub(crate) struct PutAction<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exec: Option<PutExec<'a>>,
    pub(crate) limits: PutLimits,
    /// All of them, also when there are none: what is sent replaces what is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parameters: Option<Vec<Parameter<'a>>>,
    /// These are merged by key with what is there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) annotations: Vec<FalcoAnnotation>,
}

#[derive(Debug, Serialize)]
pub(crate) struct PutExec<'a> {
    pub(crate) kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "write_code")]
    pub(crate) code: Option<&'a str>,
    pub(crate) main: &'a str,
}

/// Writes code, which may be long. `Display` is compiled with serde_json, and so as fast in a program without optimization.
fn write_code<S: Serializer>(code: &Option<&str>, serializer: S) -> Result<S::Ok, S::Error> {
    let text = Value::from(*code).to_string();
    RawValue::from_string(text).map_err(S::Error::custom)?.serialize(serializer)
}

/// Limits of an action; those left out keep their value.
#[derive(Debug, Default, Serialize)]
pub(crate) struct PutLimits {
    #[serde(rename = "timeout", skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_ms: Option<u64>,
    #[serde(rename = "memory", skip_serializing_if = "Option::is_none")]
    pub(crate) memory_mib: Option<u32>,
    #[serde(rename = "logs", skip_serializing_if = "Option::is_none")]
    pub(crate) logs_mib: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) concurrency: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) instances: Option<u32>,
}

/// An action as the server shows it. `namespace` is `ns`, or `ns/pkg` for one in a package.
#[derive(Debug, Deserialize)]
pub(crate) struct Action<'a> {
    #[serde(borrow)]
    pub(crate) namespace: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) name: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) version: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(crate) limits: ActionLimits,
    #[serde(borrow, default)]
    pub(crate) annotations: Vec<Annotation<'a>>,
    /// Absent in lists.
    #[serde(borrow, default)]
    pub(crate) parameters: Vec<Parameter<'a>>,
}

/// Lenient: a server that leaves one out, or has another type for it, is still understood.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ActionLimits {
    #[serde(rename = "timeout")]
    pub(crate) timeout_ms: Option<u64>,
    #[serde(rename = "memory")]
    pub(crate) memory_mib: Option<u32>,
    pub(crate) concurrency: Option<u32>,
    pub(crate) instances: Option<u32>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Annotation<'a> {
    #[serde(borrow)]
    pub(crate) key: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) value: &'a RawValue,
}

/// The value of an annotation, when it is there and has the type asked for.
pub(crate) fn annotation<'a, T: Deserialize<'a>>(
    annotations: &[Annotation<'a>],
    key: &str,
) -> Option<T> {
    let found = annotations.iter().find(|annotation| annotation.key == key)?;
    serde_json::from_str(found.value.get()).ok()
}

/// The server's reply when it has accepted an invocation.
#[derive(Debug, Deserialize)]
pub(crate) struct Accepted<'a> {
    #[serde(borrow, rename = "activationId")]
    pub(crate) id: Cow<'a, str>,
}

/// The record of an activation. Times are milliseconds, by the clock of the machine that ran it.
#[derive(Debug, Deserialize)]
pub(crate) struct Record<'a> {
    #[serde(borrow, rename = "activationId")]
    pub(crate) id: Cow<'a, str>,
    pub(crate) start: u64,
    #[serde(default)]
    pub(crate) end: Option<u64>,
    #[serde(default)]
    pub(crate) duration: Option<u64>,
    #[serde(borrow, default)]
    pub(crate) version: Option<Cow<'a, str>>,
    /// Absent in lists without documents.
    #[serde(borrow, default)]
    pub(crate) response: Option<Response<'a>>,
    #[serde(borrow, default)]
    pub(crate) annotations: Vec<Annotation<'a>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Response<'a> {
    #[serde(borrow, default)]
    pub(crate) result: Option<&'a RawValue>,
    pub(crate) success: bool,
    #[serde(borrow)]
    pub(crate) status: Cow<'a, str>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Logs<'a> {
    #[serde(borrow)]
    pub(crate) logs: Vec<Cow<'a, str>>,
}

/// How many activations there are.
#[derive(Debug, Deserialize)]
pub(crate) struct Count {
    pub(crate) activations: u64,
}

/// Whether it has the form of an activation's id, 32 of `0-9a-f`; the server has given out no others.
pub(crate) fn is_activation_id(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_activation_id_is_32_lowercase_hexadecimal_digits() {
        let id = "0123456789abcdef0123456789abcdef";
        assert!(is_activation_id(id));
        for other in [&id[1..], &format!("{id}0"), &id.to_uppercase(), &id.replace('0', "/"), ""] {
            assert!(!is_activation_id(other), "{other}");
        }
    }
}
