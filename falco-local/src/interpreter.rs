//! Finding the interpreter that a runtime name asks for.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use falco_core::{Error, ErrorKind, Result, RuntimeName};

use crate::spawn::has_no_room;

/// The command that starts the functions of a runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Interpreter {
    /// Python, by the path of its own executable.
    Python(PathBuf),
    /// Node.js, by the path of its own executable.
    Node(PathBuf),
    /// The function is an executable.
    Native,
}

/// Asks the interpreter itself where it is and which version: a name on PATH may be a version manager's script, which
/// is slow to start and looks for variables that workers don't have.
const ASK_PYTHON: [&str; 4] = [
    "-I",
    "-S",
    "-c",
    "import sys; print(sys.executable); print('%d.%d.%d' % sys.version_info[:3])",
];
const ASK_NODE: [&str; 2] = ["-p", "process.execPath + '\\n' + process.versions.node"];

/// The runtimes whose interpreters are on `path`, without starting any.
pub(crate) fn available(path: Option<&OsStr>) -> Vec<String> {
    let families = [("python3", "python:3"), ("node", "nodejs")];
    let found = families.iter().filter(|(name, _)| !on_path(path, name).is_empty());
    found.map(|(_, runtime)| (*runtime).to_owned()).chain(["native".to_owned()]).collect()
}

/// Finds the interpreter of `runtime`.
///
/// `python:3` is any Python 3, `python:3.12` only one that says so. `nodejs:22` is Node.js 22 or newer: Node.js keeps
/// old programs running, and no machine has every version.
pub(crate) fn resolve(runtime: &RuntimeName, path: Option<&OsStr>) -> Result<Interpreter> {
    match (runtime.family(), runtime.version()) {
        ("native", None) => Ok(Interpreter::Native),
        ("python", version) => {
            let version = version.unwrap_or("3");
            let names = [format!("python{version}"), "python3".into(), "python".into()];
            let fits = |found: &str| is_prefix(version, found);
            search(runtime, &names, &ASK_PYTHON, path, fits).map(Interpreter::Python)
        }
        ("nodejs", version) => {
            let wanted = match version.map(str::parse::<u32>) {
                None => 0,
                Some(Ok(major)) => major,
                Some(Err(_)) => return Err(unknown(runtime, path)),
            };
            let fits = |found: &str| major(found).is_some_and(|major| major >= wanted);
            let names = ["node".to_owned(), "nodejs".into()];
            search(runtime, &names, &ASK_NODE, path, fits).map(Interpreter::Node)
        }
        _ => Err(unknown(runtime, path)),
    }
}

fn unknown(runtime: &RuntimeName, path: Option<&OsStr>) -> Error {
    Error::unsupported(format!("the runtime {runtime} is not available on this machine"))
        .with_hint(format!("those available: {}", available(path).join(", ")))
}

fn search(
    runtime: &RuntimeName,
    names: &[String],
    question: &[&str],
    path: Option<&OsStr>,
    fits: impl Fn(&str) -> bool,
) -> Result<PathBuf> {
    let mut others = Vec::new();
    for candidate in names.iter().flat_map(|name| on_path(path, name)) {
        match ask(&candidate, question) {
            Ok((executable, version)) if fits(&version) => return Ok(executable),
            Ok((_, version)) => others.push(format!("{} is {version}", candidate.display())),
            Err(Unasked::NoRoom(error)) => {
                let message = format!("{} cannot be started", candidate.display());
                return Err(Error::new(ErrorKind::Unavailable, message)
                    .with_source(&error)
                    .with_hint("allow this process more open files, processes or memory"));
            }
            Err(Unasked::Because(reason)) => others
                .push(format!("{} cannot be asked for its version: {reason}", candidate.display())),
        }
    }
    let looked: Vec<_> = directories(path).map(|dir| dir.display().to_string()).collect();
    let mut message = format!(
        "no interpreter for {runtime}: looked for {} in {}",
        names.join(", "),
        if looked.is_empty() { "an empty PATH".to_owned() } else { looked.join(":") }
    );
    if !others.is_empty() {
        message = format!("{message}; {}", others.join(", "));
    }
    Err(Error::unsupported(message).with_hint(format!(
        "install it or add its directory to PATH; those available: {}",
        available(path).join(", ")
    )))
}

fn directories(path: Option<&OsStr>) -> impl Iterator<Item = PathBuf> {
    path.into_iter().flat_map(env::split_paths).filter(|dir| dir.is_absolute())
}

fn on_path(path: Option<&OsStr>, name: &str) -> Vec<PathBuf> {
    directories(path).map(|dir| dir.join(name)).filter(|file| is_executable(file)).collect()
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// An interpreter that did not say its version.
enum Unasked {
    /// No process can be started at the moment, of whatever program.
    NoRoom(io::Error),
    Because(String),
}

/// The path of the executable, and its version; or why it does not say them.
fn ask(candidate: &Path, question: &[&str]) -> Result<(PathBuf, String), Unasked> {
    let output =
        Command::new(candidate).args(question).stdin(Stdio::null()).output().map_err(|error| {
            match has_no_room(&error) {
                true => Unasked::NoRoom(error),
                false => Unasked::Because(error.to_string()),
            }
        })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim().lines().next_back().unwrap_or_default();
        return Err(Unasked::Because(format!("it ends with {}: {said}", output.status)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    match (lines.next().map(PathBuf::from), lines.next()) {
        (Some(executable), Some(version)) if executable.is_absolute() => {
            Ok((executable, version.trim().to_owned()))
        }
        _ => Err(Unasked::Because(format!("it answers {text:?}"))),
    }
}

/// Whether `wanted` names `found` or a series that it belongs to: 3.1 is not a name of 3.12.
fn is_prefix(wanted: &str, found: &str) -> bool {
    found.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_names_its_own_series_only() {
        assert!(is_prefix("3", "3.12.1") && is_prefix("3.12", "3.12.1"));
        assert!(!is_prefix("3.1", "3.12.1") && !is_prefix("3", "2.7.18"));
    }

    #[test]
    fn a_missing_interpreter_is_named_with_the_places_that_were_searched() {
        let path = OsStr::new("/nowhere/a:/nowhere/b");
        let error = resolve(&"python:3".parse().unwrap(), Some(path)).unwrap_err();
        assert_eq!(error.kind(), falco_core::ErrorKind::Unsupported);
        let text = error.to_string();
        assert!(text.contains("python3") && text.contains("/nowhere/a:/nowhere/b"), "{text}");
        assert!(text.contains("those available: native"), "{text}");
    }

    #[test]
    fn an_unknown_family_gets_the_list_of_those_that_are_there() {
        for name in ["ruby:3", "native:1", "nodejs:lts"] {
            let error = resolve(&name.parse().unwrap(), None).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
            assert!(error.to_string().contains("native"), "{error}");
        }
    }

    #[test]
    fn an_interpreter_that_cannot_be_asked_says_why() {
        for (program, reason) in [("/bin/false", "exit status: 1"), ("/bin/echo", "import sys")] {
            let directory = tempfile::tempdir().unwrap();
            std::os::unix::fs::symlink(program, directory.path().join("python3")).unwrap();
            let path = Some(directory.path().as_os_str());
            let error = resolve(&"python:3".parse().unwrap(), path).unwrap_err().to_string();
            assert!(error.contains("cannot be asked for its version"), "{error}");
            assert!(error.contains(reason), "{error}");
        }
    }
}
