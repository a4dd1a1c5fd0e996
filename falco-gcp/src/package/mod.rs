//! A function's code as Google builds it: sources for its Functions Framework, whose handler calls `main(args)`.
//!
//! | in the archive | what |
//! |---|---|
//! | `main.py`, `falco_pool.py`, `requirements.txt` | the handler of Python and native functions |
//! | `index.js`, `package.json` | the handler of Node functions |
//! | `falco_shim.py`, `falco_shim.cjs` | the shim, which a warm process runs to call the user's function |
//! | `falco.json` | what the handler has to call |
//! | `function/` | the user's files |

use std::time::Duration;

use falco_core::{Deployable, Error, Result};
use falco_package::{Archive, Glibc, Machine, System, shim};
use serde_json::{Map, Value, json};

const PYTHON_HANDLER: &str = include_str!("main.py");
const PYTHON_POOL: &str = include_str!("falco_pool.py");
const NODE_HANDLER: &str = include_str!("index.js");

/// The target that the framework calls, in every shim.
pub(crate) const TARGET: &str = "handler";

/// The function's files, and those of its handler; equal functions give equal files. `start` is how long loading may take.
///
/// # Errors
///
/// `InvalidInput` or `NotFound` when the code is not what its runtime starts with; `Unsupported` for other families.
pub(crate) fn archive(function: &Deployable, start: Duration) -> Result<Archive> {
    match function.runtime.family() {
        "python" => python(function, start),
        "nodejs" => node(function, start),
        "native" => native(function, start),
        family => Err(Error::unsupported(format!("there is no runtime of the family {family:?}"))),
    }
}

/// A hash of all that a deployment of a function with these settings is made of.
pub(crate) fn content_hash(function: &Deployable, settings: &str) -> String {
    let own = [PYTHON_HANDLER, PYTHON_POOL, NODE_HANDLER, settings];
    shim::content_hash(function, &own)
}

fn python(function: &Deployable, start: Duration) -> Result<Archive> {
    let mut archive = shim::wrap(function)?;
    // Google installs what stands at the root only.
    let requirements = archive.remove(&user_file("requirements.txt")).map(|file| file.content);
    archive
        .with_file("main.py", PYTHON_HANDLER)?
        .with_file("falco_pool.py", PYTHON_POOL)?
        .with_file("requirements.txt", requirements_with_framework(requirements.as_deref()))?
        .with_file("falco.json", manifest("python", Some(function.entry_point_or_main()), start))
}

fn native(function: &Deployable, start: Duration) -> Result<Archive> {
    let user = shim::native(function)?;
    let google = System::new("Google's Python runtime", Machine::X86_64, Glibc(2, 35));
    user.check_native_on(&google)?;
    let mut archive = Archive::new();
    for (path, file) in user.files() {
        archive.insert(user_file(path), file.clone())?;
    }
    archive
        .with_file("main.py", PYTHON_HANDLER)?
        .with_file("falco_pool.py", PYTHON_POOL)?
        .with_file("requirements.txt", requirements_with_framework(None))?
        .with_file("falco.json", manifest("native", function.entry_point.as_deref(), start))
}

fn node(function: &Deployable, start: Duration) -> Result<Archive> {
    let archive = shim::wrap(function)?;
    let package =
        node_package(archive.get(&user_file("package.json")).map(|file| file.content.as_ref()))?;
    archive
        .with_file("index.js", NODE_HANDLER)?
        .with_file("package.json", package)?
        .with_file("falco.json", manifest("nodejs", Some(function.entry_point_or_main()), start))
}

/// Where a file of the user's is, out of the way of the handler's.
fn user_file(path: &str) -> String {
    format!("{}/{path}", shim::FUNCTION)
}

fn manifest(kind: &str, entry: Option<&str>, start: Duration) -> String {
    format!("{}\n", json!({"kind": kind, "entry": entry, "start": start.as_secs()}))
}

fn requirements_with_framework(user: Option<&[u8]>) -> String {
    let user = String::from_utf8_lossy(user.unwrap_or_default());
    let mut requirements = user.trim_end().to_owned();
    let names_framework =
        user.lines().any(|line| line.trim_start().starts_with("functions-framework"));
    if !names_framework {
        if !requirements.is_empty() {
            requirements.push('\n');
        }
        requirements.push_str("functions-framework==3.*");
    }
    requirements.push('\n');
    requirements
}

/// The package at the root, with the dependencies of the user's own: modules in `function/` find them there.
fn node_package(user: Option<&[u8]>) -> Result<String> {
    let mut dependencies = Map::new();
    if let Some(json) = user {
        let user: Value = serde_json::from_slice(json)
            .map_err(|e| Error::invalid_input("package.json is not valid JSON").with_source(&e))?;
        if let Some(theirs) = user["dependencies"].as_object() {
            dependencies.clone_from(theirs);
        }
    }
    dependencies.entry("@google-cloud/functions-framework").or_insert_with(|| json!("^5.0.0"));
    let package = json!({
        "name": "falco-function",
        "version": "1.0.0",
        "private": true,
        "main": "index.js",
        "dependencies": dependencies,
    });
    Ok(format!("{package}\n"))
}

#[cfg(test)]
mod tests {
    use falco_core::Code;

    use super::*;

    /// The function's zip file.
    fn zip(function: &Deployable) -> Result<bytes::Bytes> {
        archive(function, Duration::from_secs(25))?.to_zip()
    }

    fn function(runtime: &str, code: Code) -> Deployable {
        match code {
            Code::Source(source) => Deployable::from_source("f", runtime.parse().unwrap(), source),
            Code::Archive(zip) => Deployable::from_archive("f", runtime.parse().unwrap(), zip),
            _ => unreachable!(),
        }
    }

    fn text(archive: &Archive, path: &str) -> String {
        String::from_utf8(archive.require(path).unwrap().content.to_vec()).unwrap()
    }

    #[test]
    fn what_a_users_package_depends_on_is_installed_with_the_framework() {
        let user = Archive::new()
            .with_file("__main__.py", "x")
            .and_then(|a| a.with_file("requirements.txt", "numpy==2.*\n"))
            .and_then(|a| a.to_zip())
            .unwrap();
        let archive =
            Archive::from_zip(&zip(&function("python:3", Code::Archive(user))).unwrap()).unwrap();
        assert_eq!(text(&archive, "requirements.txt"), "numpy==2.*\nfunctions-framework==3.*\n");

        let user = Archive::new()
            .with_file("main.js", "x")
            .and_then(|a| {
                a.with_file("package.json", r#"{"main":"main.js","dependencies":{"left-pad":"1"}}"#)
            })
            .and_then(|a| a.to_zip())
            .unwrap();
        let archive =
            Archive::from_zip(&zip(&function("nodejs:22", Code::Archive(user))).unwrap()).unwrap();
        let package: Value = serde_json::from_str(&text(&archive, "package.json")).unwrap();
        assert_eq!(package["dependencies"]["left-pad"], "1");
        assert_eq!(package["dependencies"]["@google-cloud/functions-framework"], "^5.0.0");
        assert_eq!(package["main"], "index.js", "the handler comes first");
    }

    #[test]
    fn equal_functions_give_equal_bytes() {
        let make =
            || zip(&function("python:3", Code::Source("def main(a): return a".into()))).unwrap();
        assert_eq!(make(), make());
    }

    #[test]
    fn code_that_its_runtime_cannot_start_is_refused_by_name() {
        let without_main = Archive::new().with_file("x.py", "x").unwrap().to_zip().unwrap();
        for (runtime, code, word) in [
            ("python:3", Code::Archive(without_main.clone()), "__main__.py"),
            ("nodejs:22", Code::Archive(without_main.clone()), "index.js"),
            ("native", Code::Archive(without_main), "exec"),
            ("native", Code::Source("x".into()), "exec"),
            ("ruby:3", Code::Source("x".into()), "ruby"),
        ] {
            let error = zip(&function(runtime, code)).unwrap_err();
            assert!(error.to_string().contains(word), "{runtime}: {error}");
        }
        let hostile = function("nodejs:22", Code::Source("x".into())).with_entry_point("a;b");
        assert!(zip(&hostile).unwrap_err().to_string().contains("a;b"));
    }
}
