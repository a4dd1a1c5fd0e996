//! The dependency rule: which crate may depend on which, and nothing else.

use anyhow::bail;

use crate::metadata::{Dependency, Metadata, Package};

/// Crates of programs, which may depend on whatever they like: no library depends on them.
const FREE: [&str; 4] = ["falco-cli", "falco-examples", "falco-bench", "falco-tpch"];

/// The crates that a platform may depend on. Every crate that is not listed in [`allowed`] is taken for a platform.
const PLATFORM: &[&str] = &["falco-core", "falco-package", "falco-http", "falco-workers"];

/// The crates that the facade gathers: everything that a user of one crate needs.
const FACADE: &[&str] = &[
    "falco-core",
    "falco-executors",
    "falco-layers",
    "falco-package",
    "falco-function",
    "falco-data",
    "falco-trace",
    "falco-meter",
    "falco-journal",
    "falco-local",
    "falco-docker",
    "falco-openwhisk",
    "falco-aws",
    "falco-gcp",
    "falco-openfaas",
];

/// The crates that the fakes depend on: the configurations that they hand out are those of the platforms, and the data suite
/// drives the layer of falco-data. The conformance suite asks fakes what it has to know of a provider.
const FAKES: &[&str] = &[
    "falco-core",
    "falco-testkit",
    "falco-package",
    "falco-http",
    "falco-data",
    "falco-openwhisk",
    "falco-aws",
    "falco-gcp",
    "falco-openfaas",
];

/// The crates that tests of any crate but core may use.
const IN_TESTS: [&str; 6] = [
    "falco-testkit",
    "falco-fakes",
    "falco-executors",
    "falco-journal",
    "falco-layers",
    "falco-local",
];

fn allowed(name: &str) -> &'static [&'static str] {
    match name {
        "falco-core" | "xtask" => &[],
        "falco-layers" | "falco-package" | "falco-workers" | "falco-http" | "falco-journal"
        | "falco-testkit" => &["falco-core"],
        "falco-executors" => &["falco-core", "falco-layers"],
        "falco-function" => &["falco-core", "falco-executors", "falco-package"],
        "falco-data" => &["falco-core", "falco-executors", "falco-package"],
        "falco-trace" => &["falco-core"],
        "falco-meter" => &["falco-core", "falco-trace"],
        "falco" => FACADE,
        "falco-fakes" => FAKES,
        _ => PLATFORM,
    }
}

/// Checks every crate of the workspace.
pub(crate) fn check(metadata: &Metadata) -> anyhow::Result<()> {
    let violations: Vec<String> = metadata.members().flat_map(violations_of).collect();
    if violations.is_empty() {
        return Ok(());
    }
    bail!("the dependency rule is broken:\n  {}", violations.join("\n  "));
}

fn violations_of(package: &Package) -> Vec<String> {
    let internal = package.dependencies.iter().filter(|dependency| dependency.is_path);
    internal.filter_map(|dependency| violation(package, dependency)).collect()
}

fn violation(package: &Package, dependency: &Dependency) -> Option<String> {
    let (name, on) = (package.name.as_str(), dependency.name.as_str());
    if dependency.is_dev {
        // Without a version cargo drops it from the published manifest; with one, publishing would need a cycle.
        if dependency.requirement != "*" && !allowed(name).contains(&on) && !FREE.contains(&name) {
            return Some(format!("{name} names a version for its dev-dependency {on}; path only"));
        }
        let fine = FREE.contains(&name)
            || allowed(name).contains(&on)
            || name == on
            || (name != "falco-core" && IN_TESTS.contains(&on));
        return (!fine).then(|| format!("{name} may not depend on {on}, in tests neither"));
    }
    if !FREE.contains(&name) && !allowed(name).contains(&on) {
        return Some(format!("{name} may not depend on {on}; it may on {:?}", allowed(name)));
    }
    (dependency.requirement == "*" && name != "falco-bench")
        .then(|| format!("{name} depends on {on} by path only; name the version too"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, on: &str, is_dev: bool, requirement: &str) -> Package {
        Package {
            name: name.to_owned(),
            version: "0.1.0".to_owned(),
            licence: None,
            is_member: true,
            is_published: true,
            folder: "".into(),
            features: vec![],
            dependencies: vec![Dependency {
                name: on.to_owned(),
                is_dev,
                is_path: true,
                requirement: requirement.to_owned(),
            }],
        }
    }

    #[test]
    fn a_platform_stands_on_core_package_and_http_only() {
        assert!(violations_of(&package("falco-fission", "falco-http", false, "^0.1.0")).is_empty());
        for forbidden in
            ["falco-executors", "falco-layers", "falco-aws", "falco-testkit", "falco-fakes"]
        {
            let found = violations_of(&package("falco-fission", forbidden, false, "^0.1.0"));
            assert_eq!(found.len(), 1, "{forbidden}");
        }
    }

    #[test]
    fn core_stands_on_nothing_in_tests_neither() {
        assert_eq!(violations_of(&package("falco-core", "falco-testkit", true, "*")).len(), 1);
    }

    #[test]
    fn internal_dependencies_carry_a_version_and_internal_dev_dependencies_do_not() {
        assert_eq!(violations_of(&package("falco-local", "falco-core", false, "*")).len(), 1);
        assert_eq!(violations_of(&package("falco-local", "falco-testkit", true, "^0.1")).len(), 1);
        assert!(violations_of(&package("falco-local", "falco-testkit", true, "*")).is_empty());
    }
}
