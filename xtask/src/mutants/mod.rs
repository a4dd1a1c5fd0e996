//! `cargo xtask mutants`: small wrong changes to a crate, each of which some test has to notice.
//!
//! All mutants of a crate are compiled at once: each is a branch beside the right code that a variable of the environment
//! takes ([`rewrite`]). So one build serves thousands, where a build for each would take days. A mutant is judged by the
//! tests that reach it ([`judge`]), which takes a second or two. A mutant that does not compile is left out.

mod judge;
mod rewrite;
mod tree;

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, bail, ensure};

use self::judge::{Judge, Limits, Verdict};
use self::rewrite::Mutant;
use self::tree::Tree;
use crate::metadata::{Metadata, target_directory};
use crate::shell::check;

/// How often a build is tried; each time without the mutants at which the last one failed.
const BUILDS: u32 = 12;

/// Judges the mutants of one crate, in the files whose path contains one of the other arguments, in the order of these.
///
/// With `--quick`, of the operators on one line only the outermost is changed, and tests run for a quarter of a minute at most,
/// those first that reach the fewest mutants. What lives then is judged again without it.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let usage = "usage: cargo xtask mutants [--quick] CRATE [PART-OF-A-PATH ..]";
    let (is_quick, arguments) = match arguments {
        [first, rest @ ..] if first == "--quick" => (true, rest),
        all => (false, all),
    };
    let (name, parts) = arguments.split_first().context(usage)?;
    ensure!(!name.starts_with('-'), "{usage}");
    let metadata = Metadata::read()?;
    ensure!(metadata.members().any(|package| &package.name == name), "there is no crate {name:?}");
    let home = target_directory()?.join("mutants");
    let tree = Tree::copy(&home.join("tree"), name)?;
    let (mut mutants, programs) = build(&tree, &home, parts)?;
    // A short run judges first what is named first.
    mutants.sort_by_key(|mutant| parts.iter().position(|part| mutant.file.contains(part)));
    if is_quick {
        rewrite::keep_outermost(&mut mutants);
        println!("{} of them are judged", mutants.len());
    }
    let limits = if is_quick { Limits::QUICK } else { Limits::NONE };
    let judge = Judge::observe(programs, &home, limits)?;
    let mut survivors = Vec::new();
    let judged = judge.all(&mutants, |mutant, verdict| {
        println!("{:<9} {mutant}", verdict.to_string());
        if matches!(verdict, Verdict::Survives | Verdict::Unreached) {
            survivors.push(format!("{verdict}: {mutant}"));
        }
    });
    survivors.sort();
    let report = home.join(format!("{name}.txt"));
    fs::write(&report, survivors.join("\n") + "\n")?;
    println!("{} of {judged} mutants live, listed in {}", survivors.len(), report.display());
    Ok(())
}

/// Builds the tests with all mutants that compile.
fn build(
    tree: &Tree,
    home: &std::path::Path,
    parts: &[String],
) -> anyhow::Result<(Vec<Mutant>, Vec<judge::Program>)> {
    let mut left_out = BTreeSet::new();
    for round in 1..=BUILDS {
        let mutants = tree.rewrite(parts, &left_out)?;
        ensure!(!mutants.is_empty(), "there is nothing to change in these files");
        println!("{} mutants, {} that do not compile", mutants.len(), left_out.len());
        let mut built = tree::Built::default();
        check(&format!("build {round}"), || {
            built = tree.build(&home.join("target"))?;
            Ok(())
        })?;
        if built.is_whole {
            return Ok((mutants, built.programs));
        }
        let wrong: Vec<_> = mutants.iter().filter(|mutant| built.is_at_fault(mutant)).collect();
        if wrong.is_empty() {
            bail!("the crate does not compile, and no mutant is the cause:\n{}", built.words);
        }
        left_out.extend(wrong.into_iter().map(|mutant| mutant.key()));
    }
    bail!("the crate does not compile without the mutants that were left out either");
}
