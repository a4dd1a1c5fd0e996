//! How functions are deployed.

use std::env::VarError;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use falco_core::{Deployable, Payload, Scaling};

use super::PackageFlags;
use super::values::{count, duration};

/// How functions are deployed.
#[derive(Debug, Args)]
pub struct FunctionFlags {
    /// Memory of the function, in MiB.
    #[arg(long, value_name = "MIB", value_parser = count::<NonZeroU32>, allow_negative_numbers = true, help_heading = "Function")]
    pub memory: Option<NonZeroU32>,

    /// How long the function may run, such as 30s.
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Function")]
    pub timeout: Option<Duration>,

    /// An environment variable of the function; without a value it has that of this process, so that a secret need not
    /// stand on the command line.
    #[arg(long, value_name = "NAME[=VALUE]", help_heading = "Function")]
    pub env: Vec<Variable>,

    /// The image that the function runs in, where the platform runs images (docker, openwhisk, aws), instead of the platform's
    /// own environment.
    #[arg(long, value_name = "REFERENCE", help_heading = "Function")]
    pub image: Option<String>,

    /// Arguments that are stored with the function, a JSON object, or @FILE: they lie beneath each input, and are sent once.
    #[arg(long, value_name = "JSON", help_heading = "Function")]
    pub arguments: Option<StoredArguments>,

    /// Leave the functions on the platform; `falco cleanup` removes them.
    #[arg(long, help_heading = "Function")]
    pub keep: bool,

    /// Use functions that another run has deployed with the same code and settings, and leave them for the next one.
    #[arg(long, help_heading = "Function")]
    pub reuse_deployed: bool,

    /// The third-party packages that travel with functions.
    #[command(flatten)]
    pub packages: PackageFlags,
}

impl FunctionFlags {
    /// A function out of source text, with the sizes that the command line names.
    ///
    /// # Errors
    ///
    /// When `runtime` is not a name of a runtime.
    pub fn deployable(
        &self,
        name: &str,
        runtime: &str,
        source: &str,
    ) -> falco_core::Result<Deployable> {
        Ok(self.set_up(Deployable::from_source(name, runtime.parse()?, source)))
    }

    /// A function with the sizes, the environment and the image that the command line names.
    pub fn set_up(&self, function: Deployable) -> Deployable {
        let mut function = function.with_scaling(self.scaling());
        if let Some(image) = &self.image {
            function = function.with_image(image.as_str());
        }
        if let Some(arguments) = &self.arguments {
            function = function.with_arguments(arguments.0.clone());
        }
        self.env
            .iter()
            .fold(function, |function, variable| function.with_env(&variable.name, &variable.value))
    }

    /// The flags that the command line names, for a command that deploys nothing and has to refuse them.
    pub fn named(&self) -> Vec<&'static str> {
        let Self { memory, timeout, env, image, arguments, keep, reuse_deployed, packages } = self;
        let flags = [
            ("--memory", memory.is_some()),
            ("--timeout", timeout.is_some()),
            ("--env", !env.is_empty()),
            ("--image", image.is_some()),
            ("--arguments", arguments.is_some()),
            ("--keep", *keep),
            ("--reuse-deployed", *reuse_deployed),
            ("--requirements", packages.requirements.is_some()),
            ("--package", packages.package.is_some()),
        ];
        flags.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name).collect()
    }

    /// The sizes that the command line names.
    pub fn scaling(&self) -> Scaling {
        Scaling::default()
            .with_memory_mib(self.memory.map(NonZeroU32::get))
            .with_timeout(self.timeout)
    }
}

/// Arguments that are stored with a function, as JSON or as `@FILE`.
#[derive(Clone, Debug)]
pub struct StoredArguments(Payload);

impl FromStr for StoredArguments {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let json = match text.strip_prefix('@') {
            Some(path) => {
                std::fs::read(path).map_err(|error| format!("cannot read {path}: {error}"))?
            }
            None => text.as_bytes().to_vec(),
        };
        let arguments = Payload::from_bytes(json).map_err(|error| error.to_string())?;
        match arguments.is_object() {
            true => Ok(Self(arguments)),
            false => Err("they have to be a JSON object, such as {\"limit\": 7}".to_owned()),
        }
    }
}

/// An environment variable of a function, as `NAME=VALUE`, or as `NAME` with the value that this process has. `Debug` shows
/// the name only.
#[derive(Clone)]
pub struct Variable {
    name: String,
    value: String,
}

impl fmt::Debug for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Variable({})", self.name)
    }
}

impl FromStr for Variable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((name, value)) = text.split_once('=') {
            return Ok(Self { name: name.to_owned(), value: value.to_owned() });
        }
        match std::env::var(text) {
            Ok(value) => Ok(Self { name: text.to_owned(), value }),
            Err(VarError::NotPresent) => {
                Err("this process has no variable of that name; use NAME=VALUE".to_owned())
            }
            Err(VarError::NotUnicode(_)) => {
                Err("the value of this process is not UTF-8".to_owned())
            }
        }
    }
}
