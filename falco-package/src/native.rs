//! Native functions: an executable that speaks OpenWhisk's ActionLoop.

use std::fs;
use std::path::Path;

use falco_core::{Error, Result};

use crate::archive::Archive;
use crate::directory::unreadable;

/// The file that a native function's archive starts with.
pub const NATIVE_EXECUTABLE: &str = "exec";

impl Archive {
    /// The archive of a native function: the executable at `path`, as `exec`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for what cannot be read or started, as [`check_native`](Self::check_native) says.
    ///
    /// # Examples
    ///
    /// ```
    /// use falco_package::Archive;
    ///
    /// let archive = Archive::native(std::env::current_exe()?)?;
    /// assert!(archive.get("exec").is_some_and(|file| file.executable));
    ///
    /// let error = Archive::native("Cargo.toml").unwrap_err();
    /// assert!(error.to_string().contains("Cargo.toml"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn native(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let content = fs::read(path).map_err(|e| unreadable(path, &e))?;
        check_executable(&path.display().to_string(), &content)?;
        Self::new().with_executable(NATIVE_EXECUTABLE, content)
    }

    /// Checks that the archive is one of a native function: it holds `exec`, which is executable and begins with an ELF
    /// header or `#!`. OpenWhisk's proxy decides by the same bytes whether it starts a file as it is.
    ///
    /// # Errors
    ///
    /// `NotFound` or `InvalidInput` with what is missing.
    pub fn check_native(&self) -> Result<()> {
        let exec = self.require(NATIVE_EXECUTABLE)?;
        check_executable(NATIVE_EXECUTABLE, &exec.content)?;
        if exec.executable {
            return Ok(());
        }
        Err(Error::invalid_input("\"exec\" in the archive is not marked as executable")
            .with_hint("chmod +x it before it is packed"))
    }
}

fn check_executable(name: &str, content: &[u8]) -> Result<()> {
    if content.starts_with(b"\x7fELF") || content.starts_with(b"#!") {
        return Ok(());
    }
    Err(Error::invalid_input(format!(
        "{name} is no executable: it begins neither with an ELF header nor with #!"
    ))
    .with_hint("build the function for Linux, or begin the script with #!"))
}
