//! `cargo xtask consumers`: crates outside the workspace that use Falco as its users do.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::metadata::Metadata;
use crate::shell::{check, root, step};

/// A user of Falco: the name, the dependencies, and the most crates that they may bring, their own included. `falco/aws` is the
/// facade with the feature `aws` alone; the platform crates by themselves are the other way of depending on Falco.
type Consumer = (String, Vec<String>, usize);

/// Users of no platform.
const OTHERS: &[(&str, &[&str], usize)] = &[
    ("core", &["falco-core"], 20),
    ("trace", &["falco-core", "falco-trace"], 40),
    ("meter", &["falco-core", "falco-trace", "falco-meter"], 90),
];

/// The most crates that the facade with one platform may bring, and that the platform by itself may. 31 of the crates of a
/// provider's platform are TLS, and 8 are SHA-256, by which platforms know functions that are deployed already.
fn most(platform: &str) -> (usize, usize) {
    match platform {
        "local" => (90, 140),
        "docker" => (155, 140),
        // Amazon's own crates find credentials and sign requests.
        "aws" => (195, 195),
        _ => (155, 155),
    }
}

/// Two users of each platform of the workspace, and the others.
fn consumers(metadata: &Metadata) -> Vec<Consumer> {
    let mut all: Vec<Consumer> = Vec::new();
    for package in metadata.platforms() {
        let name = package.name.trim_start_matches("falco-");
        let (facade, alone) = most(name);
        all.push((format!("facade-{name}"), vec![format!("falco/{name}")], facade));
        let crates = ["falco-core", "falco-executors", &package.name].map(str::to_owned);
        all.push((name.to_owned(), crates.to_vec(), alone));
    }
    all.extend(OTHERS.iter().map(|(name, crates, most)| {
        ((*name).to_owned(), crates.iter().map(|name| (*name).to_owned()).collect(), *most)
    }));
    all
}

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
    let consumers = consumers(&Metadata::read()?);
    let known = consumers.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>();
    if let Some(stranger) = arguments.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("there is no consumer {stranger:?}; there are {}", known.join(", "));
    }
    let mut failures = Vec::new();
    let wanted = |name: &str| arguments.is_empty() || arguments.iter().any(|a| a == name);
    for (name, dependencies, most) in consumers.iter().filter(|(name, ..)| wanted(name)) {
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

fn write(folder: &Path, name: &str, dependencies: &[String]) -> anyhow::Result<()> {
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
            None => (dependency.as_str(), String::new()),
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

fn check_tree(folder: &Path, wanted: &[String], most: usize) -> anyhow::Result<()> {
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
                None => wanted == name,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_platform_has_a_user_of_the_facade_and_one_of_its_own_crate() {
        let metadata = Metadata::read().unwrap();
        let consumers = consumers(&metadata);
        assert!(metadata.platforms().count() >= 6);
        for platform in metadata.platforms() {
            let by_itself = |(_, crates, _): &&Consumer| crates.contains(&platform.name);
            let name = platform.name.replace("falco-", "falco/");
            let by_facade = |(_, crates, _): &&Consumer| *crates == [name.as_str()];
            assert_eq!(consumers.iter().filter(by_itself).count(), 1, "{}", platform.name);
            assert_eq!(consumers.iter().filter(by_facade).count(), 1, "{}", platform.name);
        }
    }
}
