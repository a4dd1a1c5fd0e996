//! The failure of a function, in the form that every platform reads.

use std::any::type_name;
use std::fmt::Display;

use serde::Serialize;

/// The type name of an argument that does not fit the function's parameter.
pub(crate) const BAD_ARGUMENT: &str = "BadArgument";
/// The type name of a result that Falco cannot carry.
pub(crate) const BAD_RESULT: &str = "BadResult";
/// The type name of a function that could not be started.
pub(crate) const INITIALIZATION: &str = "Initialization";
/// The type name of a panic.
pub(crate) const PANIC: &str = "panic";

/// A failed call: `{"error": {"name": .., "message": .., "stack": ..}}`, as a rejected promise has it on OpenWhisk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Failure {
    pub(crate) name: String,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stack: Option<String>,
}

impl Failure {
    pub(crate) fn new(name: &str, message: impl Into<String>) -> Self {
        Self { name: name.to_owned(), message: message.into(), stack: None }
    }

    /// The failure for an error of the function: the short name of its type, and its text with the causes that
    /// `{:#}` prints.
    pub(crate) fn of_error<E: Display>(error: &E) -> Self {
        Self::new(short_name(type_name::<E>()), format!("{error:#}"))
    }

    /// The failure of a function that could not be started.
    pub(crate) fn initialization(message: impl Into<String>) -> Self {
        Self::new(INITIALIZATION, message)
    }

    /// The JSON object that a platform takes for a failure.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Answer<'a> {
            error: &'a Failure,
        }
        // Texts always have a JSON form.
        serde_json::to_vec(&Answer { error: self }).unwrap_or_default()
    }
}

/// The last part of a type's path, without its parameters: `MyError` for `my_crate::error::MyError<T>`.
fn short_name(path: &str) -> &str {
    let path = path.trim_start_matches('&').split('<').next().unwrap_or(path);
    path.rsplit("::").next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_named_without_its_path_and_parameters() {
        for (path, name) in [
            ("alloc::string::String", "String"),
            ("&str", "str"),
            ("a::Error<b::C>", "Error"),
            ("alloc::boxed::Box<dyn core::error::Error>", "Box"),
        ] {
            assert_eq!(short_name(path), name);
        }
    }

    #[test]
    fn the_causes_of_an_error_are_part_of_its_message() {
        let error = anyhow::anyhow!("no such file").context("cannot load the model");
        let failure = Failure::of_error(&error);
        assert_eq!(failure.message, "cannot load the model: no such file");
    }

    #[test]
    fn a_failure_is_an_object_under_the_key_error() {
        let json = Failure::new("E", "half a \"word\"\n").to_json();
        assert_eq!(
            String::from_utf8(json).unwrap(),
            r#"{"error":{"name":"E","message":"half a \"word\"\n"}}"#
        );
    }
}
