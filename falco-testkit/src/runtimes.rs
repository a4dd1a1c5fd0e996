//! The runtimes that providers run functions with, which `cargo xtask runtimes` installs for tests.
//!
//! `FALCO_RUNTIMES` names the folder that holds them; cargo sets it in this workspace. Versions stand in
//! `xtask/src/runtimes.rs`.

use std::io::Write as _;
use std::path::PathBuf;

/// Returns the folder of an installed runtime, such as `"functions-framework-python"`.
///
/// A runtime of Python's is a virtual environment with `bin/python3`; one of Node.js's has `node_modules`. Without it
/// the function writes to stderr that the caller is skipped, and returns `None`.
///
/// # Examples
///
/// ```
/// let Some(folder) = falco_testkit::runtimes::find("awslambdaric") else { return };
/// assert!(folder.join("bin/python3").exists());
/// ```
///
/// # Panics
///
/// In CI (`CI=true`), where no test may be skipped.
pub fn find(name: &str) -> Option<PathBuf> {
    let home = std::env::var_os("FALCO_RUNTIMES").map(PathBuf::from);
    if let Some(folder) = home.map(|home| home.join(name)).filter(|f| f.join("installed").exists())
    {
        return Some(folder);
    }
    let message = format!("skipped: {name} is not installed; `cargo xtask runtimes` installs it");
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "{message}, and CI skips nothing"
    );
    // Not `eprintln!`, which test harnesses capture.
    let _ = writeln!(std::io::stderr(), "{message}");
    None
}
