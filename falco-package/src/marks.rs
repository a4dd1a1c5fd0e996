//! The marks of a function, by which another process finds it: text that a platform stores beside it, for providers that take
//! any text there, such as annotations.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use falco_core::{Deployable, Deployment, Ownership, Scaling};

/// The marks of a function: its runtime, memory, timeout, owner, run and expiry. They belong into the request that makes it.
///
/// # Examples
///
/// ```
/// use falco_core::Deployable;
/// use falco_package::marks;
///
/// let marks = marks::of(&Deployable::python("resize", "def main(args): return args"));
/// assert_eq!(marks["falco.runtime"], "python:3");
/// ```
pub fn of(function: &Deployable) -> BTreeMap<String, String> {
    let scaling = &function.scaling;
    let ownership = function.ownership.as_ref();
    let expiry = ownership.map(|o| o.expires_at.duration_since(UNIX_EPOCH).unwrap_or_default());
    [
        ("falco.runtime", Some(function.runtime.to_string())),
        ("falco.memory-mib", scaling.memory_mib.map(|mib| mib.to_string())),
        ("falco.timeout-ms", scaling.timeout.map(|timeout| timeout.as_millis().to_string())),
        ("falco.run", ownership.map(|o| o.run.to_string())),
        ("falco.owner", ownership.map(|o| o.owner.clone())),
        ("falco.expires", expiry.map(|expiry| expiry.as_secs().to_string())),
        ("falco.epoch", ownership.map(|o| o.epoch.to_string())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect()
}

/// The deployment of this name that marks describe; `None` where they do not name a runtime: the function is not Falco's.
///
/// # Examples
///
/// ```
/// use falco_core::Deployable;
/// use falco_package::marks;
/// use std::collections::BTreeMap;
///
/// let function = Deployable::python("resize", "def main(args): return args");
/// let found = marks::deployment("resize", &marks::of(&function));
/// assert_eq!(found.map(|found| found.runtime), Some(function.runtime));
/// assert!(marks::deployment("theirs", &BTreeMap::new()).is_none());
/// ```
pub fn deployment(name: &str, marks: &BTreeMap<String, String>) -> Option<Deployment> {
    let mark = |name: &str| marks.get(name).map(String::as_str);
    let number = |name: &str| mark(name)?.parse().ok();
    let scaling = Scaling::default()
        .with_memory_mib(mark("falco.memory-mib").and_then(|mib| mib.parse().ok()))
        .with_timeout(number("falco.timeout-ms").map(Duration::from_millis));
    let ownership = || {
        let expires = Duration::from_secs(number("falco.expires")?);
        let expires = UNIX_EPOCH.checked_add(expires)?;
        let epoch = mark("falco.epoch").and_then(|epoch| epoch.parse().ok());
        let ownership = Ownership::new(mark("falco.run")?, mark("falco.owner")?, expires);
        Some(ownership.with_epoch(epoch.unwrap_or_default()))
    };
    let deployment = Deployment::new(name, mark("falco.runtime")?.parse().ok()?);
    Some(deployment.with_scaling(scaling).with_ownership(ownership()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_describe_the_deployment_whose_function_they_are_of() {
        let expires = UNIX_EPOCH + Duration::from_secs(4_000_000_000);
        let ownership = Ownership::new("run-1", "ada@workstation", expires).with_epoch(3);
        let scaling =
            Scaling::default().with_memory_mib(256).with_timeout(Duration::from_millis(1_500));
        let function = Deployable::from_source("f", "python:3".parse().unwrap(), "x = 1")
            .with_scaling(scaling.clone())
            .with_ownership(ownership.clone());
        let found = deployment("f", &of(&function)).unwrap();
        assert_eq!((found.name.as_str(), found.runtime), ("f", function.runtime));
        assert_eq!((found.scaling, found.ownership), (scaling, Some(ownership)));
    }

    #[test]
    fn damaged_marks_name_no_owner_and_those_without_a_runtime_are_not_falcos() {
        let function = Deployable::python("f", "x = 1");
        let found = |changes: &[(&str, &str)]| {
            let mut marks = of(&function);
            let changes = changes.iter().map(|(name, value)| ((*name).into(), (*value).into()));
            marks.extend(changes);
            deployment("f", &marks)
        };
        let owned = [("falco.run", "run-1"), ("falco.owner", "ada"), ("falco.expires", "1")];
        assert!(found(&owned).unwrap().ownership.is_some());
        for expires in ["soon", "-1", "18446744073709551615"] {
            let damaged = [&owned[..2], &[("falco.expires", expires)]].concat();
            assert_eq!(found(&damaged).unwrap().ownership, None, "{expires}");
        }
        assert_eq!(found(&[]).unwrap().ownership, None);
        assert!(found(&[("falco.runtime", "")]).is_none());
    }
}
