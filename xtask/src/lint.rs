//! `cargo xtask lint`: what a reviewer should not have to look for.

use anyhow::bail;

use crate::metadata::Metadata;
use crate::shell::{cargo, check, root, step};
use crate::{circles, dependencies, docs, licences, public_types, snippets, typos, wording};

/// Checks format, spelling, wording, clippy, documentation, the dependency rule and licences; what takes long of one
/// crate only, where one is named.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let selection = match arguments {
        [] => vec!["--workspace"],
        [flag, package] if flag == "--package" || flag == "-p" => vec!["--package", package],
        _ => bail!("usage: cargo xtask lint [--package CRATE]"),
    };
    let metadata = Metadata::read()?;
    check("dependency rule", || dependencies::check(&metadata))?;
    check("circles of modules", || circles::check(&metadata))?;
    check("types of other crates", || public_types::check(&metadata))?;
    check("licences", || licences::check(&metadata))?;
    check("code in documents", || snippets::check(&root()))?;
    step("format", &mut cargo(&["fmt", "--all", "--check"]))?;
    check("wording", || wording::check(&root()))?;
    typos::check()?;
    let mut clippy = cargo(&["clippy", "--all-targets", "--quiet"]);
    step("clippy", clippy.args(&selection).args(["--", "-D", "warnings"]))?;
    docs::build(&selection)
}
