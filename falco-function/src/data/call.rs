//! The two sides of a call: an argument that came through the store, and a result that goes there.

use std::borrow::Cow;
use std::io::{Seek, Write};

use memchr::memmem;
use serde::Deserialize;
use serde_json::Value;

use super::error::{DataError, Kind};
use super::http::{Readable, Writable};
use super::{MEMORY, UNKNOWN_MEMORY};
use crate::failure::Failure;

/// A call whose argument is as the function takes it.
#[derive(Debug)]
pub(crate) struct Prepared<'a> {
    pub(crate) argument: Cow<'a, [u8]>,
    spill: Option<Spill>,
}

#[derive(Debug, Deserialize)]
struct Spill {
    over: u64,
    most: u64,
    #[serde(flatten)]
    to: Writable,
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "falco:data")]
    settings: Settings,
    #[serde(rename = "falco:spill")]
    spill: Option<Spill>,
    #[serde(rename = "falco:argument")]
    argument: Option<Readable>,
}

#[derive(Deserialize)]
struct Settings {
    memory: Option<u64>,
}

impl<'a> Prepared<'a> {
    /// Takes the argument as it was sent.
    pub(crate) fn new(sent: &'a [u8]) -> Result<Self, Failure> {
        if memmem::find(sent, b"\"falco:data\"").is_none() {
            return Ok(Self { argument: Cow::Borrowed(sent), spill: None });
        }
        let Ok(envelope) = serde_json::from_slice::<Envelope>(sent) else {
            // The words stand somewhere inside of it.
            return Ok(Self { argument: Cow::Borrowed(sent), spill: None });
        };
        MEMORY.set(envelope.settings.memory.unwrap_or(UNKNOWN_MEMORY));
        let argument = match &envelope.argument {
            Some(spilled) => Cow::Owned(read(spilled)?),
            None => Cow::Borrowed(sent),
        };
        let argument = match memmem::find(&argument, b"\"falco:value\"") {
            Some(_) => Cow::Owned(with_values(&argument)?),
            None => argument,
        };
        Ok(Self { argument, spill: envelope.spill })
    }

    /// The result, or a reference to it where it is too long for the platform.
    pub(crate) fn result(&self, result: Vec<u8>) -> Result<Vec<u8>, Failure> {
        let Some(spill) = &self.spill else { return Ok(result) };
        let length = result.len() as u64;
        if length <= spill.over {
            return Ok(result);
        }
        if length > spill.most {
            let message = format!("the result has {length} bytes, and {} are allowed", spill.most);
            return Err(Failure::new("TooLarge", message));
        }
        let stored = || -> Result<(), DataError> {
            let mut file = tempfile::tempfile()?;
            file.write_all(&result)?;
            file.rewind()?;
            spill.to.store(&mut file, length)
        };
        stored().map_err(|error| failure(&error))?;
        let reference = serde_json::json!({"falco:value": {"url": spill.to.url, "size": length}});
        Ok(reference.to_string().into_bytes())
    }
}

fn failure(error: &DataError) -> Failure {
    Failure::new(&format!("{:?}", error.kind), error.message.clone())
}

fn read(spilled: &Readable) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = spilled.open().and_then(|mut it| Ok(it.read_to_end(&mut bytes)?));
    read.map_err(|error| match error.kind {
        // The function was not called: repeating the call is safe.
        Kind::UrlExpired => Failure::new("UrlExpiredBeforeStart", error.message),
        _ => failure(&error),
    })?;
    Ok(bytes)
}

/// The argument with spilled values in the place of their references.
fn with_values(argument: &[u8]) -> Result<Vec<u8>, Failure> {
    let invalid = |error: serde_json::Error| Failure::new("BadArgument", error.to_string());
    let mut value: Value = serde_json::from_slice(argument).map_err(invalid)?;
    if let Value::Object(fields) = &mut value {
        // After a stage that spilled its result, what is left is the reference.
        fields.retain(|name, _| name != "falco:data" && name != "falco:spill");
    }
    resolve(&mut value)?;
    serde_json::to_vec(&value).map_err(invalid)
}

fn resolve(value: &mut Value) -> Result<(), Failure> {
    match value {
        Value::Array(values) => values.iter_mut().try_for_each(resolve),
        Value::Object(fields) => {
            if fields.len() == 1
                && let Some(spilled) = fields.get("falco:value")
                && let Ok(spilled) = Readable::deserialize(spilled)
            {
                let read = read(&spilled)?;
                *value = serde_json::from_slice(&read)
                    .map_err(|error| Failure::new("BadArgument", error.to_string()))?;
                return resolve(value);
            }
            fields.values_mut().try_for_each(resolve)
        }
        _ => Ok(()),
    }
}
