//! Starting the tools that install.

use std::io::ErrorKind as IoErrorKind;
use std::process::{Command, Stdio};

use falco_core::{Error, ErrorKind, Result};

/// How much of what a tool says goes into an error; the end says most.
const SAID: usize = 2_000;

/// Runs a tool to its end. `missing` says how to get it.
pub(super) fn run(command: &mut Command, missing: &str) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| {
        let kind = match error.kind() {
            IoErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Other,
        };
        Error::new(kind, format!("cannot start {name}")).with_source(&error).with_hint(missing)
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim();
    let start = said.ceil_char_boundary(said.len().saturating_sub(SAID));
    let error =
        Error::invalid_input(format!("{name} could not install the packages: {}", &said[start..]));
    Err(if said.contains("No module named pip") { error.with_hint(missing) } else { error })
}
