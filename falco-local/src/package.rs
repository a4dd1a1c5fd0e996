//! What a function becomes on disk, and how a worker of it is started.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;

use falco_core::{Deployable, Environment, Error, ErrorKind, Result};
use falco_package::{Archive, NATIVE_EXECUTABLE};
use sha2::{Digest, Sha256};

use crate::interpreter::Interpreter;
use crate::process::Requests;

/// As OpenWhisk names it: `__main__` is what Python calls the program itself, which is the shim.
const PYTHON_MAIN: &str = "main__.py";
/// Source text is a CommonJS module, whatever a `package.json` further up says.
const NODE_MAIN: &str = "main__.cjs";

const PYTHON_SHIM: &str = include_str!("shims/python.py");
const NODE_SHIM: &str = include_str!("shims/node.cjs");

/// Waits until Falco knows the process, and becomes the function then.
const NATIVE_SHIM: &str = "read -r _ && exec \"$0\"";

/// The function's files, and a name for exactly these.
pub(crate) struct Package {
    pub(crate) files: Archive,
    pub(crate) version: String,
}

/// Puts the function's code and the shim of its runtime together.
pub(crate) fn pack(function: &Deployable, interpreter: &Interpreter) -> Result<Package> {
    let entry_point = function.entry_point();
    let (mut code, shim) = match interpreter {
        Interpreter::Python(_) => {
            check_entry_point(entry_point)?;
            let mut code = Archive::from_code(&function.code, "__main__.py")?;
            code.require("__main__.py").map_err(incomplete)?;
            code.rename("__main__.py", PYTHON_MAIN)?;
            (code, Some(("shim.py", PYTHON_SHIM)))
        }
        Interpreter::Node(_) => {
            check_entry_point(entry_point)?;
            let mut code = Archive::from_code(&function.code, NODE_MAIN)?;
            if let falco_core::Code::Source(source) = &function.code {
                // A function that is declared and not exported counts too, as on OpenWhisk.
                let exported = format!(
                    "{source}\n;if (typeof {entry_point} === 'function' && !module.exports.{entry_point}) \
                     module.exports.{entry_point} = {entry_point};\n"
                );
                code = Archive::new().with_file(NODE_MAIN, exported)?;
            } else if !code.contains("package.json") {
                code.require("index.js").map_err(incomplete)?;
            }
            (code, Some(("shim.cjs", NODE_SHIM)))
        }
        Interpreter::Native => {
            let code = Archive::from_code(&function.code, NATIVE_EXECUTABLE)?;
            code.check_native()?;
            (code, None)
        }
    };
    let mut files = Archive::new();
    for path in code.paths().map(str::to_owned).collect::<Vec<_>>() {
        if let Some(file) = code.remove(&path) {
            files.insert(format!("code/{path}"), file)?;
        }
    }
    if let Some((name, shim)) = shim {
        files = files.with_file(name, shim)?;
    }
    let version = digest(&files);
    Ok(Package { files, version })
}

/// To the user, an archive without its main file is wrong, not absent.
fn incomplete(error: Error) -> Error {
    Error::new(ErrorKind::InvalidInput, error.message())
}

fn check_entry_point(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$';
    if name.chars().all(plain)
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
    {
        return Ok(());
    }
    Err(Error::invalid_input(format!("the entry point {name:?} is no name of a function")))
}

fn digest(files: &Archive) -> String {
    let mut digest = Sha256::new();
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
    /// Holds the shim, and the code in `code`.
    pub(crate) directory: PathBuf,
    pub(crate) entry_point: String,
    pub(crate) env: Environment,
}

impl Function {
    /// The command of a worker, and where it reads requests.
    pub(crate) fn command(
        &self,
        base: &BTreeMap<String, OsString>,
        memory_mib: Option<u32>,
    ) -> (Command, Requests) {
        let code = self.directory.join("code");
        let (mut command, requests) = match &self.interpreter {
            Interpreter::Python(python) => {
                let mut command = Command::new(python);
                command.arg(self.directory.join("shim.py")).arg(&code).arg(&self.entry_point);
                (command, Requests::Descriptor4)
            }
            Interpreter::Node(node) => {
                let mut command = Command::new(node);
                if let Some(mib) = memory_mib {
                    // Node.js has a limit of its own, which may be lower than what is granted.
                    command.arg(format!("--max-old-space-size={mib}"));
                }
                let main = if code.join(NODE_MAIN).exists() { NODE_MAIN } else { "." };
                command.arg(self.directory.join("shim.cjs")).arg(&code).arg(main);
                command.arg(&self.entry_point);
                (command, Requests::Descriptor4)
            }
            Interpreter::Native => {
                let mut command = Command::new("/bin/sh");
                command.arg("-c").arg(NATIVE_SHIM).arg(code.join(NATIVE_EXECUTABLE));
                (command, Requests::Stdin)
            }
        };
        command.current_dir(&code).env_clear().envs(base).envs(self.env.iter());
        (command, requests)
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

    #[test]
    fn an_archive_without_its_main_file_says_which_is_missing() {
        let zip = Archive::new().with_file("other.txt", "").unwrap().to_zip().unwrap();
        for (runtime, missing) in
            [("python:3", "__main__.py"), ("nodejs:20", "index.js"), ("native", "exec")]
        {
            let function = Deployable::from_archive("f", runtime.parse().unwrap(), zip.clone());
            let error = packed(&function).err().unwrap();
            assert!(error.to_string().contains(missing), "{error}");
            assert!(error.to_string().contains("other.txt"), "{error}");
        }
    }

    #[test]
    fn an_entry_point_that_is_no_name_is_refused() {
        for name in ["", "a b", "1a", "a.b", "x;y"] {
            let function = Deployable::from_source("f", "nodejs:20".parse().unwrap(), "x")
                .with_entry_point(name);
            assert_eq!(packed(&function).err().unwrap().kind(), ErrorKind::InvalidInput, "{name}");
        }
    }
}
