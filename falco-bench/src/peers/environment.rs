//! The private Python environment with the peers, pinned.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use super::{FALCO, FALCO_IN_BATCHES};

/// The packages that users name; `constraints.txt` pins what they bring as well.
const PACKAGES: [(&str, &str); 5] = [
    ("loky", "loky==3.7.0"),
    ("joblib", "joblib==1.6.0"),
    ("dask", "distributed==2026.8.0"),
    ("ray", "ray==2.60.0"),
    ("lithops", "lithops==3.8.0"),
];

const CONSTRAINTS: &str = include_str!("constraints.txt");

/// The interpreter with the peers, and which of them could not be installed.
#[derive(Debug)]
pub(super) struct Environment {
    interpreter: PathBuf,
    /// The version of Python.
    pub(super) python: String,
    missing: BTreeMap<&'static str, String>,
}

impl Environment {
    /// Makes the environment, unless an earlier run did.
    pub(super) fn install(folder: &Path) -> anyhow::Result<Self> {
        let home = folder.join("python");
        let interpreter = home.join("bin/python3");
        if !interpreter.exists() {
            let made = Command::new("python3").args(["-m", "venv"]).arg(&home).output()?;
            let errors = String::from_utf8_lossy(&made.stderr);
            ensure!(made.status.success(), "python3 -m venv failed: {errors}");
        }
        let constraints = folder.join("constraints.txt");
        fs::write(&constraints, CONSTRAINTS)?;
        let version = Command::new(&interpreter).arg("--version").output()?;
        let python = String::from_utf8_lossy(&version.stdout).trim().to_owned();
        let mut missing = BTreeMap::new();
        for (name, package) in PACKAGES {
            // The constraints are part of what is installed.
            let (mark, wanted) = (home.join(name), format!("{package}\n{CONSTRAINTS}"));
            if fs::read_to_string(&mark).is_ok_and(|installed| installed == wanted) {
                continue;
            }
            eprintln!("  installing {package} ..");
            let pip = Command::new(&interpreter)
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
                .arg("--constraint")
                .arg(&constraints)
                .arg("--cache-dir")
                .arg(folder.join("pip"))
                .arg(package)
                .output()
                .context("pip does not start")?;
            if pip.status.success() {
                fs::write(&mark, wanted)?;
            } else {
                missing.insert(name, reason(&String::from_utf8_lossy(&pip.stderr)));
            }
        }
        Ok(Self { interpreter, python, missing })
    }

    /// Why a peer is not there; none where it is.
    pub(super) fn lacks(&self, peer: &str) -> Option<&str> {
        self.missing.get(peer).map(String::as_str)
    }

    /// The program that does one task with one peer.
    pub(super) fn command(&self, folder: &Path, scratch: &Path) -> anyhow::Result<Command> {
        let sources = folder.join("src");
        fs::create_dir_all(&sources)?;
        fs::write(sources.join("work.py"), super::work::FUNCTIONS)?;
        fs::write(sources.join("peer.py"), include_str!("peer.py"))?;
        let mut command = Command::new(&self.interpreter);
        command.arg(sources.join("peer.py")).env("PYTHONPATH", &sources);
        // Where Lithops and Dask look for settings, and where everybody writes.
        command.env("HOME", scratch).env("TMPDIR", scratch).env("RAY_USAGE_STATS_ENABLED", "0");
        Ok(command)
    }

    /// The search path of programs, on which the interpreter of all contenders comes first.
    pub(super) fn path(&self) -> anyhow::Result<OsString> {
        let own = self.interpreter.parent().map(Path::to_owned);
        let others = std::env::var_os("PATH").unwrap_or_default();
        Ok(std::env::join_paths(own.into_iter().chain(std::env::split_paths(&others)))?)
    }

    /// The name with the version, as the report shows it.
    pub(super) fn version(&self, contender: &str) -> String {
        let package = PACKAGES.iter().find(|(name, _)| *name == contender);
        match (contender, package) {
            (FALCO, _) => format!("Falco {}", env!("CARGO_PKG_VERSION")),
            (FALCO_IN_BATCHES, _) => "Falco, in batches".to_owned(),
            (_, Some((_, package))) => package.replace("==", " "),
            _ => format!("concurrent.futures of {}", self.python),
        }
    }
}

/// The error that pip ends with: the last line that says so, since notices may follow it.
fn reason(errors: &str) -> String {
    let mut lines = errors.lines().map(str::trim).filter(|line| !line.is_empty());
    let last = lines.clone().next_back();
    let error = lines.rfind(|line| line.starts_with("ERROR:"));
    error.or(last).unwrap_or("pip failed and printed nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_last_error_of_pip_and_no_notice_after_it() {
        let errors =
            "ERROR: from versions: none\nERROR: No matching distribution\n\n[notice] new\n";
        assert_eq!(reason(errors), "ERROR: No matching distribution");
        assert_eq!(reason("Killed\n"), "Killed");
        assert_eq!(reason(""), "pip failed and printed nothing");
    }

    #[test]
    fn every_package_is_pinned_as_the_constraints_say() {
        for (_, package) in PACKAGES {
            assert!(CONSTRAINTS.lines().any(|line| line == package), "{package}");
        }
    }
}
