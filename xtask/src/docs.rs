//! `cargo xtask docs`: the documentation, with every warning an error.

use crate::shell::{cargo, no_arguments, step};

/// Builds the documentation of all crates into `target/doc`.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    no_arguments("docs", arguments)?;
    let mut doc = cargo(&["doc", "--workspace", "--no-deps"]);
    step("documentation", doc.env("RUSTDOCFLAGS", "-D warnings"))
}
