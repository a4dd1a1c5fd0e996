//! The shims: what loads a user's function, calls it and says how each call ended. One for each language, on every
//! platform.

mod answer;
mod parts;

use falco_core::{Code, Deployable, Error, ErrorKind, Result};

use sha2::{Digest, Sha256};

use crate::archive::{Archive, File};

pub use answer::{Answer, NumberedAnswer, failure};
pub use parts::with_data;

/// The shim for Python, at the root of the archive.
pub const PYTHON: &str = "falco_shim.py";

/// The shim for Node.js, at the root of the archive.
pub const NODE: &str = "falco_shim.cjs";

/// The last argument of a shim that serves pipes: it then writes [`LOG_MARK`] to standard error after its start and after each call, for platforms
/// that get logs and answers in two streams without a common order.
pub const MARK_LOGS: &str = "mark-logs";

/// The end of the log of a start or a call, where [`MARK_LOGS`] was asked for.
pub const LOG_MARK: &[u8] = b"\0falco:end\n";

/// The file beside a shim, and beside the executable of a native function, that holds the arguments which are stored with the
/// function: falco-function and the shims put them beneath each payload.
pub const ARGUMENTS: &str = "falco_arguments.json";

/// The directory in the archive where the user's files are.
pub const FUNCTION: &str = "function";

const PYTHON_SHIM: &str = include_str!("falco_shim.py");
const NODE_SHIM: &str = include_str!("falco_shim.cjs");

/// OpenWhisk names it so: `__main__` is the name of the program itself, which is the platform's.
const PYTHON_MAIN: &str = "main__.py";

/// Source text is a CommonJS module, whatever a `package.json` further up says.
const NODE_MAIN: &str = "main__.cjs";

/// Puts a function's code and the shim of its language together. A platform adds its transport.
///
/// | in the archive | what |
/// |---|---|
/// | `falco_shim.py` or `falco_shim.cjs` | the shim |
/// | `function/` | the user's files; source text is `main__.py` or `main__.cjs` there |
/// | `falco_arguments.json` | the function's arguments, if it has some |
///
/// # Errors
///
/// `InvalidInput` for an archive without the file that its language starts with, and for an entry point that cannot be
/// called; `Unsupported` for a family without a shim; as [`Archive::from_code`] for what is not an archive.
///
/// # Examples
///
/// ```
/// use falco_core::Deployable;
/// use falco_package::shim;
///
/// let source = "def main(args):\n    return {'sum': sum(args['numbers'])}\n";
/// let function = Deployable::from_source("sum", "python:3".parse()?, source);
/// let archive = shim::wrap(&function)?.with_file("my_transport.py", "import falco_shim\n")?;
/// let paths: Vec<_> = archive.paths().collect();
/// assert_eq!(paths, ["falco_shim.py", "function/main__.py", "my_transport.py"]);
/// # Ok::<(), falco_core::Error>(())
/// ```
pub fn wrap(function: &Deployable) -> Result<Archive> {
    let entry_point = function.entry_point_or_main();
    let (user, name, shim) = match function.runtime.family() {
        "python" => {
            check_entry_point(entry_point)?;
            (python(&function.code)?, PYTHON, PYTHON_SHIM)
        }
        "nodejs" => {
            check_entry_point(entry_point)?;
            (node(&function.code, entry_point)?, NODE, NODE_SHIM)
        }
        family => return Err(Error::unsupported(format!("there is no shim for {family:?}"))),
    };
    let mut archive = Archive::new();
    for (path, file) in user.files() {
        archive.insert(format!("{FUNCTION}/{path}"), file.clone())?;
    }
    with_arguments(archive.with_file(name, shim)?, function)
}

/// The files of a native function: those of its archive, of which `exec` is one, and its arguments.
///
/// # Errors
///
/// `Unsupported` for arguments of an executable without an entry point, which would not know of them; `Conflict` when the
/// archive has a file of their name; as [`Archive::from_code`] for what is not an archive.
pub fn native(function: &Deployable) -> Result<Archive> {
    let archive = Archive::from_code(&function.code, crate::NATIVE_EXECUTABLE)?;
    check_native_arguments(function)?;
    with_arguments(archive, function)
}

/// Checks that a native function which has arguments stored with it also has an entry point.
///
/// # Errors
///
/// `Unsupported` for arguments of an executable without an entry point, which would not know of them.
pub fn check_native_arguments(function: &Deployable) -> Result<()> {
    if function.arguments.is_some() && function.entry_point.is_none() {
        return Err(Error::unsupported("an executable without an entry point takes no arguments")
            .with_hint("put them into each payload, or write the function with falco-function"));
    }
    Ok(())
}

fn with_arguments(archive: Archive, function: &Deployable) -> Result<Archive> {
    match &function.arguments {
        Some(arguments) => archive.with_file(ARGUMENTS, arguments.to_bytes()),
        None => Ok(archive),
    }
}

/// A hash of all that a deployment is made of, for platforms: one whose hash is the same, and whose environment has the same
/// values, is not uploaded again. It covers the shims, the version of this crate and `settings`, by which a platform names
/// what else its deployments depend on. No secret is in it: of the environment it covers the names.
///
/// # Examples
///
/// ```
/// use falco_core::Deployable;
/// use falco_package::shim;
///
/// let one = Deployable::python("one", "def main(args): return args");
/// let hash = shim::content_hash(&one, &["512 MiB"]);
/// assert_eq!(hash, shim::content_hash(&one.clone().with_name("two"), &["512 MiB"]));
/// assert_ne!(hash, shim::content_hash(&one, &["1024 MiB"]));
/// assert_eq!(hash.len(), 32);
/// ```
pub fn content_hash(function: &Deployable, settings: &[&str]) -> String {
    let mut hash = Sha256::new();
    let own = [env!("CARGO_PKG_VERSION"), PYTHON_SHIM, NODE_SHIM];
    for text in own.iter().chain(settings) {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    function.content(&mut |piece| hash.update(piece));
    let hash = hash.finalize();
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn python(code: &Code) -> Result<Archive> {
    if let Code::Source(source) = code {
        return Archive::new().with_file(PYTHON_MAIN, without_bom(source).to_owned());
    }
    let mut archive = Archive::from_code(code, PYTHON_MAIN)?;
    required(&archive, "__main__.py", "a Python archive has __main__.py at its root")?;
    archive.rename("__main__.py", PYTHON_MAIN)?;
    Ok(archive)
}

fn node(code: &Code, entry_point: &str) -> Result<Archive> {
    if let Code::Source(source) = code {
        return Archive::new().with_file(NODE_MAIN, exported(source, entry_point));
    }
    let archive = Archive::from_code(code, NODE_MAIN)?;
    if !archive.contains("package.json") && !archive.contains(NODE_MAIN) {
        required(&archive, "index.js", "a Node archive has index.js or package.json at its root")?;
    }
    Ok(archive)
}

/// Source text whose function counts when it is declared and not exported, too, as on OpenWhisk.
pub(crate) fn exported(source: &str, entry_point: &str) -> String {
    format!(
        "{}\n;if (typeof {entry_point} === 'function' && !module.exports.{entry_point}) \
         module.exports.{entry_point} = {entry_point};\n",
        without_bom(source)
    )
}

/// Editors put a byte order mark in front of a text, and not every interpreter takes it.
fn without_bom(source: &str) -> &str {
    source.strip_prefix('\u{feff}').unwrap_or(source)
}

/// To the user, an archive without its main file is wrong, not absent.
fn required<'a>(archive: &'a Archive, path: &str, hint: &'static str) -> Result<&'a File> {
    archive
        .require(path)
        .map_err(|error| Error::new(ErrorKind::InvalidInput, error.message()).with_hint(hint))
}

/// Checks that `name` can be called in both languages.
///
/// # Errors
///
/// `InvalidInput` with the characters that are allowed.
pub fn check_entry_point(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$';
    let starts = name.starts_with(|c: char| plain(c) && !c.is_ascii_digit());
    if starts && name.chars().all(plain) {
        return Ok(());
    }
    Err(Error::invalid_input(format!("invalid entry point {name:?}")).with_hint(
        "name a function of the code: letters, digits, '_' or '$', not starting with a digit",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(runtime: &str, code: Code) -> Deployable {
        let runtime = runtime.parse().unwrap();
        match code {
            Code::Archive(zip) => Deployable::from_archive("f", runtime, zip),
            Code::Source(source) => Deployable::from_source("f", runtime, source),
            _ => unreachable!(),
        }
    }

    #[test]
    fn a_byte_order_mark_before_source_text_is_dropped() {
        for (runtime, path) in
            [("python:3", "function/main__.py"), ("nodejs", "function/main__.cjs")]
        {
            let archive = wrap(&function(runtime, Code::Source("\u{feff}a = 1".into()))).unwrap();
            assert!(archive.require(path).unwrap().content.starts_with(b"a = 1"), "{runtime}");
        }
    }

    #[test]
    fn an_archive_without_its_main_file_says_which_is_missing() {
        let zip = Archive::new().with_file("other.txt", "").unwrap().to_zip().unwrap();
        for (runtime, missing) in [("python:3", "__main__.py"), ("nodejs:20", "index.js")] {
            let error = wrap(&function(runtime, Code::Archive(zip.clone()))).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            assert!(error.to_string().contains(missing), "{error}");
            assert!(error.to_string().contains("other.txt"), "{error}");
        }
    }

    #[test]
    fn a_file_of_the_users_never_meets_the_shim() {
        let zip = Archive::new()
            .with_file("__main__.py", "x")
            .and_then(|archive| archive.with_file("falco_shim.py", "y"))
            .and_then(|archive| archive.to_zip())
            .unwrap();
        let archive = wrap(&function("python:3", Code::Archive(zip))).unwrap();
        let paths: Vec<_> = archive.paths().collect();
        assert_eq!(paths, ["falco_shim.py", "function/falco_shim.py", "function/main__.py"]);
    }

    #[test]
    fn an_entry_point_that_cannot_be_called_is_refused() {
        for name in ["", "a b", "1a", "a.b", "x;y"] {
            let function = function("nodejs:20", Code::Source("x".into())).with_entry_point(name);
            assert_eq!(wrap(&function).unwrap_err().kind(), ErrorKind::InvalidInput, "{name}");
        }
        assert!(check_entry_point("_main$1").is_ok());
    }

    #[test]
    fn arguments_lie_beside_the_shim_and_beside_an_executable_with_an_entry_point() {
        let arguments = falco_core::Payload::from_bytes(r#"{"a":1}"#).unwrap();
        for runtime in ["python:3", "nodejs"] {
            let function = function(runtime, Code::Source("x".into()));
            assert!(!wrap(&function).unwrap().contains(ARGUMENTS));
            let archive = wrap(&function.with_arguments(arguments.clone())).unwrap();
            assert_eq!(&archive.require(ARGUMENTS).unwrap().content[..], br#"{"a":1}"#);
        }
        let zip = Archive::new().with_executable("exec", "x").unwrap().to_zip().unwrap();
        let executable = function("native", Code::Archive(zip)).with_arguments(arguments);
        assert_eq!(native(&executable).unwrap_err().kind(), ErrorKind::Unsupported);
        assert!(native(&executable.with_entry_point("f")).unwrap().contains(ARGUMENTS));
    }

    #[test]
    fn a_family_without_a_shim_is_refused_by_name() {
        let error = wrap(&function("ruby:3", Code::Source("x".into()))).unwrap_err();
        assert!(error.to_string().contains("ruby"), "{error}");
    }
}
