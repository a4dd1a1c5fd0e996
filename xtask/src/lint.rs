//! `cargo xtask lint`: what a reviewer should not have to look for.

use anyhow::bail;

use crate::metadata::Metadata;
use crate::shell::{cargo, check, root, step};
use crate::{
    changelog, circles, dependencies, docs, growth, licences, platforms, public_types, settings,
    snippets, typos, wording,
};

/// The stages that failed, each with what mends it.
#[derive(Default)]
struct Failures(Vec<(&'static str, &'static str)>);

impl Failures {
    /// Notes a failed stage and prints its reason; the stages after it run anyway.
    fn note(&mut self, stage: &'static str, mended_by: &'static str, outcome: anyhow::Result<()>) {
        if let Err(error) = outcome {
            println!("{error:#}");
            self.0.push((stage, mended_by));
        }
    }

    fn into_result(self) -> anyhow::Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let lines: Vec<String> =
            self.0.iter().map(|(stage, mended_by)| format!("  {stage}: {mended_by}")).collect();
        bail!("{} of the stages failed:\n{}", self.0.len(), lines.join("\n"));
    }
}

/// Checks format, spelling, wording, clippy, documentation, the dependency rule and licences; what takes long of one
/// crate only, where one is named, and not at all with `--quick`. Every stage runs, whatever failed before it.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let selection = match arguments {
        [] => Some(vec!["--workspace"]),
        [flag] if flag == "--quick" => None,
        [flag, package] if flag == "--package" || flag == "-p" => Some(vec!["--package", package]),
        _ => bail!("usage: cargo xtask lint [--package CRATE | --quick]"),
    };
    let mut failures = Failures::default();
    of_manifests(&mut failures, Metadata::read());
    quick(&mut failures);
    if let Some(selection) = selection {
        slow(&mut failures, &selection);
    }
    failures.into_result()
}

/// The stages that ask cargo what the crates are. Where it cannot say, that is what failed, and all other stages run.
fn of_manifests(failures: &mut Failures, metadata: anyhow::Result<Metadata>) {
    let metadata = match metadata {
        Ok(metadata) => metadata,
        Err(error) => {
            let mended_by = "mend the manifest that cargo names, or run `cargo update --workspace` where Cargo.lock is not up \
                             to date; the stages about crates did not run";
            return failures.note("metadata", mended_by, Err(error));
        }
    };
    failures.note(
        "dependency rule",
        "drop the dependency, or change the table in xtask/src/dependencies.rs and docs/architecture.md",
        check("dependency rule", || dependencies::check(&metadata)),
    );
    failures.note(
        "circles of modules",
        "move what both modules need into a file of its own",
        check("circles of modules", || circles::check(&metadata)),
    );
    failures.note(
        "types of other crates",
        "keep the type out of the public signature, or add it to the list in xtask/src/public_types.rs",
        check("types of other crates", || public_types::check(&metadata, &root())),
    );
    failures.note(
        "structs that can grow",
        "make the struct #[non_exhaustive] with a constructor, or add it to the list in xtask/src/growth.rs",
        check("structs that can grow", || growth::check(&metadata)),
    );
    failures.note(
        "licences",
        "choose another crate, or add the licence to the list in xtask/src/licences.rs",
        check("licences", || licences::check(&metadata)),
    );
    failures.note(
        "settings",
        "add what is missing to docs/settings.md, with its default, or take out what is gone",
        check("settings", || settings::check(&metadata, &root())),
    );
    failures.note(
        "platforms",
        "add the lines to the files that are named above",
        check("platforms", || platforms::check(&metadata, &root())),
    );
}

/// The other stages that take a few seconds in all.
fn quick(failures: &mut Failures) {
    failures.note(
        "code in documents",
        "copy the block from the file that it is taken from",
        check("code in documents", || snippets::check(&root())),
    );
    failures.note(
        "changelog",
        "remove the line, or put it where its entry is",
        check("changelog", || changelog::check(&root())),
    );
    failures.note(
        "format",
        "run `cargo fmt --all`",
        step("format", &mut cargo(&["fmt", "--all", "--check"])),
    );
    failures.note(
        "wording",
        "write what the rule proposes, or mend the rule in xtask/wording.txt",
        check("wording", || wording::check(&root())),
    );
    failures.note(
        "spelling",
        "correct the word, or add it to _typos.toml where it is right",
        typos::check(),
    );
}

/// The stages that compile.
fn slow(failures: &mut Failures, selection: &[&str]) {
    let mut clippy = cargo(&["clippy", "--all-targets", "--quiet"]);
    failures.note(
        "clippy",
        "see the messages above; `cargo clippy --fix` mends some",
        step("clippy", clippy.args(selection).args(["--", "-D", "warnings"])),
    );
    failures.note("documentation", "see the messages above", docs::build(selection));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Package;

    #[test]
    fn the_lint_ends_with_the_stages_that_failed_and_what_mends_each() {
        let mut failures = Failures::default();
        failures.note("format", "run `cargo fmt`", Err(anyhow::anyhow!("a.rs differs")));
        failures.note("wording", "write it plainly", Ok(()));
        failures.note("spelling", "correct the word", Err(anyhow::anyhow!("a typo")));
        let error = failures.into_result().unwrap_err().to_string();
        let expected =
            "2 of the stages failed:\n  format: run `cargo fmt`\n  spelling: correct the word";
        assert_eq!(error, expected);
        Failures::default().into_result().unwrap();
    }

    #[test]
    fn manifests_that_cannot_be_read_are_a_stage_that_failed_with_a_hint() {
        let mut failures = Failures::default();
        of_manifests(&mut failures, Err(anyhow::anyhow!("Cargo.lock is not up to date")));
        let [(stage, mended_by)] = failures.0.as_slice() else { panic!("{:?}", failures.0) };
        assert_eq!(*stage, "metadata");
        assert!(mended_by.contains("cargo update --workspace"), "{mended_by}");
    }

    #[test]
    fn a_stage_that_fails_does_not_keep_those_after_it_from_running() {
        let folder = tempfile::tempdir().unwrap();
        let stranger = Package {
            name: "stranger".to_owned(),
            version: "0.1.0".to_owned(),
            licence: None,
            is_member: true,
            is_published: false,
            folder: folder.path().to_owned(),
            platform: None,
            features: Vec::new(),
            dependencies: Vec::new(),
        };
        let mut failures = Failures::default();
        of_manifests(&mut failures, Ok(Metadata { packages: vec![stranger] }));
        // No rule is about it, which the first stage sees, and it has none of the settings that the page names.
        let failed: Vec<&str> = failures.0.iter().map(|(stage, _)| *stage).collect();
        assert!(failed.contains(&"dependency rule") && failed.contains(&"settings"), "{failed:?}");
    }
}
