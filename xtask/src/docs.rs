//! `cargo xtask docs`: the documentation, with every warning an error.

use std::process::Command;

use crate::shell::{cargo, no_arguments, step};

/// Builds the documentation of all crates into `target/doc`.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    no_arguments("docs", arguments)?;
    build(&["--workspace"])
}

/// Builds the documentation of the crates that these arguments select.
pub(crate) fn build(selection: &[&str]) -> anyhow::Result<()> {
    step("documentation", &mut command(selection))
}

/// The command that builds it.
pub(crate) fn command(selection: &[&str]) -> Command {
    let mut doc = cargo(&["doc", "--no-deps"]);
    doc.args(selection).env("RUSTDOCFLAGS", "-D warnings");
    doc
}
