//! `cargo xtask lint`: what a reviewer should not have to look for.

use crate::metadata::Metadata;
use crate::shell::{cargo, check, no_arguments, root, step};
use crate::{dependencies, docs, licences, snippets, typos};

/// Checks format, spelling, clippy, documentation, the dependency rule and licences.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    no_arguments("lint", arguments)?;
    let metadata = Metadata::read()?;
    check("dependency rule", || dependencies::check(&metadata))?;
    check("licences", || licences::check(&metadata))?;
    check("code in documents", || snippets::check(&root()))?;
    step("format", &mut cargo(&["fmt", "--all", "--check"]))?;
    typos::check()?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
    step("clippy", &mut cargo(&clippy))?;
    docs::run(&[])
}
