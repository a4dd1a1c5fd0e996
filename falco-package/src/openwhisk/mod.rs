//! Functions as the runtimes of OpenWhisk start them: the shim of their language, and the transport between the two. For
//! every platform that runs OpenWhisk's images.

use falco_core::{Deployable, Error, Result};

use crate::archive::{Archive, File};
use crate::native::check_native_entry_point;
use crate::requirements::System;
use crate::{NATIVE_EXECUTABLE, shim};

/// Starts a native function. The proxy of some images waits for a line before it sends the first activation; the
/// function itself never has to know.
const NATIVE_SHIM: &str = include_str!("native_shim.sh");

/// Starts one of the functions of an executable that holds several.
const NATIVE_ENTRY: &str = "#!/bin/sh
# Falco's entry of a native function. Without PATH: the proxy passes none.
FALCO_FUNCTION='ENTRY_POINT'
export FALCO_FUNCTION
exec \"${0%/*}/falco-native\"
";

/// Where the shim finds the function's own executable.
const NATIVE_INNER: &str = "falco-native";

/// Where the proxy of some images looks for the name of the image that the executable was made for.
const NATIVE_ENVIRONMENT: &str = "exec.env";

/// The files by which the runtimes start the shared shims: the name that each wants, and the content.
const PYTHON_TRANSPORT: (&str, &str) = ("__main__.py", include_str!("transport.py"));
const NODE_TRANSPORT: (&str, &str) = ("index.js", include_str!("transport.cjs"));

/// The packages that Python's runtime installs while it starts, where the archive brings no `virtualenv`.
const REQUIREMENTS: &str = "requirements.txt";

/// The function of the transport that the runtime calls; in the transport itself, the user's entry point stands there.
pub const MAIN: &str = "main";

/// A function in Python or Node.js with the shim of its language and the transport to it. The runtime calls [`MAIN`].
///
/// # Errors
///
/// As [`shim::wrap`].
///
/// # Examples
///
/// ```
/// use falco_core::Deployable;
/// use falco_package::openwhisk;
///
/// let function = Deployable::python("f", "def main(args): return args");
/// let archive = openwhisk::wrap(&function)?;
/// let paths: Vec<_> = archive.paths().collect();
/// assert_eq!(paths, ["__main__.py", "falco_shim.py", "function/main__.py"]);
/// # Ok::<(), falco_core::Error>(())
/// ```
pub fn wrap(function: &Deployable) -> Result<Archive> {
    let mut archive = shim::wrap(function)?;
    let (name, transport) = match function.runtime.family() {
        "python" => PYTHON_TRANSPORT,
        "nodejs" => NODE_TRANSPORT,
        family => return Err(Error::unsupported(format!("there is no transport for {family:?}"))),
    };
    let user_file = |name: &str| format!("{}/{name}", shim::FUNCTION);
    let requirements = archive.get(&user_file(REQUIREMENTS)).cloned();
    let virtualenv = user_file("virtualenv/");
    if name == PYTHON_TRANSPORT.0
        && let Some(requirements) = requirements
        && !archive.paths().any(|path| path.starts_with(&virtualenv))
    {
        archive.insert(REQUIREMENTS, requirements)?;
    }
    let entry_point = format!("ENTRY_POINT = \"{}\"", function.entry_point_or_main());
    archive.with_file(name, transport.replacen("ENTRY_POINT = \"main\"", &entry_point, 1))
}

/// A native function as the proxy of Go's image starts it, which checks that the executable was made for `environment`, its
/// own `OW_EXECUTION_ENV`. A function without an entry point does not know of acknowledgements; one with an entry point
/// acknowledges its own start, where the proxy waits for that.
///
/// # Errors
///
/// As [`shim::native`] and [`Archive::check_native_on`]; `InvalidInput` for an entry point that is empty, longer than 100
/// characters, or has others than those of ASCII, blanks or single quotes.
pub fn native(function: &Deployable, system: &System, environment: &str) -> Result<Archive> {
    let mut archive = shim::native(function)?;
    archive.check_native_on(system)?;
    archive.rename(NATIVE_EXECUTABLE, NATIVE_INNER)?;
    let content = match &function.entry_point {
        Some(name) => {
            check_native_entry_point(name)?;
            NATIVE_ENTRY.replace("ENTRY_POINT", name)
        }
        None => NATIVE_SHIM.to_owned(),
    };
    archive.insert(NATIVE_EXECUTABLE, File { content: content.into(), executable: true })?;
    if archive.get(NATIVE_ENVIRONMENT).is_none() {
        archive = archive.with_file(NATIVE_ENVIRONMENT, environment.to_owned())?;
    }
    Ok(archive)
}

/// A hash of all that a function on OpenWhisk is made of: as [`shim::content_hash`], with the transports.
///
/// # Examples
///
/// ```
/// use falco_core::Deployable;
/// use falco_package::openwhisk;
///
/// let function = Deployable::python("f", "def main(args): return args");
/// let hash = openwhisk::content_hash(&function, &["python:3.12"]);
/// assert_ne!(hash, openwhisk::content_hash(&function, &["python:3.11"]));
/// ```
pub fn content_hash(function: &Deployable, settings: &[&str]) -> String {
    let own = [PYTHON_TRANSPORT.1, NODE_TRANSPORT.1, NATIVE_SHIM, NATIVE_ENTRY];
    shim::content_hash(function, &[&own, settings].concat())
}
