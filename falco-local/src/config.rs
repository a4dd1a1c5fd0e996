//! Where functions live on this machine, and how much they may use.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use falco_core::{Bounds, Error, Result};

const MIB: u64 = 1024 * 1024;

/// The memory that a function may be granted, in MiB.
pub(crate) const MEMORY_MIB: Bounds<u32> = Bounds { min: 16, max: 1024 * 1024 };

/// How long a function may be allowed to run.
pub(crate) const TIMEOUT: Bounds<Duration> =
    Bounds { min: Duration::from_millis(1), max: Duration::from_secs(24 * 60 * 60) };

/// The variables that workers inherit of the driver's environment, and no others.
const INHERITED: [&str; 4] = ["PATH", "HOME", "LANG", "TMPDIR"];

/// How functions run on this machine.
///
/// # Examples
///
/// ```
/// use falco_local::LocalConfig;
/// use std::time::Duration;
///
/// let config = LocalConfig::new("/tmp/falco")
///     .with_max_workers(4)
///     .with_idle_timeout(Duration::from_secs(10))
///     .with_max_log(1024 * 1024);
/// assert_eq!(config.max_workers, 4);
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct LocalConfig {
    /// Where deployments are kept: code, settings and, in a file of its own, the environment of each.
    pub directory: PathBuf,
    /// Worker processes of one deployment at most, unless its `max_instances` says otherwise.
    pub max_workers: u32,
    /// How long a worker stays warm without work.
    pub idle_timeout: Duration,
    /// How long a worker may take to start and to load the function's code.
    pub start_timeout: Duration,
    /// How long an activation may run, unless the function's settings say otherwise.
    pub timeout: Duration,
    /// Longest argument, in bytes.
    pub max_payload: u64,
    /// Longest result, in bytes.
    pub max_result: u64,
    /// Longest log of one activation, in bytes; the rest is thrown away and the log marked as truncated.
    pub max_log: u64,
    /// How much log is kept for `activation_log`, in bytes; the oldest goes first.
    pub retained_logs: u64,
    /// The workers' environment, before a deployment's own variables: PATH, HOME, LANG, and TMPDIR, in which each worker
    /// gets a directory of its own as its TMPDIR.
    pub environment: BTreeMap<String, OsString>,
}

impl LocalConfig {
    /// Deployments in `directory`, the defaults for the rest, and PATH, HOME, LANG and TMPDIR of this process.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        let inherited =
            INHERITED.iter().filter_map(|name| Some(((*name).into(), env::var_os(name)?)));
        let mut environment: BTreeMap<String, OsString> = inherited.collect();
        // Without a locale, Python and the tools that a function starts fall back to ASCII.
        environment.entry("LANG".into()).or_insert_with(|| "C.UTF-8".into());
        environment.entry("TMPDIR".into()).or_insert_with(|| env::temp_dir().into());
        Self {
            directory: directory.into(),
            max_workers: thread::available_parallelism()
                .map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
            idle_timeout: Duration::from_secs(60),
            start_timeout: Duration::from_secs(60),
            timeout: Duration::from_secs(60),
            max_payload: 64 * MIB,
            max_result: 64 * MIB,
            max_log: 10 * MIB,
            retained_logs: 64 * MIB,
            environment,
        }
    }

    /// Deployments in the directory that `FALCO_LOCAL_DIR` names, else in `falco/local` of the user's cache directory
    /// (`XDG_CACHE_HOME`, else `~/.cache`).
    ///
    /// # Errors
    ///
    /// `InvalidInput` when none of the variables is set.
    pub fn from_env() -> Result<Self> {
        directory(|name| env::var_os(name)).map(Self::new).ok_or_else(|| {
            Error::invalid_input("there is no directory for local deployments")
                .with_platform(crate::NAME)
                .with_hint("set FALCO_LOCAL_DIR or HOME")
        })
    }

    /// Sets how many worker processes one deployment may have.
    #[must_use]
    pub fn with_max_workers(mut self, workers: u32) -> Self {
        self.max_workers = workers;
        self
    }

    /// Sets how long a worker stays warm without work.
    #[must_use]
    pub fn with_idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Sets how long a worker may take to start and to load the function's code.
    #[must_use]
    pub fn with_start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }

    /// Sets how long an activation may run where the function's settings don't say.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the longest argument, in bytes.
    #[must_use]
    pub fn with_max_payload(mut self, bytes: u64) -> Self {
        self.max_payload = bytes;
        self
    }

    /// Sets the longest result, in bytes.
    #[must_use]
    pub fn with_max_result(mut self, bytes: u64) -> Self {
        self.max_result = bytes;
        self
    }

    /// Sets the longest log of one activation, in bytes.
    #[must_use]
    pub fn with_max_log(mut self, bytes: u64) -> Self {
        self.max_log = bytes;
        self
    }

    /// Sets how much log is kept, in bytes.
    #[must_use]
    pub fn with_retained_logs(mut self, bytes: u64) -> Self {
        self.retained_logs = bytes;
        self
    }

    /// Replaces PATH, where interpreters are looked for and which the workers see.
    #[must_use]
    pub fn with_path(mut self, path: impl Into<OsString>) -> Self {
        self.environment.insert("PATH".into(), path.into());
        self
    }

    pub(crate) fn validate(&self) -> Result<()> {
        let zero = [
            ("max_workers", self.max_workers == 0),
            ("timeout", self.timeout.is_zero()),
            ("start_timeout", self.start_timeout.is_zero()),
            ("max_payload", self.max_payload == 0),
            ("max_result", self.max_result == 0),
        ];
        match zero.iter().find(|(_, is_zero)| *is_zero) {
            Some((name, _)) => Err(Error::invalid_input(format!("{name} must not be zero"))),
            None => Ok(()),
        }
    }
}

fn directory(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("FALCO_LOCAL_DIR")
        .or_else(|| Some(set("XDG_CACHE_HOME")?.join("falco/local")))
        .or_else(|| Some(set("HOME")?.join(".cache/falco/local")))
}

impl fmt::Debug for LocalConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalConfig")
            .field("directory", &self.directory)
            .field("max_workers", &self.max_workers)
            .field("idle_timeout", &self.idle_timeout)
            .field("start_timeout", &self.start_timeout)
            .field("timeout", &self.timeout)
            .field("max_payload", &self.max_payload)
            .field("max_result", &self.max_result)
            .field("max_log", &self.max_log)
            .field("retained_logs", &self.retained_logs)
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
            assert_eq!(directory(variable), expected.map(PathBuf::from), "{variables:?}");
        }
    }

    #[test]
    fn debug_shows_which_variables_workers_inherit_and_not_their_values() {
        let shown = format!("{:?}", LocalConfig::new("/d").with_path("/marked"));
        assert!(shown.contains("PATH") && !shown.contains("/marked"), "{shown}");
    }
}
