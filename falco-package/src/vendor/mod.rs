//! Third-party packages that travel with a function, installed by the user's own pip or npm.

mod cache;
mod npm;
mod pip;
mod size;
mod tool;

use std::fs;
use std::path::{Path, PathBuf};

use falco_core::{Code, Deployable, Error, Result, RuntimeName};

use crate::archive::Archive;
use crate::requirements::Machine;
use crate::shim::exported;

pub use size::check_size;

/// The runtime and the machine that packages are installed for: a version of the language and a kind of processor.
///
/// # Examples
///
/// ```
/// use falco_package::{Machine, PackageTarget};
///
/// let lambda = PackageTarget::new("python:3.13".parse()?, Machine::X86_64).with_max_code(50 * 1024 * 1024);
/// let here = PackageTarget::this_machine("python:3".parse()?);
/// # let _ = (lambda, here);
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PackageTarget {
    /// The runtime, with its version.
    pub runtime: RuntimeName,
    /// The machine of the platform; none for this one, whose own interpreter chooses the packages.
    pub machine: Option<Machine>,
    /// The longest code that the platform takes, in bytes as uploaded.
    pub max_code: Option<u64>,
}

impl PackageTarget {
    /// Functions of `runtime` on `machine`, under Linux with glibc 2.28 or newer. For Python the runtime has to say its
    /// version, such as `python:3.13`: packages are built for one.
    pub fn new(runtime: RuntimeName, machine: Machine) -> Self {
        Self { runtime, machine: Some(machine), max_code: None }
    }

    /// Functions of `runtime` on this machine.
    pub fn this_machine(runtime: RuntimeName) -> Self {
        Self { runtime, machine: None, max_code: None }
    }

    /// Refuses code that is longer, and names the largest packages then.
    #[must_use]
    pub fn with_max_code(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.max_code = bytes.into();
        self
    }
}

/// Packages for a [`Deployable`].
///
/// Both methods start `pip` or `npm` and wait for it: in asynchronous code call them by `spawn_blocking`. What was
/// installed is kept in `$XDG_CACHE_HOME/falco/packages` (else `~/.cache/falco/packages`) under a hash of the requirements
/// and the target, so that the next call installs nothing.
///
/// # Examples
///
/// ```no_run
/// use falco_core::Deployable;
/// use falco_package::{Machine, PackageTarget, WithPackages};
///
/// let target = PackageTarget::new("python:3.13".parse()?, Machine::X86_64);
/// let fit = Deployable::python("fit", "import numpy\n\ndef main(args): return {}")
///     .with_requirements("requirements.txt", &target)?;
/// # Ok::<(), falco_core::Error>(())
/// ```
pub trait WithPackages: Sized {
    /// Adds what a file of requirements names, in pip's format. The function's runtime becomes that of the target.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a function that is not in Python, a file that cannot be read, and for whatever pip refuses, with
    /// its words; `NotFound` without pip; `PayloadTooLarge` for code over the limit, with the largest packages.
    fn with_requirements(self, file: impl AsRef<Path>, target: &PackageTarget) -> Result<Self>;

    /// Adds the files of a folder, and what its `requirements.txt` or the dependencies in its `package.json` name.
    ///
    /// # Errors
    ///
    /// As [`with_requirements`](Self::with_requirements); `Conflict` for a file that the function has already.
    fn with_package(self, folder: impl AsRef<Path>, target: &PackageTarget) -> Result<Self>;
}

impl WithPackages for Deployable {
    fn with_requirements(self, file: impl AsRef<Path>, target: &PackageTarget) -> Result<Self> {
        let file = file.as_ref();
        if target.runtime.family() != "python" || self.runtime.family() != "python" {
            let message = format!("{} lists packages for Python", file.display());
            return Err(Error::invalid_input(message)
                .with_function(&self.name)
                .with_hint("the packages of a Node.js function stand in its package.json"));
        }
        let archive = code_of(&self)?;
        let installed = pip::install(file, target)?;
        finish(self, archive.with_directory(installed)?, target)
    }

    fn with_package(self, folder: impl AsRef<Path>, target: &PackageTarget) -> Result<Self> {
        let folder = folder.as_ref();
        let mut archive = code_of(&self)?;
        let requirements = folder.join("requirements.txt");
        if self.runtime.family() == "python" && requirements.is_file() {
            archive = archive.with_directory(pip::install(&requirements, target)?)?;
        }
        let manifest = folder.join("package.json");
        if self.runtime.family() == "nodejs" && manifest.is_file() {
            archive = archive.with_directory(npm::install(folder, target)?)?;
        }
        let mut own = Archive::from_directory(folder)?;
        // The configuration of npm may hold a password for its registry.
        for left_out in ["package.json", "package-lock.json", "requirements.txt", ".npmrc"] {
            own.remove(left_out);
        }
        let paths: Vec<String> = own.paths().map(str::to_owned).collect();
        for path in paths.iter().filter(|path| !path.starts_with("node_modules/")) {
            if let Some(file) = own.remove(path) {
                archive.insert(path, file)?;
            }
        }
        finish(self, archive, target)
    }
}

/// The function's own files, as an archive to which packages can be added.
fn code_of(function: &Deployable) -> Result<Archive> {
    let main = match function.runtime.family() {
        "python" => "__main__.py",
        "nodejs" => "index.js",
        other => {
            let message = format!("functions of the runtime {other:?} have no packages");
            return Err(Error::unsupported(message)
                .with_function(&function.name)
                .with_hint("build what an executable needs into it"));
        }
    };
    match &function.code {
        Code::Source(source) if main == "index.js" => {
            Archive::new().with_file(main, exported(source, function.entry_point_or_main()))
        }
        code => Archive::from_code(code, main),
    }
}

fn finish(
    mut function: Deployable,
    archive: Archive,
    target: &PackageTarget,
) -> Result<Deployable> {
    let zip = archive.to_zip()?;
    if let Some(limit) = target.max_code {
        check_size(&archive, zip.len() as u64, limit)
            .map_err(|e| e.with_function(&function.name))?;
    }
    function.code = Code::Archive(zip);
    function.runtime = target.runtime.clone();
    Ok(function)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| {
        Error::invalid_input(format!("cannot read {}", path.display())).with_source(&error)
    })
}

/// The folder that holds what was installed.
fn cache_folder() -> Result<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = variable("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(variable("HOME")?).join(".cache")));
    let cache = cache.ok_or_else(|| {
        Error::invalid_input(
            "there is no place for packages: neither XDG_CACHE_HOME nor HOME is set",
        )
    })?;
    Ok(cache.join("falco/packages"))
}
