//! The executable that holds the functions, packed once.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use falco_core::{Deployable, Error, Result, RuntimeName};
use falco_executors::typed::Function;
use falco_package::Archive;

use super::build::Build;
use crate::registered::Registered;

/// The path by which a program reads itself, also when cargo has replaced the file since it was started.
const OWN: &str = "/proc/self/exe";

/// The file that Lambda starts, where an archive brings it along. Other platforms ignore it.
const BOOTSTRAP: &str = "bootstrap";

/// Starts the executable, which speaks the Runtime API itself, for the function that the handler names.
const START_ON_LAMBDA: &str = "#!/bin/sh\n\
                               FALCO_FUNCTION=${_HANDLER#bootstrap/}\n\
                               export FALCO_FUNCTION\n\
                               exec \"$LAMBDA_TASK_ROOT/exec\"\n";

/// An executable with registered functions, as platforms take it. A clone is a pointer; the archive is made once.
///
/// The archive is the executable itself: whatever is compiled in, by `env!` or `include_str!`, is uploaded with it.
/// Pass secrets with [`Function::with_env`].
///
/// # Examples
///
/// ```
/// use falco_function::{Executable, Functions};
///
/// let mut functions = Functions::new();
/// let answer = functions.add("answer", |(): ()| Ok::<_, String>(42));
/// let program = Executable::current()?;
/// let function = program.function(&answer)?;
/// assert_eq!(function.deployable().entry_point_or_main(), "answer");
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Executable {
    source: Arc<Source>,
}

struct Source {
    /// `None` where functions run inside the driver, and nothing is packed.
    path: Option<PathBuf>,
    packed: OnceLock<Result<Bytes>>,
}

impl Executable {
    /// The running program itself.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when it cannot be read, as on systems without `/proc`.
    pub fn current() -> Result<Self> {
        Self::at(OWN)
    }

    /// The executable at `path`, such as a binary of its own that was built for another machine.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when there is no file that can be read.
    pub fn at(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let readable = fs::File::open(path).and_then(|file| file.metadata());
        let is_file = readable.map_err(|e| {
            Error::invalid_input(format!("cannot read the executable {}", path.display()))
                .with_source(&e)
        })?;
        if !is_file.is_file() {
            return Err(Error::invalid_input(format!("{} is not a file", path.display()))
                .with_hint("name the executable itself, such as target/release/my-program"));
        }
        Ok(Self::new(Some(path.to_owned())))
    }

    /// Builds the executable with cargo; see [`Build`].
    ///
    /// # Errors
    ///
    /// `InvalidInput` when cargo fails, with the end of what it printed.
    pub fn build(build: &Build) -> Result<Self> {
        Self::at(build.run()?)
    }

    /// No executable: for [`InProcess`](crate::InProcess), where functions run inside the driver.
    pub fn none() -> Self {
        Self::new(None)
    }

    fn new(path: Option<PathBuf>) -> Self {
        Self { source: Arc::new(Source { path, packed: OnceLock::new() }) }
    }

    /// The registered function as a stage takes it, with this executable as its code.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a file that is not an executable.
    pub fn function<A, R>(&self, registered: &Registered<A, R>) -> Result<Function<A, R>> {
        let name = registered.name();
        let archive = self.packed().map_err(|error| error.with_function(name))?;
        let deployable = Deployable::from_archive(name, native()?, archive);
        Ok(Function::new(deployable.with_entry_point(name)))
    }

    fn packed(&self) -> Result<Bytes> {
        let Some(path) = &self.source.path else {
            return Ok(Bytes::from_static(b"runs inside the driver"));
        };
        let pack = || {
            let bootstrap = Archive::new().with_executable(BOOTSTRAP, START_ON_LAMBDA)?;
            Archive::zip_native(path, &bootstrap)
        };
        self.source.packed.get_or_init(pack).clone()
    }
}

fn native() -> Result<RuntimeName> {
    "native".parse()
}

impl fmt::Debug for Executable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executable").field("path", &self.source.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Functions;

    #[test]
    fn functions_of_one_executable_share_its_archive() {
        let mut functions = Functions::new();
        let one = functions.add("one", |(): ()| Ok::<_, String>(1));
        let two = functions.add("two", |(): ()| Ok::<_, String>(2));
        let program = Executable::current().unwrap();
        let code = |function: &Deployable| match &function.code {
            falco_core::Code::Archive(zip) => zip.as_ptr(),
            _ => panic!("not an archive"),
        };
        let (one, two) = (program.function(&one).unwrap(), program.function(&two).unwrap());
        assert_eq!(code(one.deployable()), code(two.deployable()));
        assert_eq!(two.deployable().entry_point_or_main(), "two");
        one.deployable().validate().unwrap();
    }

    #[test]
    fn a_file_that_is_not_there_or_not_an_executable_is_named() {
        assert!(
            Executable::at("/no/such/program")
                .unwrap_err()
                .to_string()
                .contains("/no/such/program")
        );
        assert!(Executable::at("/").unwrap_err().to_string().contains("/ is not a file"));
        let mut functions = Functions::new();
        let one = functions.add("one", |(): ()| Ok::<_, String>(1));
        let error = Executable::at("Cargo.toml").unwrap().function(&one).unwrap_err();
        assert!(error.to_string().contains("Cargo.toml"), "{error}");
    }
}
