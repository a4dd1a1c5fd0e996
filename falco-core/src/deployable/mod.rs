//! A function as a user hands it to a platform: its code and its settings.

mod check;

use std::sync::Arc;

use bytes::Bytes;

use crate::code::Code;
use crate::environment::Environment;
use crate::folder::Folder;
use crate::image::Image;
use crate::ownership::Ownership;
use crate::payload::Payload;
use crate::runtime_name::RuntimeName;
use crate::scaling::Scaling;

/// A function, ready to be deployed on any platform that has its runtime.
///
/// The portable convention is OpenWhisk's: `main(args) -> result`, JSON object in, JSON object out; what it
/// prints is its log; raising is failing.
///
/// # Examples
///
/// ```
/// use falco_core::{Deployable, Scaling};
/// use std::time::Duration;
///
/// let hello = Deployable::from_source(
///     "hello",
///     "python:3".parse()?,
///     "def main(args):\n    return {'greeting': 'Hello ' + args['name'] + '!'}\n",
/// )
/// .with_scaling(Scaling::default().with_timeout(Duration::from_secs(10)))
/// .with_env("GREETING", "Hello");
/// hello.validate()?;
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Deployable {
    /// The function's name; letters, digits, `-` and `_`, and it starts with a letter.
    pub name: String,
    /// The runtime that the code is written for.
    pub runtime: RuntimeName,
    /// The function to call; `main` when none is named.
    pub entry_point: Option<String>,
    /// The code.
    pub code: Code,
    /// The image that the code runs in, instead of the platform's own environment; see [`with_image`](Self::with_image).
    pub image: Option<Image>,
    /// Folders of this machine that it works on; see [`with_folder`](Self::with_folder).
    pub folders: Vec<Folder>,
    /// The version of the code, where the user names one; see [`with_code_version`](Self::with_code_version).
    pub code_version: Option<String>,
    /// Memory, timeout and instances.
    pub scaling: Scaling,
    /// Environment variables.
    pub env: Environment,
    /// Arguments that belong to every invocation; see [`with_arguments`](Self::with_arguments).
    pub arguments: Option<Payload>,
    /// Whether layers leave the code as it is; see [`plain`](Self::plain).
    pub is_plain: bool,
    /// The run that it belongs to. The plan runner sets it; platforms store it as tags, labels or annotations.
    pub ownership: Option<Ownership>,
}

impl Deployable {
    /// The longest function name that every platform takes, in bytes.
    pub const MAX_NAME: usize = 63;

    /// A function out of source text of one module.
    pub fn from_source(
        name: impl Into<String>,
        runtime: RuntimeName,
        source: impl Into<Arc<str>>,
    ) -> Self {
        Self::new(name.into(), runtime, Code::Source(source.into()))
    }

    /// A Python 3 function out of source text of one module, which defines `main(args)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use falco_core::Deployable;
    ///
    /// let hello = Deployable::python("hello", "def main(args): return {'hello': args['name']}");
    /// assert_eq!(hello.runtime.to_string(), "python:3");
    /// ```
    pub fn python(name: impl Into<String>, source: impl Into<Arc<str>>) -> Self {
        Self::from_source(name, RuntimeName::python(), source)
    }

    /// A Node.js function out of source text of one CommonJS module, which defines `main(args)`.
    pub fn nodejs(name: impl Into<String>, source: impl Into<Arc<str>>) -> Self {
        Self::from_source(name, RuntimeName::nodejs(), source)
    }

    /// A function out of a zip archive: `__main__.py`, a node package, or an executable named `exec`.
    pub fn from_archive(
        name: impl Into<String>,
        runtime: RuntimeName,
        archive: impl Into<Bytes>,
    ) -> Self {
        Self::new(name.into(), runtime, Code::Archive(archive.into()))
    }

    /// A function that is a container image: its program answers requests, in the way that the platform expects. Layers
    /// leave it as it is, as with [`plain`](Self::plain).
    ///
    /// # Examples
    ///
    /// ```
    /// use falco_core::{Deployable, Image};
    ///
    /// let image = Image::new("123456789012.dkr.ecr.eu-central-1.amazonaws.com/science:1");
    /// let function = Deployable::from_image("science", image.with_arguments(["app.handler"]));
    /// assert!(function.is_plain);
    /// function.validate()?;
    /// # Ok::<(), falco_core::Error>(())
    /// ```
    pub fn from_image(name: impl Into<String>, image: impl Into<Image>) -> Self {
        Self::new(name.into(), RuntimeName::native(), Code::Image(image.into())).plain()
    }

    fn new(name: String, runtime: RuntimeName, code: Code) -> Self {
        Self {
            name,
            runtime,
            entry_point: None,
            code,
            image: None,
            folders: Vec::new(),
            code_version: None,
            scaling: Scaling::default(),
            env: Environment::default(),
            arguments: None,
            is_plain: false,
            ownership: None,
        }
    }

    /// Renames it, as the plan runner does to keep runs apart.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Calls `entry_point` instead of `main`.
    #[must_use]
    pub fn with_entry_point(mut self, entry_point: impl Into<String>) -> Self {
        self.entry_point = Some(entry_point.into());
        self
    }

    /// Runs the code in this image, which has the packages that it needs, instead of in the platform's own environment. A
    /// function whose code is an image gets this one instead. Platforms without images refuse it by
    /// [`refuse_image`](Self::refuse_image).
    ///
    /// # Examples
    ///
    /// ```
    /// use falco_core::Deployable;
    ///
    /// let source = "import numpy\ndef main(args): return {'sum': float(numpy.sum(args['numbers']))}";
    /// let function = Deployable::python("sum", source).with_image("registry.example.org/science:1");
    /// assert_eq!(function.any_image().unwrap().to_string(), "registry.example.org/science:1");
    /// ```
    #[must_use]
    pub fn with_image(mut self, image: impl Into<Image>) -> Self {
        match &mut self.code {
            Code::Image(own) => *own = image.into(),
            _ => self.image = Some(image.into()),
        }
        self
    }

    /// Shows the function a folder of this machine, where the platform runs it on this machine but away from its files. The
    /// layer of `falco-data` does so for stores that are folders.
    ///
    /// # Examples
    ///
    /// ```
    /// use falco_core::{Deployable, Folder};
    ///
    /// let source = "def main(args): return {'size': len(open(args['path'], 'rb').read())}";
    /// let function = Deployable::python("size", source).with_folder(Folder::read_only("/data/texts"));
    /// assert!(!function.folders[0].writable);
    /// ```
    #[must_use]
    pub fn with_folder(mut self, folder: Folder) -> Self {
        self.folders.push(folder);
        self
    }

    /// Names the version of the code, for results that depend on more than the code shows, such as on the value of an
    /// environment variable or on data that the function reads. A run that resumes takes functions of different
    /// versions for different functions.
    #[must_use]
    pub fn with_code_version(mut self, version: impl Into<String>) -> Self {
        self.code_version = Some(version.into());
        self
    }

    /// Leaves the code as it is: layers add no part to its archive, and hand on its arguments and results as they are. The
    /// function resolves references by itself.
    #[must_use]
    pub fn plain(mut self) -> Self {
        self.is_plain = true;
        self
    }

    /// Sets memory, timeout and instances.
    #[must_use]
    pub fn with_scaling(mut self, scaling: Scaling) -> Self {
        self.scaling = scaling;
        self
    }

    /// Adds an environment variable of the function. Its value is treated as a secret.
    #[must_use]
    pub fn with_env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.set(name, value);
        self
    }

    /// Stores arguments with the function, a JSON object: they lie beneath each payload at the top level, where the payload
    /// wins. They are sent once, with the code, and share its limit. They are not secret: use [`with_env`](Self::with_env)
    /// for what is.
    ///
    /// # Examples
    ///
    /// ```
    /// use falco_core::{Deployable, Payload};
    ///
    /// let source = "def main(args):\n    return {'y': args['a'] * args['x']}\n";
    /// let function = Deployable::python("scale", source).with_arguments(Payload::from_bytes(r#"{"a": 7}"#)?);
    /// function.validate()?;
    /// # Ok::<(), falco_core::Error>(())
    /// ```
    #[must_use]
    pub fn with_arguments(mut self, arguments: impl Into<Option<Payload>>) -> Self {
        self.arguments = arguments.into();
        self
    }

    /// Sets the owner, and the expiry after which `cleanup` may remove it.
    #[must_use]
    pub fn with_ownership(mut self, ownership: Ownership) -> Self {
        self.ownership = Some(ownership);
        self
    }

    /// The function that is called: `main`, unless another is named.
    pub fn entry_point_or_main(&self) -> &str {
        self.entry_point.as_deref().unwrap_or("main")
    }

    /// The image that the function is, or that its code runs in.
    pub fn any_image(&self) -> Option<&Image> {
        match &self.code {
            Code::Image(image) => Some(image),
            _ => self.image.as_ref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn python() -> RuntimeName {
        RuntimeName::python()
    }

    #[test]
    fn runtimes_without_parsing_are_those_that_parsing_gives() {
        for (name, text) in [
            (RuntimeName::python(), "python:3"),
            (RuntimeName::nodejs(), "nodejs"),
            (RuntimeName::native(), "native"),
        ] {
            assert_eq!(text.parse::<RuntimeName>().unwrap(), name);
        }
    }

    #[test]
    fn env_values_never_show_in_debug() {
        let function = Deployable::from_source("f", python(), "x").with_env("KEY", "marked-secret");
        let shown = format!("{function:?} {function:#?}");
        assert!(shown.contains("KEY") && !shown.contains("marked-secret"), "{shown}");
    }

    #[test]
    fn an_image_is_part_of_a_function_or_is_the_function() {
        let beside = Deployable::from_source("f", python(), "x").with_image("a:1");
        assert_eq!(beside.any_image(), Some(&Image::new("a:1")));
        assert!(matches!(beside.code, Code::Source(_)));
        let image = Deployable::from_image("f", "a:1").with_image("b:1");
        assert_eq!((image.any_image(), &image.image), (Some(&Image::new("b:1")), &None));
        assert_eq!(format!("{:?}", image.code), "Image(b:1)");
        for function in [beside.with_image("a b"), image.with_image("")] {
            let error = function.validate().unwrap_err();
            assert_eq!(
                (error.kind(), error.function()),
                (crate::ErrorKind::InvalidInput, Some("f"))
            );
        }
    }
}
