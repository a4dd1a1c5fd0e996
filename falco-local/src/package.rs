//! A function on disk, and the command that starts a worker of it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use falco_core::{Code, Deployable, Environment, Result};
use falco_package::{Archive, NATIVE_EXECUTABLE, System, native, shim};
use sha2::{Digest, Sha256};

use crate::interpreter::Interpreter;
use crate::spawn::Requests;

/// Waits until Falco knows the process, and becomes the function then, in the directory of its code.
const NATIVE_SHIM: &str = "cd \"$1\" && unset OLDPWD && read -r _ && exec \"$0\"";

/// The part of the shim for Python that forks workers.
pub(crate) const FORK: &str = include_str!("shims/falco_fork.py");

/// The file of [`FORK`], beside the shim.
const FORK_FILE: &str = "falco_fork.py";

/// The last argument of a shim that forks workers.
const FORK_SERVER: &str = "fork-server";

/// The function's files, and a name for exactly these.
pub(crate) struct Package {
    pub(crate) files: Files,
    pub(crate) version: String,
}

/// The files on their way to the disk.
pub(crate) enum Files {
    /// Those of an interpreter, with the shim.
    Held(Archive),
    /// The archive of a native function, which may be large, and the arguments that are stored beside its files. It is checked
    /// while it is unpacked.
    Native { zip: Bytes, arguments: Archive },
}

impl Files {
    /// Writes the files into a directory, which is made.
    pub(crate) fn unpack_to(&self, directory: &Path) -> Result<()> {
        match self {
            Self::Held(files) => files.unpack_to(directory),
            Self::Native { zip, arguments } => {
                let code = directory.join(shim::FUNCTION);
                Archive::unpack_native(zip, &code, &System::current())?;
                arguments.unpack_to(&code)
            }
        }
    }
}

/// Puts the function's code and the shim of its runtime together.
pub(crate) fn pack(function: &Deployable, interpreter: &Interpreter) -> Result<Package> {
    let files = match interpreter {
        Interpreter::Python(_) => shim::wrap(function)?.with_file(FORK_FILE, FORK)?,
        Interpreter::Node(_) => shim::wrap(function)?,
        Interpreter::Native => return pack_native(function),
    };
    let version = digest(&[], &files);
    Ok(Package { files: Files::Held(files), version })
}

/// The executable stays packed until it is on its way to the disk.
fn pack_native(function: &Deployable) -> Result<Package> {
    shim::check_native_arguments(function)?;
    let zip = match &function.code {
        Code::Archive(zip) => zip.clone(),
        code => Archive::from_code(code, NATIVE_EXECUTABLE)?.to_zip()?,
    };
    let mut arguments = Archive::new();
    if let Some(stored) = &function.arguments {
        arguments = arguments.with_file(shim::ARGUMENTS, stored.to_bytes())?;
    }
    let version = digest(&zip, &arguments);
    Ok(Package { files: Files::Native { zip, arguments }, version })
}

/// A name for an archive, if there is one, and the files beside it.
fn digest(archive: &[u8], files: &Archive) -> String {
    let mut digest = Sha256::new();
    digest.update(archive);
    for (path, file) in files.files() {
        digest.update((path.len() as u64).to_le_bytes());
        digest.update(path);
        digest.update([u8::from(file.executable)]);
        digest.update((file.content.len() as u64).to_le_bytes());
        digest.update(&file.content);
    }
    digest.finalize().iter().take(8).fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A function that is on disk, and how a worker of it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) interpreter: Interpreter,
    /// Holds the shim, and the user's files in a directory of it.
    pub(crate) directory: PathBuf,
    /// The function to call, if one is named.
    pub(crate) entry_point: Option<String>,
    pub(crate) env: Environment,
}

impl Function {
    /// Whether a worker says that it has started, before its first request: a shim does, and an executable that holds
    /// several functions.
    pub(crate) fn acknowledges_start(&self) -> bool {
        self.interpreter != Interpreter::Native || self.entry_point.is_some()
    }

    /// The command of a worker, and where it reads requests.
    pub(crate) fn command(
        &self,
        base: &BTreeMap<String, OsString>,
        scratch: &Path,
        memory_mib: Option<u32>,
    ) -> (Command, Requests) {
        let code = self.directory.join(shim::FUNCTION);
        let entry_point = self.entry_point.as_deref();
        let (mut command, requests) = match &self.interpreter {
            Interpreter::Python(python) => {
                let mut command = Command::new(python);
                // The code's own directory is read-only. Python's own `pycache_prefix` would hold for its library too, which
                // would be compiled anew for each function: five times the time of a start.
                let mut cache = OsString::from("falco_pycache=");
                cache.push(self.directory.join("pycache"));
                command.args(["-B", "-X"]).arg(cache).arg(self.directory.join(shim::PYTHON));
                command.arg(&code).arg(entry_point.unwrap_or("main"));
                (command, Requests::Descriptor4)
            }
            Interpreter::Node(node) => {
                let mut command = Command::new(node);
                if let Some(mib) = memory_mib {
                    // Node.js has a limit of its own, which may be lower than what is granted.
                    command.arg(format!("--max-old-space-size={mib}"));
                }
                command.arg(self.directory.join(shim::NODE));
                command.arg(&code).arg(entry_point.unwrap_or("main"));
                (command, Requests::Descriptor4)
            }
            Interpreter::Native => {
                let mut command = Command::new("/bin/sh");
                command.arg("-c").arg(NATIVE_SHIM).arg(code.join(NATIVE_EXECUTABLE)).arg(&code);
                (command, Requests::Stdin)
            }
        };
        if requests == Requests::Descriptor4 {
            command.current_dir(&code);
        }
        command.env_clear().envs(base);
        command.env("TMPDIR", scratch).envs(self.env.iter());
        if let (Interpreter::Native, Some(name)) = (&self.interpreter, entry_point) {
            command.env(native::FUNCTION_VARIABLE, name).env(native::ACKNOWLEDGE_VARIABLE, "1");
        }
        (command, requests)
    }

    /// The command of an interpreter that forks workers; `None` where they cannot be forked.
    pub(crate) fn fork_server(
        &self,
        base: &BTreeMap<String, OsString>,
        scratch: &Path,
    ) -> Option<(Command, Requests)> {
        if !matches!(self.interpreter, Interpreter::Python(_)) {
            return None;
        }
        let (mut command, requests) = self.command(base, scratch, None);
        command.arg(FORK_SERVER);
        Some((command, requests))
    }

    /// The directory that a forked worker is given as TMPDIR; `None` where the deployment names another.
    pub(crate) fn scratch_of_fork<'a>(&self, scratch: &'a Path) -> Option<&'a Path> {
        self.env.get("TMPDIR").is_none().then_some(scratch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(function: &Deployable) -> Result<Package> {
        let interpreter = match function.runtime.family() {
            "python" => Interpreter::Python("/python".into()),
            "nodejs" => Interpreter::Node("/node".into()),
            _ => Interpreter::Native,
        };
        pack(function, &interpreter)
    }

    #[test]
    fn the_same_code_has_the_same_version_and_other_code_another() {
        let function = |source: &str| {
            let runtime = "python:3".parse().unwrap();
            packed(&Deployable::from_source("f", runtime, source)).unwrap().version
        };
        assert_eq!(function("a = 1"), function("a = 1"));
        assert_ne!(function("a = 1"), function("a = 2"));
    }
}
