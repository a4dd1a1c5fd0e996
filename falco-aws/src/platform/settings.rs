//! A function's settings, checked before anything is sent.

use std::time::Duration;

use falco_core::{Bounds, Environment, Error, Result, Scaling};

use crate::client::{LONGEST_RUN, Variables};
use crate::config::AwsConfig;

/// Memory that a function can have.
pub(super) const MEMORY_MIB: Bounds<u32> = Bounds { min: 128, max: 10_240 };

/// The memory and timeout of a function that asks for none. Lambda's own 128 MiB and 3 s suit no analytics.
pub(super) const DEFAULT_MEMORY_MIB: u32 = 256;
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

const STORAGE_MIB: Bounds<u32> = Bounds { min: 512, max: 10_240 };

/// The sizes of a function, in the units that Lambda takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) memory_mib: u32,
    pub(super) timeout_s: u64,
    pub(super) storage_mib: u32,
    pub(super) reserved: Option<u32>,
}

impl Sizes {
    pub(super) fn new(scaling: &Scaling, config: &AwsConfig) -> Result<Self> {
        check(scaling)?;
        let storage_mib = config.ephemeral_storage_mib.unwrap_or(STORAGE_MIB.min);
        if !STORAGE_MIB.contains(storage_mib) {
            return Err(out_of_bounds("ephemeral storage", storage_mib, STORAGE_MIB, "MiB"));
        }
        Ok(Self {
            memory_mib: scaling.memory_mib.unwrap_or(DEFAULT_MEMORY_MIB),
            timeout_s: whole_seconds(scaling.timeout.unwrap_or(DEFAULT_TIMEOUT)),
            storage_mib,
            reserved: scaling.max_instances,
        })
    }
}

/// Checks what is set in `scaling` against what Lambda has.
///
/// # Errors
///
/// `InvalidInput` for a size out of bounds, `Unsupported` for one that Lambda does not have.
pub(super) fn check(scaling: &Scaling) -> Result<()> {
    scaling.validate()?;
    if let Some(memory) = scaling.memory_mib
        && !MEMORY_MIB.contains(memory)
    {
        return Err(out_of_bounds("memory", memory, MEMORY_MIB, "MiB"));
    }
    if let Some(timeout) = scaling.timeout
        && timeout > LONGEST_RUN
    {
        return Err(Error::invalid_input(format!(
            "a timeout of {timeout:?} is over the {LONGEST_RUN:?} that Lambda allows"
        )));
    }
    if scaling.cpus.is_some() {
        return Err(Error::unsupported("Lambda derives processors from memory")
            .with_hint("1769 MiB are one processor"));
    }
    if scaling.concurrency.is_some_and(|concurrency| concurrency != 1) {
        return Err(Error::unsupported("an instance on Lambda runs one activation at a time"));
    }
    if scaling.min_instances.is_some_and(|instances| instances != 0) {
        return Err(Error::unsupported(
            "Lambda keeps instances warm for published versions only, and Falco publishes none",
        ));
    }
    Ok(())
}

/// Lambda counts whole seconds; a shorter timeout than asked for would kill what was promised time.
pub(super) fn whole_seconds(timeout: Duration) -> u64 {
    timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0)
}

fn out_of_bounds(what: &str, value: u32, bounds: Bounds<u32>, unit: &str) -> Error {
    Error::invalid_input(format!(
        "{what} of {value} {unit} is not between {} and {} {unit}",
        bounds.min, bounds.max
    ))
}

/// Names that Lambda sets itself, and refuses.
const RESERVED: [&str; 18] = [
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_LAMBDA_RUNTIME_API",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
];

/// The environment as Lambda takes it.
///
/// # Errors
///
/// `InvalidInput` that names the variable, never its value.
pub(super) fn variables(env: &Environment, limit: usize) -> Result<Variables> {
    for name in env.names() {
        let letter_first = name.starts_with(|c: char| c.is_ascii_alphabetic());
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !letter_first || !plain || name.len() < 2 {
            return Err(Error::invalid_input(format!(
                "invalid name of an environment variable on Lambda: {name:?}; use 2 or more letters, digits and '_', starting with a letter"
            )));
        }
        if RESERVED.contains(&name) {
            return Err(Error::invalid_input(format!("{name} is set by Lambda itself")));
        }
    }
    let size: usize = env.iter().map(|(name, value)| name.len() + value.len()).sum();
    if size > limit {
        return Err(Error::invalid_input(format!(
            "the environment has {size} bytes, and Lambda allows {limit}"
        ))
        .with_hint("pass what is long as the argument, or as a reference to it"));
    }
    Ok(Variables(env.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
}

#[cfg(test)]
mod tests {
    use falco_core::ErrorKind;

    use super::*;

    #[test]
    fn sizes_that_lambda_lacks_are_refused_by_name() {
        let none = Scaling::default();
        for (scaling, kind, word) in [
            (none.clone().with_memory_mib(64), ErrorKind::InvalidInput, "memory"),
            (
                none.clone().with_timeout(Duration::from_secs(901)),
                ErrorKind::InvalidInput,
                "timeout",
            ),
            (none.clone().with_cpus(2.0), ErrorKind::Unsupported, "memory"),
            (none.clone().with_concurrency(8), ErrorKind::Unsupported, "one"),
            (none.with_min_instances(1), ErrorKind::Unsupported, "warm"),
        ] {
            let error = check(&scaling).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.message().contains(word), "{error}");
        }
    }

    #[test]
    fn a_timeout_is_never_shortened() {
        assert_eq!(whole_seconds(Duration::from_millis(1)), 1);
        assert_eq!(whole_seconds(Duration::from_millis(2001)), 3);
        assert_eq!(whole_seconds(Duration::from_secs(3)), 3);
    }

    #[test]
    fn variables_are_refused_by_name_and_never_by_value() {
        for (name, value) in [
            ("A", "marked"),
            ("A-B", "marked"),
            ("AWS_REGION", "marked"),
            ("LAMBDA_TASK_ROOT", "marked"),
            ("LONG", &"marked".repeat(999)),
        ] {
            let env = Environment::from_iter([(name, value)]);
            let error = variables(&env, 4096).unwrap_err();
            assert!(!error.to_string().contains("marked"), "{error}");
        }
        assert_eq!(variables(&Environment::from_iter([("AB", "c")]), 4096).unwrap().0["AB"], "c");
    }
}
