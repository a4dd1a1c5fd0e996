//! Parts of the shims that a deployment uses or not: those that it does not use are left out of its archive.

use falco_core::{Code, Deployable, Error, Result};

use super::{check_entry_point, node, without_bom};
use crate::archive::Archive;

/// Adds the part that makes objects of stores out of the references in an argument, for a function in Python or Node.js.
/// A layer does so before it deploys a function; the shim of the language finds it. Equal functions make equal archives.
///
/// # Errors
///
/// `InvalidInput` for an entry point that cannot be called; `Conflict` when the function's archive has a file of the
/// part's name; `Unsupported` for a family without a shim; as [`Archive::from_code`] for what is not an archive.
///
/// # Examples
///
/// ```
/// use falco_core::Deployable;
/// use falco_package::{Archive, shim};
///
/// let function = Deployable::python("count", "def main(args):\n    return {'n': len(args['input'].read())}\n");
/// let archive = Archive::from_code(&shim::with_data(&function)?.code, "")?;
/// assert_eq!(archive.paths().collect::<Vec<_>>(), ["__main__.py", "falco_data.py"]);
/// # Ok::<(), falco_core::Error>(())
/// ```
pub fn with_data(function: &Deployable) -> Result<Deployable> {
    let archive = match (function.runtime.family(), &function.code) {
        ("python", Code::Source(source)) => {
            Archive::new().with_file("__main__.py", without_bom(source).to_owned())?
        }
        ("python", code) => Archive::from_code(code, "__main__.py")?,
        ("nodejs", code @ Code::Source(_)) => {
            check_entry_point(function.entry_point_or_main())?;
            node(code, function.entry_point_or_main())?
        }
        ("nodejs", code) => Archive::from_code(code, "index.js")?,
        (family, _) => return Err(Error::unsupported(format!("there is no shim for {family:?}"))),
    };
    let archive = match function.runtime.family() {
        "python" => archive.with_file("falco_data.py", include_str!("falco_data.py")),
        _ => archive.with_file("falco_data.cjs", include_str!("falco_data.cjs")),
    }?;
    let mut function = function.clone();
    function.code = Code::Archive(archive.to_zip()?);
    Ok(function)
}
