//! `cargo xtask gate`: what `cargo xtask lint` and `cargo xtask test` check, in one build and side by side.
//!
//! The two compile the workspace three times: to lint, to document and to test. Here clippy's driver takes the compiler's
//! place in the build of the tests, so that lints cost no build of their own, and the documentation is made from what that
//! build has made (`units`). A lint is a warning to that build, and not an error: it fails the gate, and the tests run
//! anyway. Documentation and doc tests wait for the processor behind the tests, which spend much of their time waiting.
//!
//! Whatever fails, all stages that can run do so, and the verdicts stand at the end. Nothing that the gate has started
//! outlives it: each stage is waited for.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::docker::{self, Daemon};
use crate::shell::{Verdicts, check, program_exists, root};
use crate::test_programs::{self, Built};
use crate::{docs, lint, packages, runtimes, template, test, units};

/// Runs all stages; of some crates only, where they are named.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let options = Options::read(arguments)?;
    let lints = build_environment()?;
    println!("{}", test::tools());
    let mut verdicts = Verdicts::default();
    let mut built = build_beside_the_rest(&options, &lints, &mut verdicts);
    if let Some(built) = built.as_mut().filter(|_| options.includes_template()) {
        verdicts.run("template", || {
            built.programs.push(template::build(&program_of_toolchain("clippy-driver")?)?);
            Ok(())
        });
    }
    let environment = vec![(runtimes::VARIABLE, OsString::from(runtimes::home()?))];
    let selection = options.selection();
    match built {
        Some(built) => run_tests(built, &options, &lints, environment, &mut verdicts)?,
        // A document may be built where a test does not compile.
        None => verdicts.run("documentation", || docs::build(&selection)),
    }
    verdicts.into_result()
}

/// Builds the tests, and meanwhile lints what needs no build and installs what the tests need.
fn build_beside_the_rest(
    options: &Options,
    lints: &[(&'static str, OsString)],
    verdicts: &mut Verdicts,
) -> Option<Built> {
    let (built, installed) = std::thread::scope(|scope| {
        let installs = scope.spawn(|| {
            let mut verdicts = Verdicts::default();
            verdicts.run("lint --quick", || lint::run(&["--quick".to_owned()]));
            if options.installs {
                verdicts.run("packages", packages::install);
            }
            verdicts.run("runtimes", runtimes::install);
            verdicts
        });
        let mut built = None;
        let mut building = Verdicts::default();
        building.run("build of the tests", || {
            built = Some(test_programs::build(&options.selection(), lints)?);
            Ok(())
        });
        verdicts.append(building);
        (built, installs.join())
    });
    match installed {
        Ok(installed) => verdicts.append(installed),
        Err(_) => verdicts.run("installs", || bail!("it panicked, see above")),
    }
    if let Some(built) = &built {
        verdicts.run("clippy", || {
            let count = built.warnings.len();
            ensure!(count == 0, "{count} warnings:\n{}", built.warnings.join("\n"));
            Ok(())
        });
    }
    built
}

/// Runs the test programs, and beside them what has to wait for the processor.
fn run_tests(
    built: Built,
    options: &Options,
    lints: &[(&'static str, OsString)],
    mut environment: Vec<(&'static str, OsString)>,
    verdicts: &mut Verdicts,
) -> anyhow::Result<()> {
    // Started by this thread, which lives as long as the gate: a daemon ends with the thread that has started it.
    let daemon = match Daemon::start() {
        Ok(daemon) => daemon,
        Err(error) => {
            verdicts.run("daemon", || Err(error));
            None
        }
    };
    environment.extend(daemon.as_ref().map(|daemon| (docker::VARIABLE, daemon.host().into())));
    let environment = &environment;
    let behind = std::thread::scope(|scope| {
        let behind = scope.spawn(move || {
            let mut verdicts = Verdicts::default();
            let mut doc_tests = test::doc_tests(&options.selection());
            doc_tests.envs(lints.iter().chain(environment).map(|(name, value)| (name, value)));
            verdicts.run("doc tests", || in_one_piece("doc tests", &doc_tests));
            verdicts.run("documentation", || document(options));
            verdicts
        });
        verdicts.run("tests", || test_programs::run(built.programs, environment));
        behind.join()
    });
    match behind {
        Ok(behind) => verdicts.append(behind),
        Err(_) => verdicts.run("documentation", || bail!("it panicked, see above")),
    }
    Ok(())
}

/// Builds the documentation from what the build of the tests has made. Where that fails, `cargo doc` has the last word: what an
/// earlier build has left may not be whole.
fn document(options: &Options) -> anyhow::Result<()> {
    let from_the_build = check("documentation", || {
        let rustdoc = program_of_toolchain("rustdoc")?;
        for command in units::documentation(&rustdoc, &options.crates)? {
            let output = at_lowest_priority(&command).output().context("`nice` does not start")?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "{command:?} failed with {}:\n{said}", output.status);
        }
        Ok(())
    });
    from_the_build.or_else(|error| {
        println!("{error:#}\nso `cargo doc` builds the documentation");
        in_one_piece("documentation by cargo", &docs::command(&options.selection()))
    })
}

/// Runs a command at the lowest priority and prints all it says when it has ended, since others print meanwhile.
fn in_one_piece(name: &str, command: &Command) -> anyhow::Result<()> {
    check(name, || {
        let output = at_lowest_priority(command).output().context("`nice` does not start")?;
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        println!("{out}{err}");
        ensure!(
            output.status.success(),
            "{command:?} failed with {}; it said last:\n{}",
            output.status,
            last_lines(&format!("{out}{err}"))
        );
        Ok(())
    })
}

/// The end of a long text: much is printed between a failure and the verdicts.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// The same command, which gives way to every other.
fn at_lowest_priority(command: &Command) -> Command {
    let mut nice = Command::new("nice");
    nice.args(["-n", "19"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => nice.env(name, value),
            None => nice.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        nice.current_dir(folder);
    }
    nice
}

/// The environment in which cargo compiles the workspace with clippy's driver, its lints being warnings, and keeps what the
/// documentation is made from.
fn build_environment() -> anyhow::Result<Vec<(&'static str, OsString)>> {
    let mut environment = units::environment(program_of_toolchain("clippy-driver")?.into())?;
    // Nothing is built twice here.
    environment.push(("CARGO_INCREMENTAL", "0".into()));
    Ok(environment)
}

/// A program of the toolchain that compiles: `rustc` may be rustup's, and choose by the folder.
fn program_of_toolchain(name: &str) -> anyhow::Result<PathBuf> {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let output = rustc.args(["--print", "sysroot"]).current_dir(root()).output()?;
    let sysroot = String::from_utf8(output.stdout)?;
    let beside_the_compiler = Path::new(sysroot.trim()).join("bin").join(name);
    if beside_the_compiler.is_file() {
        return Ok(beside_the_compiler);
    }
    ensure!(
        program_exists(name),
        "this toolchain has no {name}: add it with `rustup component add clippy rustfmt`"
    );
    Ok(name.into())
}

/// The arguments of the gate.
#[derive(Debug, Default)]
struct Options {
    /// Whether packages of the system may be installed.
    installs: bool,
    crates: Vec<String>,
}

impl Options {
    fn read(arguments: &[String]) -> anyhow::Result<Self> {
        let mut options = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match (argument.as_str(), arguments.as_slice()) {
                ("--install", _) => options.installs = true,
                ("--package" | "-p", [name, ..]) => {
                    options.crates.push(name.clone());
                    arguments.next();
                }
                _ => bail!("usage: cargo xtask gate [--install] [--package CRATE]"),
            }
        }
        Ok(options)
    }

    /// Whether the template is tried: it needs crates that are not named.
    fn includes_template(&self) -> bool {
        self.crates.is_empty()
    }

    /// The arguments that select these crates for cargo.
    fn selection(&self) -> Vec<&str> {
        if self.crates.is_empty() {
            return vec!["--workspace"];
        }
        self.crates.iter().flat_map(|name| ["--package", name]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::cargo;

    fn options(arguments: &[&str]) -> anyhow::Result<Options> {
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        Options::read(&arguments)
    }

    #[test]
    fn the_gate_is_about_all_crates_unless_some_are_named() {
        assert_eq!(options(&[]).unwrap().selection(), ["--workspace"]);
        let some = options(&["-p", "falco-core", "--install", "--package", "falco-http"]).unwrap();
        assert_eq!(some.selection(), ["--package", "falco-core", "--package", "falco-http"]);
        assert!(some.installs && !options(&[]).unwrap().installs);
        assert!(options(&[]).unwrap().includes_template() && !some.includes_template());
        assert!(options(&["--package"]).is_err());
        assert!(options(&["falco-core"]).is_err());
    }

    #[test]
    fn what_waits_behind_the_tests_is_the_same_command_at_the_lowest_priority() {
        let mut command = Command::new("sh");
        command.args(["-c", "nice; pwd; echo $GIVEN ${PATH:-no path}"]);
        command.current_dir("/").env("GIVEN", "value");
        let output = at_lowest_priority(&command).output().unwrap();
        let lines = String::from_utf8(output.stdout).unwrap();
        let path = std::env::var("PATH").unwrap();
        assert_eq!(lines.lines().collect::<Vec<_>>(), ["19", "/", &format!("value {path}")]);
    }

    #[test]
    fn a_stage_that_fails_beside_the_tests_is_a_failure() {
        let mut command = cargo(&["doc", "--package", "a-crate-that-does-not-exist"]);
        command.env("CARGO_TERM_COLOR", "never");
        let error = in_one_piece("documentation", &command).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("failed with exit status: 101"), "{error}");
        assert!(error.contains("a-crate-that-does-not-exist` did not match"), "{error}");
    }
}
