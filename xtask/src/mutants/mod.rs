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

/// The mutants that are judged, and the tests that do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Whole,
    Quick,
    Again,
}

/// Judges the mutants of one crate, in the files whose path contains one of the other arguments, in the order of these.
///
/// With `--quick`, of the operators on one line only the outermost is changed, and tests run for a quarter of a minute at most,
/// those first that reach the fewest mutants. With `--again`, the mutants that the last run has listed are judged by all tests.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let usage = "usage: cargo xtask mutants [--quick | --again] CRATE [PART-OF-A-PATH ..]";
    let (mode, arguments) = match arguments {
        [first, rest @ ..] if first == "--quick" => (Mode::Quick, rest),
        [first, rest @ ..] if first == "--again" => (Mode::Again, rest),
        all => (Mode::Whole, all),
    };
    let (name, parts) = arguments.split_first().context(usage)?;
    ensure!(!name.starts_with('-'), "{usage}");
    let metadata = Metadata::read()?;
    ensure!(metadata.members().any(|package| &package.name == name), "there is no crate {name:?}");
    let home = target_directory()?.join("mutants");
    let report = home.join(format!("{name}.txt"));
    let tree = Tree::copy(&home.join("tree"), name)?;
    let (mut mutants, programs) = build(&tree, &home, parts)?;
    // A short run judges first what is named first.
    mutants.sort_by_key(|mutant| parts.iter().position(|part| mutant.file.contains(part)));
    match mode {
        Mode::Whole => {}
        Mode::Quick => rewrite::keep_outermost(&mut mutants),
        Mode::Again => {
            let listed = fs::read_to_string(&report)
                .with_context(|| format!("{}: judge the crate first", report.display()))?;
            mutants.retain(|mutant| lived(&listed, mutant));
            ensure!(
                !mutants.is_empty(),
                "no mutant of {} stands where it stood: judge the crate anew",
                report.display()
            );
        }
    }
    println!("{} of them are judged", mutants.len());
    let limits = if mode == Mode::Quick { Limits::QUICK } else { Limits::NONE };
    let judge = Judge::observe(programs, &home, limits)?;
    let mut survivors = Vec::new();
    let judged = judge.all(&mutants, |mutant, verdict| {
        println!("{:<9} {mutant}", verdict.to_string());
        if matches!(verdict, Verdict::Survives | Verdict::Unreached) {
            survivors.push(format!("{verdict}: {mutant}"));
        }
    });
    survivors.sort();
    fs::write(&report, survivors.join("\n") + "\n")?;
    println!("{} of {judged} mutants live, listed in {}", survivors.len(), report.display());
    Ok(())
}

/// Whether a report lists a mutant.
fn lived(report: &str, mutant: &Mutant) -> bool {
    let mutant = mutant.to_string();
    report.lines().any(|line| line.split_once(": ").is_some_and(|(_, listed)| listed == mutant))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_lists_a_mutant_in_the_words_in_which_it_is_shown() {
        let source = "fn f() -> T {\n    a + b\n}\nfn g() -> bool { h() }";
        let (_, mutants) = rewrite::rewrite("a.rs", source, 1, &BTreeSet::new()).unwrap();
        let report = "SURVIVES: a.rs:2: `-` instead of `+`\nUNREACHED: a.rs:4: g returns false\n";
        let listed = mutants.iter().filter(|mutant| lived(report, mutant));
        let listed: Vec<String> = listed.map(Mutant::to_string).collect();
        assert_eq!(listed, ["a.rs:2: `-` instead of `+`", "a.rs:4: g returns false"]);
    }
}
