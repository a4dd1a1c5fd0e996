//! The function that a command names: a file, a folder or an archive.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use falco_cli::flags::FunctionFlags;
use falco_core::{Deployable, RuntimeName};
use falco_package::{Archive, NATIVE_EXECUTABLE};

/// The longest name that leaves room for what platforms add.
const LONGEST_NAME: usize = 40;

/// The function that a command runs.
#[derive(Debug, Args)]
pub(crate) struct FunctionFile {
    /// The function: a file in Python or JavaScript that defines main(args), an executable, a folder or a zip archive;
    /// without one, the image of --image is the function.
    #[arg(short = 'f', long = "function", value_name = "FILE", required_unless_present = "image")]
    file: Option<PathBuf>,

    /// Its runtime, such as python:3.12 [default: by the file's name and content]
    #[arg(long, value_name = "NAME", help_heading = "Function")]
    runtime: Option<RuntimeName>,

    /// The function in the file that is called [default: main]
    #[arg(long, value_name = "NAME", help_heading = "Function")]
    entry_point: Option<String>,
}

impl FunctionFile {
    /// Reads the function, and sets it up as `flags` say.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or nothing says what language it is written in.
    pub(crate) fn load(&self, flags: &FunctionFlags) -> anyhow::Result<Deployable> {
        let function = match (&self.file, &flags.image) {
            (Some(file), _) => load(file, self.runtime.clone())?,
            (None, Some(image)) => Deployable::from_image(name_of_image(image), image.as_str()),
            (None, None) => bail!("name a function with --function, or an image with --image"),
        };
        let function = match &self.entry_point {
            Some(entry_point) => function.with_entry_point(entry_point),
            None => function,
        };
        Ok(flags.set_up(function))
    }
}

/// Reads a function from a file, a folder or a zip archive.
///
/// # Errors
///
/// When it cannot be read, or nothing says what language it is written in.
pub(crate) fn load(path: &Path, runtime: Option<RuntimeName>) -> anyhow::Result<Deployable> {
    let name = name_of(path);
    let shown = path.display();
    let metadata =
        fs::metadata(path).with_context(|| format!("cannot read the function {shown}"))?;
    if metadata.is_dir() {
        let archive = Archive::from_directory(path)?;
        let runtime = runtime.or_else(|| guess(&archive)).with_context(|| unknown(path))?;
        return Ok(Deployable::from_archive(name, runtime, archive.to_zip()?));
    }
    let read = || fs::read(path).with_context(|| format!("cannot read the function {shown}"));
    let source = |runtime: RuntimeName| {
        let text = String::from_utf8(read()?);
        let text = text.with_context(|| format!("the function {shown} is not text in UTF-8"))?;
        anyhow::Ok(Deployable::from_source(name.clone(), runtime, text))
    };
    match (extension(path).as_str(), runtime) {
        ("zip", runtime) => {
            let zip = read()?;
            let archive =
                Archive::from_zip(&zip).with_context(|| format!("cannot open {shown}"))?;
            let runtime = runtime.or_else(|| guess(&archive)).with_context(|| unknown(path))?;
            Ok(Deployable::from_archive(name, runtime, zip))
        }
        ("mjs", None) => bail!(
            "the function {shown} is an ES module, and a single file has to be CommonJS: name it .cjs and use \
             exports.main, or pass a folder with a package.json"
        ),
        ("py", None) => source(RuntimeName::python()),
        ("js" | "cjs", None) => source(RuntimeName::nodejs()),
        (_, Some(runtime)) if runtime.family() != RuntimeName::native().family() => source(runtime),
        (_, Some(native)) => {
            Ok(Deployable::from_archive(name, native, Archive::native(path)?.to_zip()?))
        }
        (_, None) => match Archive::native(path) {
            Ok(archive) => {
                Ok(Deployable::from_archive(name, RuntimeName::native(), archive.to_zip()?))
            }
            Err(_) => bail!(unknown(path)),
        },
    }
}

fn extension(path: &Path) -> String {
    path.extension().map(|it| it.to_string_lossy().to_lowercase()).unwrap_or_default()
}

fn unknown(path: &Path) -> String {
    format!(
        "cannot see what language the function {} is written in: name it .py or .js, or pass --runtime, such as \
         python:3, nodejs or native",
        path.display()
    )
}

/// The runtime of an archive, by the file that it starts with.
fn guess(archive: &Archive) -> Option<RuntimeName> {
    let first = [
        ("__main__.py", RuntimeName::python()),
        ("package.json", RuntimeName::nodejs()),
        ("index.js", RuntimeName::nodejs()),
        (NATIVE_EXECUTABLE, RuntimeName::native()),
    ];
    first.into_iter().find_map(|(file, runtime)| archive.get(file).map(|_| runtime))
}

/// A name for the function that every platform takes, after its file.
fn name_of(path: &Path) -> String {
    let stem = path.canonicalize().ok();
    let stem = stem.as_deref().unwrap_or(path).file_stem();
    portable(&stem.map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default())
}

/// A name for the function that is an image, after the image's: `science` for `ghcr.io/me/science:1`.
fn name_of_image(reference: &str) -> String {
    let name = reference.split('@').next().unwrap_or(reference);
    let name = name.rsplit('/').next().unwrap_or(name);
    portable(name.split(':').next().unwrap_or(name))
}

fn portable(stem: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' };
    let name: String = stem.chars().map(plain).take(LONGEST_NAME).collect();
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) { name } else { format!("f{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_that_is_an_image_has_the_name_of_the_image() {
        for (reference, name) in [
            ("ghcr.io/me/science:1", "science"),
            ("localhost:5000/a.b@sha256:01", "a-b"),
            ("7zip", "f7zip"),
        ] {
            assert_eq!(name_of_image(reference), name);
        }
    }

    fn runtime_of(name: &str, content: &[u8]) -> anyhow::Result<String> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join(name);
        fs::write(&path, content)?;
        Ok(load(&path, None)?.runtime.to_string())
    }

    #[test]
    fn the_runtime_follows_from_name_or_content() {
        let zip = Archive::new().with_file("__main__.py", "x").unwrap().to_zip().unwrap();
        for (name, content, runtime) in [
            ("a.py", &b"def main(args): pass"[..], "python:3"),
            ("a.JS", b"exports.main = x", "nodejs"),
            ("a", b"#!/bin/sh\n", "native"),
            ("a.sh", b"#!/bin/sh\n", "native"),
            ("a.zip", &zip, "python:3"),
        ] {
            assert_eq!(runtime_of(name, content).unwrap(), runtime, "{name}");
        }
        for (name, words) in [("a.txt", "--runtime"), ("a.mjs", "CommonJS")] {
            let error = runtime_of(name, b"hello").unwrap_err().to_string();
            assert!(error.contains(words) && error.contains(name), "{error}");
        }
    }

    #[test]
    fn every_platform_takes_the_names() {
        for (file, name) in
            [("a.py", "a"), ("1st try.py", "f1st-try"), ("ä.py", "f-"), (".py", "f-py")]
        {
            assert_eq!(name_of(Path::new(file)), name);
        }
    }
}
