//! Deployments that runs share, because their content is the same.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use falco_core::{Deployable, Error, Ownership, Result};
use sha2::{Digest, Sha256};

use super::options::RunOptions;

/// Names the key of this user's hashes, for processes on several machines that share deployments.
const KEY_VARIABLE: &str = "FALCO_REUSE_KEY";

/// The hash in a name, in bytes.
const HASH: usize = 8;

/// The key that is made where none is named, in bytes.
const KEY: usize = 32;

/// Expiries are rounded up to this, so that runs that follow each other find the marks of a deployment as they should be.
const STEP: Duration = Duration::from_secs(3_600);

/// Checks that a run can share deployments.
///
/// # Errors
///
/// `InvalidInput` for a run with a journal, which adopts its own deployments.
pub(super) fn check(options: &RunOptions) -> Result<()> {
    if options.reuse && options.journal.is_some() {
        return Err(Error::invalid_input(
            "a run with a journal has deployments of its own, and cannot share those of other runs",
        )
        .with_hint("leave out the journal or the reuse of deployments"));
    }
    Ok(())
}

/// The mark of a shared deployment.
pub(super) fn ownership(owner: String, expires_at: SystemTime, after: Duration) -> Ownership {
    let since = expires_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let rounded = match after < STEP {
        true => Some(expires_at),
        false => {
            UNIX_EPOCH.checked_add(Duration::from_secs(since.next_multiple_of(STEP.as_secs())))
        }
    };
    Ownership::new(Ownership::SHARED, owner, rounded.unwrap_or(expires_at))
}

/// The part of a deployment's name that stands for the content of its function.
///
/// # Errors
///
/// When the function has environment variables, and the key for them can be neither read nor made.
pub(super) fn content(function: &Deployable) -> Result<String> {
    let key = if function.env.is_empty() { Vec::new() } else { key()? };
    Ok(hash(function, &key))
}

fn hash(function: &Deployable, key: &[u8]) -> String {
    let mut inner = Sha256::new();
    inner.update(key);
    function.content(&mut |piece| inner.update(piece));
    for (name, value) in function.env.iter() {
        for text in [name, value] {
            inner.update((text.len() as u64).to_le_bytes());
            inner.update(text);
        }
    }
    // Hashed twice with the key: of one hash, longer contents could be computed.
    let hash = Sha256::new().chain_update(key).chain_update(inner.finalize()).finalize();
    hash.iter().take(HASH).map(|byte| format!("{byte:02x}")).collect()
}

/// The key of this user.
fn key() -> Result<Vec<u8>> {
    if let Some(key) = std::env::var_os(KEY_VARIABLE).filter(|key| !key.is_empty()) {
        return Ok(key.into_encoded_bytes());
    }
    let Some(path) = key_file(|name| std::env::var_os(name)) else {
        return Err(unusable("neither XDG_STATE_HOME nor HOME is set"));
    };
    read_or_make(&path).map_err(|error| {
        unusable(&format!("{} cannot be used", path.display())).with_source(&error)
    })
}

fn unusable(why: &str) -> Error {
    Error::invalid_input(format!("there is no key for functions with environment variables: {why}"))
        .with_hint(format!("set {KEY_VARIABLE} to a long random text, or leave out the reuse"))
}

fn key_file(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Option<PathBuf> {
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| set("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("falco/reuse.key"))
}

/// The key in a file, which is made when it is not there. Of two processes that make it at once, one wins.
fn read_or_make(path: &Path) -> io::Result<Vec<u8>> {
    if let Some(key) = read(path)? {
        return Ok(key);
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut key = vec![0; KEY];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    let made = path.with_extension(format!("{}-{:08x}", std::process::id(), fastrand::u32(..)));
    let written = write_private(&made, &key).and_then(|()| fs::hard_link(&made, path));
    let _ = fs::remove_file(&made);
    match written {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => read(path)?.ok_or_else(|| io::ErrorKind::NotFound.into()),
    }
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(key) if key.len() >= KEY => Ok(Some(key)),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "it is too short; remove it")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(content)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_hash_follows_from_content_values_and_key_and_not_from_the_name() {
        let function = Deployable::python("f", "x").with_env("TOKEN", "marked-secret");
        let same = hash(&function, b"key");
        assert_eq!(hash(&function.clone().with_name("g"), b"key"), same);
        assert_eq!(same.len(), 2 * HASH);
        assert_ne!(hash(&function, b"another"), same);
        assert_ne!(hash(&function.clone().with_env("TOKEN", "other"), b"key"), same);
        assert_ne!(hash(&function.clone().with_entry_point("start"), b"key"), same);
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_alone() {
        let directory = std::env::temp_dir().join(format!("falco-key-{:016x}", fastrand::u64(..)));
        let path = directory.join("falco/reuse.key");
        let keys: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|_| scope.spawn(|| read_or_make(&path).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        let files = fs::read_dir(path.parent().unwrap()).unwrap().count();
        fs::write(&path, "short").unwrap();
        let damaged = read_or_make(&path).unwrap_err();
        fs::remove_dir_all(&directory).unwrap();
        assert!(keys.iter().all(|key| *key == keys[0] && key.len() == KEY));
        assert_eq!((mode & 0o777, files), (0o600, 1));
        assert_eq!(damaged.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn the_key_lies_in_the_users_state_directory() {
        let state = |name: &str| (name == "XDG_STATE_HOME").then(|| "/state".into());
        assert_eq!(key_file(state), Some("/state/falco/reuse.key".into()));
        let home = |name: &str| (name == "HOME").then(|| "/home/ada".into());
        assert_eq!(key_file(home), Some("/home/ada/.local/state/falco/reuse.key".into()));
        assert_eq!(key_file(|_| None), None);
    }

    #[test]
    fn runs_that_follow_each_other_mark_a_deployment_alike() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let mark = |seconds| ownership("ada".into(), at(seconds), STEP);
        assert_eq!(mark(3_601), mark(7_200));
        assert_eq!(mark(3_601).expires_at, at(7_200));
        assert_eq!(ownership("ada".into(), at(61), STEP / 2).expires_at, at(61));
    }
}
