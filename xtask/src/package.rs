//! `cargo xtask package`: what a release would upload, and what docs.rs would show.

use crate::metadata::Metadata;
use crate::shell::{cargo, no_arguments, step};

/// Packs and verifies every crate without uploading it, and builds the documentation with all features.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    no_arguments("package", arguments)?;
    step("packages", &mut cargo(&["publish", "--workspace", "--dry-run"]))?;
    let metadata = Metadata::read()?;
    let mut doc = cargo(&["doc", "--no-deps", "--all-features", "--lib"]);
    for package in metadata.members().filter(|package| package.is_published) {
        doc.args(["--package", &package.name]);
    }
    step("documentation", doc.env("RUSTDOCFLAGS", "-D warnings --cfg docsrs"))
}
