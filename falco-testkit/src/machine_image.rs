//! A root file system made of this machine's own files, for images of containers without a registry: its shell, Python and
//! Node.js with the libraries that they load.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Parts of Python's library that no test needs.
const LEFT_OUT: [&str; 6] =
    ["test", "site-packages", "idlelib", "ensurepip", "tkinter", "pydoc_data"];

/// The files as a tar archive: `sh`, `python3` and `node` with all that they load, and `env`, `sleep`, `cat` and `echo`.
///
/// # Panics
///
/// When a file of the machine's own cannot be read.
///
/// # Examples
///
/// ```no_run
/// let tar = falco_testkit::machine_image::root_file_system();
/// std::fs::write("image.tar", tar)?; // docker import image.tar
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn root_file_system() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut files = BTreeSet::new();
    let mut libraries = BTreeSet::new();
    for (name, program) in [("sh", which("sh")), ("python3", python()), ("node", which("node"))] {
        let Some(program) = program else { continue };
        libraries.extend(loaded_by(&program));
        add_link(&mut tar, &format!("usr/bin/{name}"), &program);
        files.insert(program);
    }
    add_link(&mut tar, "bin/sh", &which("sh").unwrap());
    // Scripts of the tests begin with `#!/usr/bin/env python3`, and functions of the shim suite call others.
    for program in ["env", "sleep", "cat", "echo"].into_iter().filter_map(which) {
        libraries.extend(loaded_by(&program));
        files.insert(program);
    }
    if let Some(library) = python().and_then(|python| standard_library(&python)) {
        collect(&library, &mut files);
        let extensions = files.iter().filter(|path| path.extension().is_some_and(|e| e == "so"));
        libraries.extend(extensions.flat_map(|path| loaded_by(path)).collect::<Vec<_>>());
    }
    for path in files.iter().chain(&libraries) {
        // By the name it is loaded by, with the content that the name leads to.
        tar.append_path_with_name(path, path.strip_prefix("/").unwrap()).unwrap();
    }
    tar.into_inner().unwrap()
}

/// Links `name` to a program of another path.
///
/// # Panics
///
/// When the name is too long for a tar archive.
#[doc(hidden)]
pub fn add_link(tar: &mut tar::Builder<Vec<u8>>, name: &str, program: &Path) {
    if program == Path::new("/").join(name) {
        return;
    }
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    tar.append_link(&mut header, name, program).unwrap();
}

/// The path of a program on `PATH`, without links.
pub fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found =
        std::env::split_paths(&path).map(|folder| folder.join(program)).find(|p| p.is_file())?;
    found.canonicalize().ok()
}

/// The path of Python itself, if there is one: what stands on PATH may be a version manager's script, which needs the
/// environment that functions lack.
pub fn python() -> Option<PathBuf> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let script = "import os, sys; print(os.path.realpath(sys.executable))";
    PYTHON.get_or_init(|| said_by("python3", &["-I", "-c", script])).clone()
}

fn standard_library(python: &Path) -> Option<PathBuf> {
    let script = "import sysconfig; print(sysconfig.get_path('stdlib'))";
    said_by(python.to_str()?, &["-I", "-c", script])
}

fn said_by(program: &str, arguments: &[&str]) -> Option<PathBuf> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(PathBuf::from(text.trim()))
}

/// The libraries that the loader finds for an executable, the loader among them.
///
/// # Panics
///
/// When `ldd` cannot be started.
pub fn loaded_by(executable: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(executable).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
    paths.map(PathBuf::from).filter(|path| path.is_file()).collect()
}

/// The files below a folder, without what no test needs.
///
/// # Panics
///
/// When the folder cannot be read.
pub fn collect(folder: &Path, files: &mut BTreeSet<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if LEFT_OUT.contains(&&*name) {
            continue;
        }
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.insert(path);
        }
    }
}
