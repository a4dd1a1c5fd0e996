//! The single door for contributors: `cargo xtask help` lists what it does.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a command line tool")]

mod bench;
mod changelog;
mod circles;
mod consumers;
mod dependencies;
mod docker;
mod docs;
mod features;
mod gate;
mod growth;
mod licences;
mod lint;
mod metadata;
mod mutants;
mod new_platform;
mod package;
mod packages;
mod platforms;
mod program;
mod public_types;
mod runtimes;
mod second_try;
mod settings;
mod shell;
mod snippets;
mod template;
mod test;
mod test_programs;
mod typos;
mod units;
mod wording;

use std::process::ExitCode;

use anyhow::bail;

struct Task {
    name: &'static str,
    about: &'static str,
    run: fn(&[String]) -> anyhow::Result<()>,
}

const TASKS: &[Task] = &[
    Task {
        name: "gate",
        about: "check what lint and test check, in one build; [--install] [--package CRATE ..]",
        run: gate::run,
    },
    Task {
        name: "test",
        about: "run unit, integration and doc tests of all crates",
        run: test::run,
    },
    Task {
        name: "lint",
        about: "check format, spelling, wording, clippy, docs, who depends on whom, licences; [--package CRATE | --quick]",
        run: lint::run,
    },
    Task {
        name: "runtimes",
        about: "install the providers' runtimes that tests use, from PyPI and npm, into the target directory",
        run: runtimes::run,
    },
    Task { name: "docs", about: "build the documentation into target/doc", run: docs::run },
    Task {
        name: "bench",
        about: "measure speed and memory; [NAME ..] [--no-check] [--list]",
        run: bench::run,
    },
    Task {
        name: "new-platform",
        about: "make a crate for another platform; NAME [--path DIR]",
        run: new_platform::run,
    },
    Task {
        name: "template",
        about: "try what new-platform makes: it compiles, passes the lint, and its tests give directions",
        run: template::run,
    },
    Task {
        name: "mutants",
        about: "change a crate in small wrong ways, and list what no test notices; [--quick] CRATE [PATH ..]",
        run: mutants::run,
    },
    Task {
        name: "features",
        about: "build each feature of each crate by itself; [CRATE ..]",
        run: features::run,
    },
    Task {
        name: "consumers",
        about: "build crates outside the workspace that use it, and count what they pull in; [NAME ..]",
        run: consumers::run,
    },
    Task {
        name: "package",
        about: "pack every crate as for a release, and the docs as docs.rs builds them",
        run: package::run,
    },
];

fn main() -> ExitCode {
    if let Some(folder) = std::env::var_os(units::VARIABLE) {
        eprintln!("xtask: {:#}", units::compile(&folder));
        return ExitCode::FAILURE;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> anyhow::Result<()> {
    let Some((name, rest)) = arguments.split_first() else {
        help();
        bail!("name a task");
    };
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        help();
        return Ok(());
    }
    match TASKS.iter().find(|task| task.name == name) {
        Some(task) => (task.run)(rest),
        None => {
            help();
            bail!("there is no task {name:?}");
        }
    }
}

fn help() {
    eprintln!("usage: cargo xtask TASK\n");
    for task in TASKS {
        eprintln!("  {:<14} {}", task.name, task.about);
    }
    eprintln!();
}
