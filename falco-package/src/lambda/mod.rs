//! Functions as the runtimes of AWS Lambda start them: the shim of their language, and the handler between the two. For
//! every platform that runs Lambda's images.

mod messages;

use falco_core::{Deployable, Error, Result};

use crate::archive::Archive;
use crate::native::check_native_entry_point;
use crate::requirements::System;
use crate::shim;

pub use messages::{exit_status, without_prefix};

const PYTHON_HANDLER: &str = include_str!("falco_handler.py");
const NODE_HANDLER: &str = include_str!("falco_handler.cjs");
const BOOTSTRAP: &str = include_str!("bootstrap.sh");

/// The file that Lambda starts where it brings no runtime.
const BOOTSTRAP_FILE: &str = "bootstrap";

/// A function with the shim and the handler of its language, and the name by which Lambda calls the handler. A native
/// executable has to fit `system`, on which Lambda starts it.
///
/// # Errors
///
/// As [`shim::wrap`] and [`Archive::check_native_on`]; `InvalidInput` for an entry point that Lambda does not take;
/// `Unsupported` for a family without a shim.
///
/// # Examples
///
/// ```
/// use falco_core::Deployable;
/// use falco_package::{System, lambda};
///
/// let function = Deployable::python("f", "def main(args): return args").with_entry_point("count");
/// let (archive, handler) = lambda::wrap(&function, &System::current())?;
/// let paths: Vec<_> = archive.paths().collect();
/// assert_eq!(paths, ["falco_handler.py", "falco_shim.py", "function/main__.py"]);
/// assert_eq!(handler, "falco_handler.count");
/// # Ok::<(), falco_core::Error>(())
/// ```
pub fn wrap(function: &Deployable, system: &System) -> Result<(Archive, String)> {
    // Lambda splits it at its dots; the shim checks that the entry point has none.
    let handler = format!("falco_handler.{}", function.entry_point_or_main());
    match function.runtime.family() {
        "python" => {
            let archive = shim::wrap(function)?.with_file("falco_handler.py", PYTHON_HANDLER)?;
            Ok((archive, handler))
        }
        "nodejs" => {
            let archive = shim::wrap(function)?.with_file("falco_handler.cjs", NODE_HANDLER)?;
            Ok((archive, handler))
        }
        "native" => Ok((native(function, system)?, native_handler(function)?)),
        other => Err(Error::unsupported(format!("Falco has no shim for {other} on Lambda"))),
    }
}

/// A hash of all that a function on Lambda is made of: as [`shim::content_hash`], with the handlers.
///
/// # Examples
///
/// ```
/// use falco_core::Deployable;
/// use falco_package::lambda;
///
/// let function = Deployable::python("f", "def main(args): return args");
/// let hash = lambda::content_hash(&function, &["python3.13"]);
/// assert_ne!(hash, lambda::content_hash(&function, &["python3.12"]));
/// ```
pub fn content_hash(function: &Deployable, settings: &[&str]) -> String {
    let own = [&[PYTHON_HANDLER, NODE_HANDLER, BOOTSTRAP], settings].concat();
    shim::content_hash(function, &own)
}

fn native(function: &Deployable, system: &System) -> Result<Archive> {
    let archive = shim::native(function)?;
    archive.check_native_on(system)?;
    if archive.contains(BOOTSTRAP_FILE) {
        // A function in Rust brings its own, since it speaks the Runtime API itself.
        return Ok(archive);
    }
    archive.with_executable(BOOTSTRAP_FILE, BOOTSTRAP)
}

/// The name that the bootstrap is given: an entry point names one of several in the executable.
fn native_handler(function: &Deployable) -> Result<String> {
    let Some(name) = &function.entry_point else { return Ok("bootstrap".to_owned()) };
    check_native_entry_point(name)?;
    Ok(format!("bootstrap/{name}"))
}
