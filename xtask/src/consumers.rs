//! `cargo xtask consumers`: crates outside the workspace that use Falco as its users do.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::shell::{check, root, step};

/// The dependencies of a user, and the most crates that they may bring, their own included. `falco/aws` is the facade
/// with the feature `aws` alone; the platform crates by themselves are the other way of depending on Falco. 31 of the crates
/// of a provider's platform are TLS, and 8 are SHA-256, by which platforms know functions that are deployed already.
const CONSUMERS: &[(&str, &[&str], usize)] = &[
    ("facade", &["falco/local"], 90),
    ("facade-openwhisk", &["falco/openwhisk"], 155),
    ("facade-gcp", &["falco/gcp"], 155),
    ("facade-aws", &["falco/aws"], 195),
    ("facade-openfaas", &["falco/openfaas"], 155),
    ("core", &["falco-core"], 20),
    ("local", &["falco-core", "falco-executors", "falco-local"], 140),
    ("docker", &["falco-core", "falco-executors", "falco-docker"], 140),
    ("openwhisk", &["falco-core", "falco-executors", "falco-openwhisk"], 155),
    ("gcp", &["falco-core", "falco-executors", "falco-gcp"], 155),
    ("aws", &["falco-core", "falco-executors", "falco-aws"], 195),
    ("trace", &["falco-core", "falco-trace"], 40),
    ("meter", &["falco-core", "falco-trace", "falco-meter"], 90),
    ("openfaas", &["falco-core", "falco-executors", "falco-openfaas"], 155),
];

/// Crates of Falco that a consumer of a platform gets with it.
const SHARED: &[&str] = &[
    "falco-core",
    "falco-executors",
    "falco-http",
    "falco-layers",
    "falco-package",
    "falco-workers",
];

/// Crates of Falco that a consumer of the facade gets besides.
const FACADE: &[&str] = &["falco"];

/// Builds each consumer, or those that are named, and looks at their trees.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let known = CONSUMERS.iter().map(|(name, ..)| *name).collect::<Vec<_>>();
    if let Some(stranger) = arguments.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("there is no consumer {stranger:?}; there are {}", known.join(", "));
    }
    let mut failures = Vec::new();
    let wanted = |name: &str| arguments.is_empty() || arguments.iter().any(|a| a == name);
    for (name, dependencies, most) in CONSUMERS.iter().filter(|(name, ..)| wanted(name)) {
        let folder = root().join("target/consumers").join(name);
        write(&folder, name, dependencies)?;
        // The tree first: it takes no time, and building may take minutes.
        let tree = check(&format!("tree of {name}"), || check_tree(&folder, dependencies, *most));
        let built =
            step(&format!("consumer of {name}"), &mut cargo_in(&folder, &["check", "--quiet"]));
        failures.extend(
            [tree, built].into_iter().filter_map(Result::err).map(|e| format!("{name}: {e:#}")),
        );
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

fn write(folder: &Path, name: &str, dependencies: &[&str]) -> anyhow::Result<()> {
    fs::create_dir_all(folder.join("src"))?;
    let mut manifest = format!(
        "[package]\nname = \"consumer-of-{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [workspace]\n\n[dependencies]\n"
    );
    let mut uses = String::from("//! Uses Falco as a crate outside its workspace does.\n\n");
    for dependency in dependencies {
        let (name, features) = match dependency.split_once('/') {
            Some((name, feature)) => {
                (name, format!(", default-features = false, features = [{feature:?}]"))
            }
            None => (*dependency, String::new()),
        };
        let path = root().join(name).display().to_string();
        manifest += &format!("{name} = {{ path = {path:?}{features} }}\n");
        uses += &format!("pub use {};\n", name.replace('-', "_"));
    }
    fs::write(folder.join("Cargo.toml"), manifest)?;
    fs::write(folder.join("src/lib.rs"), uses)?;
    // The versions that the workspace was tested with.
    fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock"))?;
    Ok(())
}

fn cargo_in(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = crate::shell::cargo(arguments);
    command.current_dir(folder).env("CARGO_TARGET_DIR", root().join("target/consumers/target"));
    command
}

fn check_tree(folder: &Path, wanted: &[&str], most: usize) -> anyhow::Result<()> {
    let tree = ["tree", "--edges", "normal,build", "--prefix", "none", "--format", "{lib} {p}"];
    let output = cargo_in(folder, &tree).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let crates: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.split_once(' ').map(|(_, package)| package))
        .map(|package| package.split(" (").next().unwrap_or(package))
        .collect();
    // Without the consumer itself.
    let count = crates.len() - 1;
    println!("{count} crates, and {most} are allowed");
    ensure!(count <= most, "the tree has grown: {crates:?}");
    let is_wanted = |name: &str| {
        SHARED.contains(&name)
            || wanted.iter().any(|wanted| match wanted.split_once('/') {
                Some((_, feature)) => {
                    FACADE.contains(&name) || name.strip_prefix("falco-") == Some(feature)
                }
                None => *wanted == name,
            })
    };
    let stranger = crates.iter().find(|name| {
        let name = name.split(' ').next().unwrap_or_default();
        name.starts_with("falco") && !is_wanted(name)
    });
    match stranger {
        Some(stranger) => Err(anyhow::anyhow!("the tree holds {stranger}"))
            .context("a platform must not bring another"),
        None => Ok(()),
    }
}
