//! The dependency rule: which crate may depend on which, and nothing else.

use anyhow::bail;

use crate::metadata::{Dependency, Metadata, Package};

/// Crates of programs, which may depend on whatever they like: no library depends on them.
const FREE: [&str; 4] = ["falco-cli", "falco-examples", "falco-bench", "falco-tpch"];

/// The crates that a platform may depend on.
const PLATFORM: &[&str] = &["falco-core", "falco-package", "falco-http", "falco-workers"];

/// The crates that the facade gathers, besides all platforms: everything that a user of one crate needs.
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
];

/// The crates that the fakes depend on, besides the platforms, whose configurations they hand out. The data suite drives the
/// layer of falco-data. The conformance suite asks fakes what it has to know of a provider.
const FAKES: &[&str] =
    &["falco-core", "falco-testkit", "falco-package", "falco-http", "falco-data"];

/// The crates that tests of any crate but core may use.
const IN_TESTS: [&str; 6] = [
    "falco-testkit",
    "falco-fakes",
    "falco-executors",
    "falco-journal",
    "falco-layers",
    "falco-local",
];

/// The crates that a crate may depend on; `None` for one that nothing is said of.
fn allowed<'a>(package: &Package, platforms: &[&'a str]) -> Option<Vec<&'a str>> {
    if package.platform.is_some() {
        return Some(PLATFORM.to_vec());
    }
    let listed: &[&str] = match package.name.as_str() {
        "falco-core" | "xtask" => &[],
        "falco-layers" | "falco-package" | "falco-workers" | "falco-http" | "falco-journal"
        | "falco-testkit" => &["falco-core"],
        "falco-executors" => &["falco-core", "falco-layers"],
        "falco-function" => &["falco-core", "falco-executors", "falco-package"],
        "falco-data" => &["falco-core", "falco-executors", "falco-package"],
        "falco-trace" => &["falco-core"],
        "falco-meter" => &["falco-core", "falco-trace"],
        "falco" => return Some([FACADE, platforms].concat()),
        "falco-fakes" => return Some([FAKES, platforms].concat()),
        name if FREE.contains(&name) => &[],
        _ => return None,
    };
    Some(listed.to_vec())
}

/// Checks every crate of the workspace.
pub(crate) fn check(metadata: &Metadata) -> anyhow::Result<()> {
    let platforms: Vec<&str> = metadata.platforms().map(|platform| &*platform.name).collect();
    let of = |package| violations_of(package, &platforms);
    let violations: Vec<String> = metadata.members().flat_map(of).collect();
    if violations.is_empty() {
        return Ok(());
    }
    bail!("the dependency rule is broken:\n  {}", violations.join("\n  "));
}

fn violations_of(package: &Package, platforms: &[&str]) -> Vec<String> {
    let Some(allowed) = allowed(package, platforms) else {
        return vec![format!(
            "nothing is said of {0}: list it in xtask/src/dependencies.rs, or if it is a platform, write into \
             {0}/Cargo.toml\n    [package.metadata.falco]\n    platform = \"its name in documents\"",
            package.name
        )];
    };
    let internal = package.dependencies.iter().filter(|dependency| dependency.is_path);
    internal.filter_map(|dependency| violation(package, dependency, &allowed)).collect()
}

fn violation(package: &Package, dependency: &Dependency, allowed: &[&str]) -> Option<String> {
    let (name, on) = (package.name.as_str(), dependency.name.as_str());
    if dependency.is_dev {
        // Without a version cargo drops it from the published manifest; with one, publishing would need a cycle.
        if dependency.requirement != "*" && !allowed.contains(&on) && !FREE.contains(&name) {
            return Some(format!("{name} names a version for its dev-dependency {on}; path only"));
        }
        let fine = FREE.contains(&name)
            || allowed.contains(&on)
            || name == on
            || (name != "falco-core" && IN_TESTS.contains(&on));
        return (!fine).then(|| format!("{name} may not depend on {on}, in tests neither"));
    }
    if !FREE.contains(&name) && !allowed.contains(&on) {
        return Some(format!("{name} may not depend on {on}; it may on {allowed:?}"));
    }
    (dependency.requirement == "*" && name != "falco-bench")
        .then(|| format!("{name} depends on {on} by path only; name the version too"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FISSION: &[&str] = &["falco-fission"];

    fn violations_of(package: &Package) -> Vec<String> {
        super::violations_of(package, FISSION)
    }

    fn package(name: &str, on: &str, is_dev: bool, requirement: &str) -> Package {
        Package {
            name: name.to_owned(),
            version: "0.1.0".to_owned(),
            licence: None,
            is_member: true,
            is_published: true,
            platform: FISSION.contains(&name).then(|| "Fission".to_owned()),
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
        assert_eq!(violations_of(&package("falco-fission", "falco-core", false, "*")).len(), 1);
        assert_eq!(
            violations_of(&package("falco-fission", "falco-testkit", true, "^0.1")).len(),
            1
        );
        assert!(violations_of(&package("falco-fission", "falco-testkit", true, "*")).is_empty());
    }

    #[test]
    fn the_facade_and_the_fakes_may_depend_on_every_platform_and_no_other_library_on_any() {
        for (name, violations) in [("falco", 0), ("falco-fakes", 0), ("falco-data", 1)] {
            let found = violations_of(&package(name, "falco-fission", false, "^0.1.0"));
            assert_eq!(found.len(), violations, "{name}: {found:?}");
        }
    }

    #[test]
    fn a_crate_of_which_nothing_is_said_is_named_with_what_to_write() {
        let found = violations_of(&package("falco-new", "falco-core", false, "^0.1.0"));
        assert!(found[0].contains("[package.metadata.falco]"), "{found:?}");
    }
}
