//! From a function's source to what the provider starts.

use falco_core::{Bytes, Deployable, Error, Result};
use falco_package::Archive;

/// The runtimes that there are.
pub(crate) const RUNTIMES: [&str; 1] = ["python:3"];

/// The archive to upload: the user's code, and the shim that calls its `main(args)`.
pub(crate) fn package(function: &Deployable) -> Result<Bytes> {
    if function.runtime.family() != "python" {
        return Err(Error::unsupported(format!("there is no runtime {}", function.runtime))
            .with_hint(format!("there are {}", RUNTIMES.join(", "))));
    }
    let shim = include_str!("shim.py").replace("ENTRY_POINT", function.entry_point_or_main());
    Archive::from_code(&function.code, "function.py")?.with_file("handler.py", shim)?.to_zip()
}
