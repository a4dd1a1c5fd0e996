//! The runtime of Lambda that runs a function.

use std::collections::BTreeMap;

use falco_core::{Error, Result, RuntimeName};

/// Versions that Lambda is known to have, the newest last. It retires old ones, and has no API to list them.
const PYTHON: [&str; 7] = ["3.9", "3.10", "3.11", "3.12", "3.13", "3.14", "3.15"];
/// The newest that is not a preview, as awslambdaric 4.2 lists previews.
const NEWEST_PYTHON: &str = "3.14";
const NODE: [&str; 4] = ["20", "22", "24", "26"];

/// The runtime that native executables run on: it has bash and the C library, and no interpreter.
pub(super) const NATIVE: &str = "provided.al2023";

/// The runtimes that a [`Deployable`](falco_core::Deployable) can name here.
pub(crate) fn supported(overrides: &BTreeMap<String, String>) -> Vec<String> {
    let mut names: Vec<String> = vec!["python:3".into()];
    names.extend(PYTHON.iter().rev().map(|version| format!("python:{version}")));
    names.extend(NODE.iter().rev().map(|version| format!("nodejs:{version}")));
    names.push("native".into());
    names.extend(overrides.keys().cloned());
    names.sort();
    names.dedup();
    names
}

/// Lambda's name for `runtime`.
///
/// # Errors
///
/// `Unsupported` with the list of those that are there.
pub(crate) fn resolve(
    runtime: &RuntimeName,
    overrides: &BTreeMap<String, String>,
) -> Result<String> {
    if let Some(named) = overrides.get(&runtime.to_string()) {
        return Ok(named.clone());
    }
    let found = match (runtime.family(), runtime.version()) {
        ("python", None | Some("3")) => Some(format!("python{NEWEST_PYTHON}")),
        ("python", Some(version)) if PYTHON.contains(&version) => Some(format!("python{version}")),
        ("nodejs", None) => NODE.last().map(|version| format!("nodejs{version}.x")),
        ("nodejs", Some(version)) if NODE.contains(&version) => Some(format!("nodejs{version}.x")),
        ("native", None) => Some(NATIVE.to_owned()),
        _ => None,
    };
    found.ok_or_else(|| {
        Error::unsupported(format!(
            "Lambda has no runtime for {runtime}; there are {}",
            supported(overrides).join(", ")
        ))
        .with_platform(crate::NAME)
        .with_hint("name one of them, or map it yourself with AwsConfigBuilder::runtime")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_map_to_those_of_lambda_and_can_be_overridden() {
        let overrides = BTreeMap::from([("python:3".to_owned(), "python3.12".to_owned())]);
        for (name, expected) in [
            ("python", "python3.14"),
            ("python:3.11", "python3.11"),
            ("python:3", "python3.12"),
            ("nodejs:22", "nodejs22.x"),
            ("native", "provided.al2023"),
        ] {
            assert_eq!(resolve(&name.parse().unwrap(), &overrides).unwrap(), expected);
        }
        assert_eq!(resolve(&"python:3".parse().unwrap(), &BTreeMap::new()).unwrap(), "python3.14");
    }

    #[test]
    fn a_runtime_that_is_not_there_is_answered_with_those_that_are() {
        for name in ["python:2", "nodejs:21", "cobol", "native:3"] {
            let error = resolve(&name.parse().unwrap(), &BTreeMap::new()).unwrap_err();
            assert_eq!(error.kind(), falco_core::ErrorKind::Unsupported);
            assert!(error.message().contains("python:3.12, python:3.13"), "{error}");
        }
    }
}
