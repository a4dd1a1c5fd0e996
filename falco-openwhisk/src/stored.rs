//! The parts of an action besides its code: parameters, and the mark of what was deployed.

use std::borrow::Cow;
use std::collections::BTreeMap;

use falco_core::{Code, Deployable, Error, ErrorKind, Result};
use serde_json::value::{RawValue, to_raw_value};

use crate::deployments::MARKS;
use crate::wire::{Action, ActionLimits, Marks, Parameter, PutLimits, annotation};

/// A function whose arguments are in its parameters where they fit, and else in a file that its shim reads.
pub(crate) struct Stored<'a> {
    /// The function, with the arguments that are to be part of its code.
    pub(crate) function: Cow<'a, Deployable>,
    pub(crate) parameters: Vec<Parameter<'a>>,
}

impl<'a> Stored<'a> {
    /// Divides a function whose stored parameters may have `allowed` bytes. `plain` code, and an image that is the function, have
    /// no shim that could read a file.
    ///
    /// # Errors
    ///
    /// `PayloadTooLarge` for an environment, or for arguments of plain code or of an image, that do not fit.
    pub(crate) fn new(function: &'a Deployable, allowed: u64, plain: bool) -> Result<Self> {
        let too_large = |what: &str, size: usize| {
            let message = format!("{what} has {size} bytes, and {allowed} are allowed");
            Error::new(ErrorKind::PayloadTooLarge, message)
        };
        let mut parameters = environment(function)?;
        let environment: usize =
            function.env.iter().map(|(key, value)| key.len() + value.len()).sum();
        if environment as u64 > allowed {
            return Err(too_large("the environment", environment));
        }
        let Some(arguments) = &function.arguments else {
            return Ok(Self { function: Cow::Borrowed(function), parameters });
        };
        let bound: BTreeMap<String, &'a RawValue> = arguments.parse()?;
        let size = environment
            + bound.iter().map(|(key, value)| key.len() + value.get().len()).sum::<usize>();
        let fits = size as u64 <= allowed;
        let plain = plain || matches!(function.code, Code::Image(_));
        let is_source = matches!(function.code, Code::Source(_));
        if plain && !fits {
            return Err(too_large("the environment with the arguments", size).with_hint(
                "send what is large with each payload, or let the code run under Falco's shim",
            ));
        }
        let are_bound = plain || (is_source && fits);
        if !are_bound {
            return Ok(Self { function: Cow::Borrowed(function), parameters });
        }
        parameters.extend(bound.into_iter().map(|(key, value)| Parameter {
            key: key.into(),
            value: value.to_owned(),
            init: false,
        }));
        let mut without = function.clone();
        without.arguments = None;
        Ok(Self { function: Cow::Owned(without), parameters })
    }

    /// Whether an action is what is wanted, but for its owner.
    pub(crate) fn is_deployed(
        &self,
        action: &Action<'_>,
        content: &str,
        limits: &PutLimits,
    ) -> bool {
        let marks: Option<Marks> = annotation(&action.annotations, MARKS);
        marks.and_then(|marks| marks.content).as_deref() == Some(content)
            && are_in_force(limits, &action.limits)
            && by_key(&self.parameters) == by_key(&action.parameters)
    }
}

fn environment(function: &Deployable) -> Result<Vec<Parameter<'_>>> {
    let parameter = |(key, value): (&str, &str)| {
        let value = to_raw_value(value).map_err(|error| {
            Error::invalid_input("an environment variable has no JSON form").with_source(&error)
        })?;
        Ok((key.to_owned(), value))
    };
    let all: Result<Vec<_>> = function.env.iter().map(parameter).collect();
    let init = |(key, value): (String, _)| Parameter { key: key.into(), value, init: true };
    Ok(all?.into_iter().map(init).collect())
}

/// The parameters in an order and a form that do not depend on who wrote them.
fn by_key(parameters: &[Parameter<'_>]) -> BTreeMap<(String, bool), serde_json::Value> {
    let value =
        |parameter: &Parameter<'_>| serde_json::from_str(parameter.value.get()).unwrap_or_default();
    let each = parameters.iter();
    each.map(|parameter| ((parameter.key.to_string(), parameter.init), value(parameter))).collect()
}

/// Whether the limits that are asked for are those that an action has.
fn are_in_force(asked: &PutLimits, there: &ActionLimits) -> bool {
    fn holds<T: PartialEq>(asked: Option<T>, there: Option<T>) -> bool {
        asked.is_none() || asked == there
    }
    holds(asked.timeout_ms, there.timeout_ms)
        && holds(asked.memory_mib, there.memory_mib)
        && holds(asked.concurrency, there.concurrency)
        && holds(asked.instances, there.instances)
}

#[cfg(test)]
mod tests {
    use falco_core::{Payload, RuntimeName};

    use super::*;

    fn arguments() -> Payload {
        Payload::from_bytes(r#"{"table":[1,2,3],"n":7}"#).unwrap()
    }

    #[test]
    fn arguments_of_source_that_fit_are_bound_and_others_lie_in_a_file() {
        let source = Deployable::python("f", "x").with_env("KEY", "v").with_arguments(arguments());
        let stored = Stored::new(&source, 1_000, false).unwrap();
        assert!(stored.function.arguments.is_none());
        let keys: Vec<_> = stored.parameters.iter().map(|p| (p.key.as_ref(), p.init)).collect();
        assert_eq!(keys, [("KEY", true), ("n", false), ("table", false)]);

        let stored = Stored::new(&source, 10, false).unwrap();
        assert!(stored.function.arguments.is_some());
        assert_eq!(stored.parameters.len(), 1);

        let archive = Deployable::from_archive("f", RuntimeName::python(), "zip");
        let archive = archive.with_arguments(arguments());
        assert!(Stored::new(&archive, 1_000, false).unwrap().function.arguments.is_some());
        assert!(Stored::new(&archive, 1_000, true).unwrap().function.arguments.is_none());

        let image = Deployable::from_image("f", "me/a:1").with_arguments(arguments());
        let stored = Stored::new(&image, 1_000, false).unwrap();
        assert!(stored.function.arguments.is_none());
        assert_eq!(stored.parameters.len(), 2);
    }

    #[test]
    fn arguments_of_plain_code_and_of_images_that_do_not_fit_are_refused() {
        let source = Deployable::python("f", "x").with_arguments(arguments());
        let image = Deployable::from_image("f", "me/a:1").with_arguments(arguments());
        for (function, plain) in [(source, true), (image, false)] {
            let error = Stored::new(&function, 10, plain).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::PayloadTooLarge);
            assert!(error.to_string().contains("10 are allowed"), "{error}");
        }
    }

    #[test]
    fn an_environment_of_the_allowed_length_is_taken_and_a_byte_more_is_refused() {
        let stored = |value: &str| {
            let function = Deployable::python("f", "x").with_env("KEY", value);
            Stored::new(&function, 10, false).err().map(|error| error.kind())
        };
        assert_eq!(stored("7 bytes"), None);
        assert_eq!(stored("8 bytes."), Some(ErrorKind::PayloadTooLarge));
    }

    #[test]
    fn each_limit_that_is_asked_for_has_to_be_that_of_the_action_and_others_do_not_matter() {
        let there: ActionLimits = serde_json::from_str(
            r#"{"timeout":60000,"memory":256,"logs":10,"concurrency":2,"instances":3}"#,
        )
        .unwrap();
        let [asked, other] = [0, 1].map(|more| PutLimits {
            timeout_ms: Some(60_000 + more),
            memory_mib: Some(256 + more as u32),
            logs_mib: None,
            concurrency: Some(2 + more as u32),
            instances: Some(3 + more as u32),
        });
        assert!(are_in_force(&asked, &there) && are_in_force(&PutLimits::default(), &there));
        let one = PutLimits::default;
        for wrong in [
            PutLimits { timeout_ms: other.timeout_ms, ..one() },
            PutLimits { memory_mib: other.memory_mib, ..one() },
            PutLimits { concurrency: other.concurrency, ..one() },
            PutLimits { instances: other.instances, ..one() },
        ] {
            assert!(!are_in_force(&wrong, &there), "{wrong:?}");
        }
        assert!(!are_in_force(&asked, &ActionLimits::default()), "nothing is known of it");
    }

    #[test]
    fn a_parameter_shows_no_value() {
        let function = Deployable::python("f", "x").with_env("KEY", "marked-secret");
        let shown = format!("{:?}", environment(&function).unwrap());
        assert!(shown.contains("KEY") && !shown.contains("marked-secret"), "{shown}");
    }
}
