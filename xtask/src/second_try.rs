//! A second try for the few tests that fail while others run beside them.
//!
//! Tests of real processes share two processors with another test program, and with documentation being built. One
//! of thousands that fails there, and passes when it runs alone, is unsteady: it is named at the end of the run, and
//! what it said the first time stands above. Where more than a few fail, it is not chance, and nothing runs again.

use std::ffi::OsString;
use std::process::Output;

use crate::program::Program;

/// The largest number of failed tests, in all programs together, that run again.
const MOST: usize = 3;

/// The largest number of lines of a failed test's own words that are repeated at the end.
const LINES: usize = 12;

/// A test program that failed.
pub(crate) struct Failure {
    program: Program,
    reason: String,
    tests: Vec<String>,
}

impl Failure {
    /// The failure of a program that could not be run.
    pub(crate) fn to_start(program: Program, error: &anyhow::Error) -> Self {
        Self { program, reason: format!("{error:#}"), tests: vec![] }
    }

    /// The failure that the output of a program shows.
    pub(crate) fn of(program: Program, output: &Output) -> Self {
        let text = String::from_utf8_lossy(&output.stdout);
        let tests = failed_tests(&text);
        let mut reason = output.status.to_string();
        for test in &tests {
            reason.push_str(&format!("\n    {test}"));
            reason.extend(words(&text, test).map(|line| format!("\n      | {line}")));
        }
        Self { program, reason, tests }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.program.name(), self.reason)
    }
}

/// Runs the failed tests again, alone; the failures that are left, and those that were a matter of chance.
pub(crate) fn run(
    failures: Vec<Failure>,
    environment: &[(&str, OsString)],
) -> (Vec<Failure>, Vec<Failure>) {
    if failures.iter().map(|failure| failure.tests.len()).sum::<usize>() > MOST {
        return (failures, vec![]);
    }
    failures.into_iter().partition(|failure| !passes(failure, environment))
}

/// Whether the tests of a failure pass, one after the other.
fn passes(failure: &Failure, environment: &[(&str, OsString)]) -> bool {
    let mut arguments = vec!["--exact", "--test-threads=1"];
    arguments.extend(failure.tests.iter().map(String::as_str));
    // A program that ended without naming a test, by a signal or in its main function, has failed as a whole.
    !failure.tests.is_empty()
        && failure
            .program
            .run(&arguments, environment)
            .is_ok_and(|output| output.status.success() && ran(&output) == failure.tests.len())
}

/// How many tests have passed, by the lines of a test program.
fn ran(output: &Output) -> usize {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter(|line| line.starts_with("test ") && line.ends_with("... ok")).count()
}

/// The names of the tests that failed.
fn failed_tests(text: &str) -> Vec<String> {
    let failed = text.lines().filter_map(|line| {
        let name = line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?;
        Some(name.strip_suffix(" - should panic").unwrap_or(name).to_owned())
    });
    failed.collect()
}

/// The words of a failed test itself, from its beginning.
fn words<'a>(text: &'a str, test: &str) -> impl Iterator<Item = &'a str> {
    let title = format!("---- {test} stdout ----");
    let said = text.lines().skip_while(move |line| *line != title).skip(1);
    said.take_while(|line| !line.starts_with("---- ") && *line != "failures:")
        .filter(|line| !line.trim().is_empty())
        .take(LINES)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    /// A test program in shell: it fails on its first run only, or on each.
    fn program(folder: &tempfile::TempDir, second: &str) -> Program {
        let script = format!(
            "#!/bin/sh\nif [ -e ran ]; then {second}; fi\ntouch ran\necho 'test a::b ... FAILED'; exit 101\n"
        );
        let path = folder.path().join("program");
        std::fs::write(&path, script).unwrap();
        let mut permissions = std::fs::metadata(&path).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
        std::fs::set_permissions(&path, permissions).unwrap();
        Program::of("x tests/it/main.rs", path, folder.path()).unwrap()
    }

    fn failure(program: Program, tests: &[&str]) -> Failure {
        let lines = tests.iter().map(|test| format!("test {test} ... FAILED\n"));
        let status = std::process::ExitStatus::from_raw(101 << 8);
        Failure::of(
            program,
            &Output { status, stdout: lines.collect::<String>().into(), stderr: vec![] },
        )
    }

    fn second_try(second: &str, tests: &[&str]) -> (usize, usize) {
        let folder = tempfile::tempdir().unwrap();
        let program = program(&folder, second);
        program.run(&[], &[]).unwrap();
        let (failed, unsteady) = run(vec![failure(program, tests)], &[]);
        (failed.len(), unsteady.len())
    }

    #[test]
    fn a_test_that_passes_alone_is_unsteady() {
        assert_eq!(second_try("echo 'test a::b ... ok'; exit 0", &["a::b"]), (0, 1));
    }

    #[test]
    fn a_test_that_fails_again_or_is_not_run_again_has_failed() {
        assert_eq!(second_try("exit 101", &["a::b"]), (1, 0));
        assert_eq!(second_try("exit 0", &["a::b"]), (1, 0), "it did not run");
        assert_eq!(second_try("echo 'test a::b ... ok'; exit 0", &[]), (1, 0), "none is named");
    }

    #[test]
    fn many_failures_are_not_tried_again() {
        let passes = "for t in a b c d; do echo \"test $t ... ok\"; done; exit 0";
        assert_eq!(second_try(passes, &["a", "b", "c", "d"]), (1, 0));
    }

    #[test]
    fn a_failure_names_its_tests_and_repeats_their_first_words() {
        let text = "test a ... ok\ntest b::c - should panic ... FAILED\ntest d ... FAILED\n\nfailures:\n\n\
                    ---- b::c stdout ----\n\nit did not panic\n\n---- d stdout ----\nassertion failed\n  left: 1\n\n\
                    failures:\n    b::c\n    d\n";
        assert_eq!(failed_tests(text), ["b::c", "d"]);
        assert_eq!(words(text, "b::c").collect::<Vec<_>>(), ["it did not panic"]);
        assert_eq!(words(text, "d").collect::<Vec<_>>(), ["assertion failed", "  left: 1"]);
        let long = format!("---- d stdout ----\n{}", "x\n".repeat(100));
        assert_eq!(words(&long, "d").count(), LINES);
    }
}
