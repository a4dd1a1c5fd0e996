//! `cargo xtask consumers`: crates outside the workspace that use Falco as its users do.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::shell::{check, no_arguments, root, step};

/// What a user depends on, and how many crates that may bring at most, their own included.
const CONSUMERS: &[(&str, &[&str], usize)] = &[
    ("core", &["falco-core"], 20),
    ("local", &["falco-core", "falco-executors", "falco-local"], 140),
    ("openwhisk", &["falco-core", "falco-executors", "falco-openwhisk"], 140),
    ("gcp", &["falco-core", "falco-executors", "falco-gcp"], 140),
    ("aws", &["falco-core", "falco-executors", "falco-aws"], 190),
];

/// Crates of Falco that a consumer of a platform gets with it.
const HOUSE: &[&str] = &["falco-core", "falco-executors", "falco-http", "falco-package"];

/// Builds each consumer and looks at its tree.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    no_arguments("consumers", arguments)?;
    for (name, dependencies, most) in CONSUMERS {
        let folder = root().join("target/consumers").join(name);
        write(&folder, name, dependencies)?;
        step(&format!("consumer of {name}"), &mut cargo_in(&folder, &["check", "--quiet"]))?;
        check(&format!("tree of {name}"), || check_tree(&folder, dependencies, *most))?;
    }
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
        let path = root().join(dependency);
        manifest += &format!("{dependency} = {{ path = {:?} }}\n", path.display().to_string());
        uses += &format!("pub use {};\n", dependency.replace('-', "_"));
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
    // The consumer itself is no crate that it brings.
    let count = crates.len() - 1;
    println!("{count} crates, and {most} are allowed");
    ensure!(count <= most, "the tree has grown: {crates:?}");
    let stranger = crates.iter().find(|name| {
        let name = name.split(' ').next().unwrap_or_default();
        name.starts_with("falco-") && !HOUSE.contains(&name) && !wanted.contains(&name)
    });
    match stranger {
        Some(stranger) => Err(anyhow::anyhow!("the tree holds {stranger}"))
            .context("a platform must not bring another"),
        None => Ok(()),
    }
}
