//! Errors of a store.

use std::fmt;
use std::io;

/// A store did not do what it was asked for. The text begins with the reason in one word, such as `UrlExpired` or
/// `ObjectChanged`, and never holds a signature. Return it: Falco repeats what a fresh URL mends.
#[derive(Debug)]
pub struct DataError {
    pub(super) kind: Kind,
    pub(super) message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    UrlExpired,
    ObjectChanged,
    ObjectMissing,
    StoreRefused,
    StoreUnavailable,
    TemporaryFolderFull,
    WrongUse,
}

impl DataError {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(super) fn wrong(message: impl Into<String>) -> Self {
        Self::new(Kind::WrongUse, message)
    }

    pub(super) fn changed(url: &str) -> Self {
        let message =
            format!("{} has changed since it was planned: plan the run again", shown(url));
        Self::new(Kind::ObjectChanged, message)
    }

    /// The error of a temporary file.
    pub(super) fn temporary(error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Kind::TemporaryFolderFull,
            _ => Kind::StoreRefused,
        };
        let folder = std::env::temp_dir();
        Self::new(kind, format!("the temporary folder {}: {error}", folder.display()))
    }
}

/// A URL without its signature, which is a secret until it expires.
pub(super) fn shown(url: &str) -> &str {
    url.split('?').next().unwrap_or_default()
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.message)
    }
}

impl std::error::Error for DataError {}

impl From<DataError> for io::Error {
    fn from(error: DataError) -> Self {
        Self::other(error)
    }
}

impl From<io::Error> for DataError {
    /// Gives back what was carried through `std::io`.
    fn from(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(error) => error,
            Err(error) => Self::temporary(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_temporary_folder_is_named() {
        for kind in
            [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge]
        {
            let text = DataError::temporary(&kind.into()).to_string();
            assert!(text.starts_with("TemporaryFolderFull: the temporary folder /"), "{text}");
        }
        let text = DataError::temporary(&io::ErrorKind::PermissionDenied.into()).to_string();
        assert!(text.starts_with("StoreRefused: "), "{text}");
    }
}
