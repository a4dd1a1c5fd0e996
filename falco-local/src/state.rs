//! Deployments on disk, so that another process finds them.
//!
//! ```text
//! drivers/ID                     locked as long as the platform of that id lives
//! deployments/NAME/record.json   what is deployed, without secrets
//! deployments/NAME/env.json      the function's environment, for its owner's eyes only (mode 0600)
//! deployments/NAME/VERSION/      shim and code
//! ```
//!
//! The next platform also removes what has expired and whose platform is gone, kept or not.
//!
//! A platform that is dropped removes its file from `drivers`: what it has not removed is kept on purpose. The lock
//! of one that was killed goes with its process, the file stays, and the next platform removes what it had deployed.

mod unpacked;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use falco_core::{Deployment, Environment, Error, ErrorKind, Ownership, Result};
use falco_package::shim;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::package::Package;
use crate::tree;

const RECORD: &str = "record.json";
const ENV: &str = "env.json";

/// The beginning of the ids of platforms, and of the activations of each.
const DRIVER_PREFIX: &str = "local-";

/// The stored record of a deployment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) deployment: Deployment,
    pub(crate) entry_point: Option<String>,
    pub(crate) version: String,
    /// The platform that deployed it.
    pub(crate) driver: String,
}

/// The state directory, as one platform sees it.
#[derive(Debug)]
pub(crate) struct State {
    drivers: PathBuf,
    deployments: PathBuf,
    driver: String,
    /// The version of the native function that was stored last, and its directory: an executable with several functions is
    /// unpacked for the first of them, and linked for the others.
    last: Mutex<Option<(String, PathBuf)>>,
    /// Holds the lock.
    _lock: File,
}

impl State {
    /// Opens a state directory, which is made when it is not there, and removes what dead drivers have left in it.
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        let failed = |error: io::Error| unusable(directory, &error);
        // Workers run in a directory of their own, from which a relative path would lead elsewhere.
        let directory = &std::path::absolute(directory).map_err(failed)?;
        let (drivers, deployments) = (directory.join("drivers"), directory.join("deployments"));
        for directory in [&drivers, &deployments] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        }
        let driver = format!("{DRIVER_PREFIX}{:x}-{:08x}", std::process::id(), fastrand::u32(..));
        let lock = lock_new(&drivers, &driver).map_err(failed)?;
        let state = Self { drivers, deployments, driver, last: Mutex::default(), _lock: lock };
        state.sweep();
        state.sweep_expired(SystemTime::now());
        state.sweep_rubbish();
        Ok(state)
    }

    /// The id of this platform, unique on this machine.
    pub(crate) fn driver(&self) -> &str {
        &self.driver
    }

    /// Whether an activation is one of another platform, which is gone.
    pub(crate) fn is_of_dead_driver(&self, activation: &str) -> bool {
        let Some((driver, _)) = activation.rsplit_once('-') else { return false };
        let plain = driver.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        driver.starts_with(DRIVER_PREFIX)
            && plain
            && driver != self.driver
            && !self.is_alive(driver)
    }

    /// Whether somebody holds the lock of a driver.
    fn is_alive(&self, driver: &str) -> bool {
        let Ok(file) = File::open(self.drivers.join(driver)) else { return false };
        flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
    }

    fn place(&self, name: &str) -> PathBuf {
        self.deployments.join(name)
    }

    /// Where the files of one version of a function are.
    pub(crate) fn version_directory(&self, record: &Record) -> PathBuf {
        self.place(&record.deployment.name).join(&record.version)
    }

    /// Stores a deployment. The record comes first: a partial deployment is one that can be listed and removed.
    pub(crate) fn save(&self, record: &Record, env: &Environment, package: &Package) -> Result<()> {
        let place = self.place(&record.deployment.name);
        let failed = |error: io::Error| unusable(&place, &error);
        let _lock = self.lock().map_err(failed)?;
        let previous = self.load_record(&record.deployment.name).ok().map(|record| record.version);
        let target = self.version_directory(record);
        // Before anything is stored: what is refused leaves no deployment.
        let unpacked = if is_whole(&target) { None } else { Some(self.unpack(package)?) };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&place).map_err(failed)?;
        self.update(record)?;
        let env: BTreeMap<_, _> = env.iter().collect();
        write_json(&place, ENV, &env).map_err(failed)?;

        if let Some(unpacked) = unpacked {
            unpacked.put(&target).map_err(failed)?;
        }
        self.remember(package, target);
        // Workers of the previous version may still load modules.
        let kept = [Some(&record.version), previous.as_ref()];
        for entry in fs::read_dir(&place).map_err(failed)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_version = !name.starts_with('.') && entry.path().is_dir();
            if is_version && !kept.contains(&Some(&name)) {
                let _ = tree::remove(&entry.path());
            }
        }
        Ok(())
    }

    /// Whether the files of a deployment are all there.
    pub(crate) fn is_whole(&self, record: &Record) -> bool {
        is_whole(&self.version_directory(record))
    }

    /// Stores what is known of a deployment, and leaves its code and environment.
    pub(crate) fn update(&self, record: &Record) -> Result<()> {
        let place = self.place(&record.deployment.name);
        write_json(&place, RECORD, record).map_err(|error| unusable(&place, &error))
    }

    fn load_record(&self, name: &str) -> Result<Record> {
        // Names are checked when something is deployed; a path is not a name, and nothing is deployed under it.
        let is_name = !name.is_empty() && !name.starts_with('.') && !name.contains('/');
        if !is_name {
            return Err(missing());
        }
        read_json(&self.place(name).join(RECORD))
    }

    /// A record for a list: one that is damaged must not hide the others.
    fn readable(&self, name: &str) -> Option<Record> {
        match self.load_record(name) {
            Ok(record) => Some(record),
            // One that is removed meanwhile is not there.
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(%error, name, "a deployment cannot be read, and is not listed");
                None
            }
        }
    }

    /// The deployment of that name, with its environment.
    pub(crate) fn load(&self, name: &str) -> Result<(Record, Environment)> {
        let record = self.load_record(name)?;
        let env: BTreeMap<String, String> = read_json(&self.place(name).join(ENV))?;
        Ok((record, env.into_iter().collect()))
    }

    /// All deployments, sorted by name.
    pub(crate) fn list(&self) -> Result<Vec<Record>> {
        let entries =
            fs::read_dir(&self.deployments).map_err(|error| unusable(&self.deployments, &error))?;
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut records: Vec<_> = names.filter_map(|name| self.readable(&name)).collect();
        records.sort_by(|a, b| a.deployment.name.cmp(&b.deployment.name));
        Ok(records)
    }

    /// Excludes other processes, so that none removes what another one deploys again.
    fn lock(&self) -> io::Result<File> {
        let directory = File::open(&self.deployments)?;
        flock(&directory, FlockOperation::LockExclusive)?;
        Ok(directory)
    }

    /// Removes everything of a deployment.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        self.remove_if(name, |_| true).map(drop)
    }

    /// Removes everything of a deployment whose record is as it should be, and says whether it was.
    fn remove_if(&self, name: &str, is_wanted: impl FnOnce(&Record) -> bool) -> Result<bool> {
        let place = self.place(name);
        let _lock = self.lock().map_err(|error| unusable(&place, &error))?;
        if !is_wanted(&self.load_record(name)?) {
            return Ok(false);
        }
        // Away in one step: what is half removed must not look like a deployment.
        let away = tempfile::Builder::new()
            .prefix(".removed-")
            .tempdir_in(&self.deployments)
            .map_err(|error| unusable(&place, &error))?;
        match fs::rename(&place, away.path().join("deployment")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
            other => other.map_err(|error| unusable(&place, &error))?,
        }
        tree::remove(&away.keep()).map_err(|error| unusable(&place, &error))?;
        Ok(true)
    }

    /// Removes what dead drivers have left. What cannot be removed is left for the next.
    fn sweep(&self) {
        let Ok(drivers) = fs::read_dir(&self.drivers) else { return };
        for entry in drivers.flatten() {
            // Opening a pipe would wait for its writer.
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            let id = entry.file_name().to_string_lossy().into_owned();
            let Some(file) = is_file.then(|| File::open(entry.path()).ok()).flatten() else {
                continue;
            };
            if id == self.driver || flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
            {
                continue;
            }
            for record in self.list().unwrap_or_default() {
                // One that runs share stays until it expires.
                let is_shared =
                    record.deployment.ownership.as_ref().is_some_and(Ownership::is_shared);
                if record.driver == id && !is_shared {
                    let name = &record.deployment.name;
                    // Another driver may have deployed it again meanwhile.
                    match self.remove_if(name, |record| record.driver == id) {
                        Ok(true) => tracing::info!(name, "removed the deployment of a dead driver"),
                        Ok(false) => {}
                        Err(error) => {
                            tracing::warn!(%error, name, "a dead driver's deployment stays")
                        }
                    }
                }
            }
            let _ = fs::remove_file(entry.path());
        }
    }

    /// Removes what has expired. A platform that lives may still use what it has deployed.
    fn sweep_expired(&self, now: SystemTime) {
        for record in self.list().unwrap_or_default() {
            let expires_at = record.deployment.ownership.as_ref().map(|own| own.expires_at);
            if expires_at.is_none_or(|at| now < at) || self.is_alive(&record.driver) {
                continue;
            }
            let name = &record.deployment.name;
            match self.remove_if(name, |now| now.driver == record.driver) {
                Ok(true) => tracing::info!(name, "removed a deployment that has expired"),
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, name, "a deployment that has expired stays"),
            }
        }
    }

    /// Removes what is not a deployment any more: half removed ones, and what workers of dead drivers have written since.
    fn sweep_rubbish(&self) {
        // Those who deploy or remove hold it: nothing is in the making.
        let Ok(_lock) = self.lock() else { return };
        let Ok(entries) = fs::read_dir(&self.deployments) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir()
                && !path.join(RECORD).exists()
                && let Err(error) = tree::remove(&path)
            {
                tracing::debug!(%error, path = %path.display(), "a directory stays for now");
            }
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.drivers.join(&self.driver));
    }
}

/// Whether a version of a function is there, with its code. Without it, all that is there is what a worker of a dead driver
/// has put into its cache after the version was removed.
fn is_whole(version: &Path) -> bool {
    version.join(shim::FUNCTION).is_dir()
}

/// A file that is locked already when others see it, or they would take its driver for dead.
///
/// Drivers that start at the same time sweep each other's file away when they see it before it is locked and has its
/// name. Then another one is made.
fn lock_new(directory: &Path, name: &str) -> io::Result<File> {
    const ATTEMPTS: u32 = 100;
    for _ in 1..ATTEMPTS {
        match try_lock_new(directory, name) {
            Err(error) if is_swept(&error) => {}
            done => return done,
        }
    }
    try_lock_new(directory, name)
}

fn is_swept(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotFound)
}

fn try_lock_new(directory: &Path, name: &str) -> io::Result<File> {
    let file = NamedTempFile::with_prefix_in(".", directory)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file.persist(directory.join(name))?)
}

/// Replaces a file in one step. Temporary files are readable by their owner only, and stay so.
fn write_json<T: Serialize>(directory: &Path, name: &str, value: &T) -> io::Result<()> {
    let mut file = NamedTempFile::with_prefix_in(".", directory)?;
    file.write_all(&serde_json::to_vec_pretty(value)?)?;
    file.persist(directory.join(name))?;
    Ok(())
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T> {
    let text = fs::read(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => missing(),
        _ => unusable(path, &error),
    })?;
    serde_json::from_slice(&text).map_err(|error| {
        Error::new(ErrorKind::Protocol, format!("{} is damaged", path.display()))
            .with_source(&error)
            .with_hint("remove its directory")
    })
}

/// The error for a name that nothing is deployed under.
pub(crate) fn missing() -> Error {
    Error::new(ErrorKind::NotFound, "nothing of that name is deployed on this machine")
}

fn unusable(path: &Path, error: &io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{} cannot be used", path.display()))
        .with_source(error)
        .with_retryable(false)
        .with_hint("FALCO_LOCAL_DIR names another place")
}
