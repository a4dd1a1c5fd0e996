//! `cargo xtask features`: each feature of each crate builds by itself.

use crate::metadata::Metadata;
use crate::shell::{cargo, no_arguments, step};

/// Checks every crate without features, and with each of its features alone.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    no_arguments("features", arguments)?;
    for package in Metadata::read()?.members().filter(|package| !package.features.is_empty()) {
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
