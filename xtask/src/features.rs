//! `cargo xtask features`: each feature of each crate builds by itself.

use anyhow::bail;

use crate::metadata::Metadata;
use crate::shell::{cargo, step};

/// Checks every crate, or those that are named, without features, and with each of its features alone.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let metadata = Metadata::read()?;
    if let Some(name) = arguments.iter().find(|name| metadata.members().all(|p| p.name != **name)) {
        bail!("the workspace has no crate {name:?}; usage: cargo xtask features [CRATE ..]");
    }
    let wanted = |name: &String| arguments.is_empty() || arguments.contains(name);
    let crates = metadata.members().filter(|package| !package.features.is_empty());
    for package in crates.filter(|package| wanted(&package.name)) {
        let name = package.name.as_str();
        let alone = ["check", "--quiet", "--no-default-features", "--package", name];
        step(&format!("{name} without features"), &mut cargo(&alone))?;
        for feature in &package.features {
            let mut command = cargo(&alone);
            step(&format!("{name} with {feature}"), command.args(["--features", feature]))?;
        }
    }
    Ok(())
}
