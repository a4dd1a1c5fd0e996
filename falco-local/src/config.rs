//! Where functions live on this machine, and how much they may use.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use falco_core::{Error, Result};
use falco_workers::WorkerLimits;

use crate::forked_workers::ForkedWorkers;

/// The variables that workers inherit of the driver's environment, and no others.
const INHERITED: [&str; 4] = ["PATH", "HOME", "LANG", "TMPDIR"];

/// The variable that says how the workers of Python functions start.
const FORKED_WORKERS: &str = "FALCO_LOCAL_FORKED_WORKERS";

/// How functions run on this machine.
///
/// # Examples
///
/// ```
/// use falco_local::{LocalConfig, WorkerLimits};
///
/// let config = LocalConfig::builder()
///     .directory("/tmp/falco")
///     .workers(WorkerLimits::default().with_max_workers(4))
///     .build()?;
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone)]
pub struct LocalConfig {
    pub(crate) directory: PathBuf,
    pub(crate) workers: WorkerLimits,
    pub(crate) environment: BTreeMap<String, OsString>,
    pub(crate) forked_workers: ForkedWorkers,
}

impl LocalConfig {
    /// A configuration that is set step by step.
    pub fn builder() -> LocalConfigBuilder {
        LocalConfigBuilder {
            directory: None,
            workers: WorkerLimits::default(),
            environment: BTreeMap::new(),
            forked_workers: None,
        }
    }

    /// The environment's values for everything: see [`LocalConfigBuilder::build_with_env`].
    ///
    /// # Errors
    ///
    /// As [`LocalConfigBuilder::build`].
    pub fn from_env() -> Result<Self> {
        Self::builder().build_with_env()
    }
}

/// Sets a [`LocalConfig`] step by step.
#[derive(Clone)]
pub struct LocalConfigBuilder {
    directory: Option<PathBuf>,
    workers: WorkerLimits,
    environment: BTreeMap<String, OsString>,
    forked_workers: Option<ForkedWorkers>,
}

impl LocalConfigBuilder {
    /// Keeps deployments in this directory: code, settings and, in a file of its own, the environment of each.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Sets how many workers there are, how long they live, and how much a call may take.
    #[must_use]
    pub fn workers(mut self, workers: WorkerLimits) -> Self {
        self.workers = workers;
        self
    }

    /// Sets a variable of the workers' environment, which a deployment's own variables override. Without it workers have
    /// PATH, HOME, LANG and TMPDIR of this process. Interpreters are looked for in PATH; each worker gets a directory of its
    /// own in TMPDIR as its TMPDIR.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<OsString>) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// Sets how the workers of Python functions start.
    #[must_use]
    pub fn forked_workers(mut self, forked_workers: ForkedWorkers) -> Self {
        self.forked_workers = Some(forked_workers);
        self
    }

    /// Checks the values.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when no directory is set, and for a limit of zero.
    pub fn build(self) -> Result<LocalConfig> {
        let Self { directory, workers, environment: set, forked_workers } = self;
        let forked_workers = forked_workers.unwrap_or_default();
        let at = |error: Error| error.with_platform(crate::NAME);
        let directory = directory.ok_or_else(|| {
            at(Error::invalid_input("no directory for local deployments is set"))
                .with_hint("set LocalConfigBuilder::directory, or FALCO_LOCAL_DIR or HOME")
        })?;
        workers.validate().map_err(at)?;
        let mut environment = environment();
        environment.extend(set);
        Ok(LocalConfig { directory, workers, environment, forked_workers })
    }

    /// As [`build`](Self::build); where no directory is set, it is the one that `FALCO_LOCAL_DIR` names, else `falco/local`
    /// of the user's cache directory (`XDG_CACHE_HOME`, else `~/.cache`). Where [`forked_workers`](Self::forked_workers) is not
    /// set, it is the value of `FALCO_LOCAL_FORKED_WORKERS`: `auto`, `always` or `never`.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build); `InvalidInput` for a variable of another value.
    pub fn build_with_env(self) -> Result<LocalConfig> {
        self.build_with(&|name| env::var_os(name))
    }

    /// As [`build_with_env`](Self::build_with_env), with variables from elsewhere.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    pub fn build_with(
        mut self,
        variable: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<LocalConfig> {
        self.directory = self.directory.or_else(|| directory(variable));
        let named = variable(FORKED_WORKERS).filter(|value| !value.is_empty());
        if let (None, Some(value)) = (self.forked_workers, named) {
            let choice = value.to_string_lossy().parse::<ForkedWorkers>();
            let hint = format!("the variable {FORKED_WORKERS} says so");
            let at = |error: Error| error.with_platform(crate::NAME).with_hint(hint);
            self.forked_workers = Some(choice.map_err(at)?);
        }
        self.build()
    }
}

/// The variables that workers have of this process.
fn environment() -> BTreeMap<String, OsString> {
    let inherited = INHERITED.iter().filter_map(|name| Some(((*name).into(), env::var_os(name)?)));
    let mut environment: BTreeMap<String, OsString> = inherited.collect();
    // Without a locale, Python and the tools that a function starts fall back to ASCII.
    environment.entry("LANG".into()).or_insert_with(|| "C.UTF-8".into());
    environment.entry("TMPDIR".into()).or_insert_with(|| env::temp_dir().into());
    environment
}

fn directory(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("FALCO_LOCAL_DIR")
        .or_else(|| Some(set("XDG_CACHE_HOME")?.join("falco/local")))
        .or_else(|| Some(set("HOME")?.join(".cache/falco/local")))
}

impl fmt::Debug for LocalConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalConfig")
            .field("directory", &self.directory)
            .field("workers", &self.workers)
            .field("environment", &self.environment.keys())
            .field("forked_workers", &self.forked_workers)
            .finish()
    }
}

impl fmt::Debug for LocalConfigBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalConfigBuilder")
            .field("directory", &self.directory)
            .field("workers", &self.workers)
            .field("environment", &self.environment.keys())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_the_users_choice_and_else_in_the_cache() {
        for (variables, expected) in [
            (&[("FALCO_LOCAL_DIR", "/a"), ("XDG_CACHE_HOME", "/b")][..], Some("/a")),
            (
                &[("FALCO_LOCAL_DIR", ""), ("XDG_CACHE_HOME", "/b"), ("HOME", "/c")],
                Some("/b/falco/local"),
            ),
            (&[("HOME", "/c")], Some("/c/.cache/falco/local")),
            (&[("HOME", "")], None),
        ] {
            let variable = |wanted: &str| {
                let found = variables.iter().find(|(name, _)| *name == wanted);
                found.map(|(_, value)| OsString::from(value))
            };
            let config = LocalConfig::builder().build_with(&variable).ok();
            let found = config.map(|config| config.directory);
            assert_eq!(found, expected.map(PathBuf::from), "{variables:?}");
        }
    }

    #[test]
    fn debug_shows_which_variables_workers_inherit_and_not_their_values() {
        let builder = LocalConfig::builder().directory("/d").env("PATH", "/marked");
        for shown in [format!("{builder:?}"), format!("{:?}", builder.clone().build().unwrap())] {
            assert!(shown.contains("PATH") && !shown.contains("/marked"), "{shown}");
        }
    }
}
