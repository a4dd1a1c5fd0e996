//! A function as it is in an image: its files, and the command of a container.

use std::fmt::Write;
use std::io;

use bytes::Bytes;
use falco_core::{Deployable, Error, ErrorKind, Result};
use falco_package::{Archive, NATIVE_EXECUTABLE, System, native, shim};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Where the files are in the image.
const ROOT: &str = "/falco";

/// A container's streams are stdin, stdout and stderr. Requests come in on stdin and answers go out on stdout, so the
/// function gets neither: its requests are on descriptor 4, its answers on 3, and all that it prints goes to stderr.
const SHIM_STREAMS: &str = "exec \"$@\" 4<&0 0</dev/null 3>&1 1>&2";

/// A native executable reads requests on stdin, as ActionLoop has it.
const NATIVE_STREAMS: &str = "exec \"$@\" 3>&1 1>&2";

/// How Falco talks to the function's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Protocol {
    /// A shim of `falco-package`.
    Shim,
    /// An executable that answers requests and says nothing before.
    Native,
    /// An executable that says when it has started.
    NativeAcknowledged,
}

/// A function, ready to be put into an image.
pub(crate) struct Bundle {
    pub(crate) protocol: Protocol,
    /// A name for exactly these files.
    pub(crate) version: String,
    /// The files, as a tar archive to be unpacked at `/`.
    pub(crate) tar: Bytes,
    pub(crate) entrypoint: Vec<String>,
    pub(crate) command: Vec<String>,
    pub(crate) directory: String,
    /// Variables, as `NAME=value`.
    pub(crate) environment: Vec<String>,
}

/// Puts the function's code and the shim of its runtime together.
pub(crate) fn pack(function: &Deployable) -> Result<Bundle> {
    let files = files(function)?;
    let entry_point = function.entry_point.as_deref().unwrap_or("main");
    let directory = format!("{ROOT}/{}", shim::FUNCTION);
    let own = |program: &[&str], file: &str| {
        let mut command: Vec<String> = program.iter().map(|&word| word.into()).collect();
        command.extend([format!("{ROOT}/{file}"), directory.clone(), entry_point.into()]);
        command.extend(["4", "3", shim::MARK_LOGS].map(str::to_owned));
        command
    };
    let named = function.entry_point.is_some();
    let (protocol, streams, command) = match function.runtime.family() {
        "python" => {
            let python = ["python3", "-X", "pycache_prefix=/tmp/pycache"];
            (Protocol::Shim, SHIM_STREAMS, own(&python, shim::PYTHON))
        }
        "nodejs" => (Protocol::Shim, SHIM_STREAMS, own(&["node"], shim::NODE)),
        _ => {
            let protocol = if named { Protocol::NativeAcknowledged } else { Protocol::Native };
            (protocol, NATIVE_STREAMS, vec![format!("{directory}/{NATIVE_EXECUTABLE}")])
        }
    };
    let variables = function.env.iter().map(|(name, value)| format!("{name}={value}"));
    let mut environment: Vec<String> = variables.collect();
    if protocol == Protocol::NativeAcknowledged {
        environment.push(format!("{}={entry_point}", native::FUNCTION_VARIABLE));
        environment.push(format!("{}=1", native::ACKNOWLEDGE_VARIABLE));
    }
    Ok(Bundle {
        protocol,
        version: digest(&files.to_zip()?),
        tar: tar(&files)?,
        entrypoint: ["sh", "-c", streams, "falco"].map(str::to_owned).into(),
        command,
        directory,
        environment,
    })
}

fn files(function: &Deployable) -> Result<Archive> {
    if matches!(function.runtime.family(), "python" | "nodejs") {
        return shim::wrap(function);
    }
    let code = Archive::from_code(&function.code, NATIVE_EXECUTABLE)?;
    code.check_native_on(&System::current())?;
    let mut files = Archive::new();
    for (path, file) in code.files() {
        files.insert(format!("{}/{path}", shim::FUNCTION), file.clone())?;
    }
    Ok(files)
}

fn digest(zip: &[u8]) -> String {
    Sha256::digest(zip).iter().take(8).fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn tar(files: &Archive) -> Result<Bytes> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, file) in files.files() {
        let mut header = tar::Header::new_gnu();
        header.set_size(file.content.len() as u64);
        header.set_mode(if file.executable { 0o755 } else { 0o644 });
        let path = format!("{}/{path}", ROOT.trim_start_matches('/'));
        builder.append_data(&mut header, path, &file.content[..]).map_err(|e| unpackable(&e))?;
    }
    builder.into_inner().map(Bytes::from).map_err(|error| unpackable(&error))
}

fn unpackable(error: &io::Error) -> Error {
    Error::new(ErrorKind::InvalidInput, "the function's files cannot be packed").with_source(error)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn python(source: &str) -> Bundle {
        pack(&Deployable::from_source("f", "python:3".parse().unwrap(), source)).unwrap()
    }

    #[test]
    fn the_same_code_has_the_same_version_and_other_code_another() {
        assert_eq!(python("a = 1").version, python("a = 1").version);
        assert_ne!(python("a = 1").version, python("a = 2").version);
    }

    #[test]
    fn the_files_are_below_one_folder_with_their_modes() {
        let tar = python("a = 1").tar;
        let mut found = Vec::new();
        for entry in tar::Archive::new(&tar[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            let path = entry.path().unwrap().display().to_string();
            found.push((path, entry.header().mode().unwrap()));
        }
        assert_eq!(
            found,
            [("falco/falco_shim.py".into(), 0o644), ("falco/function/main__.py".into(), 0o644)]
        );
    }
}
