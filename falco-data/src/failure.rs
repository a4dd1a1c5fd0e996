//! From the errors of stores to Falco's.

use falco_core::{Error, ErrorKind};

use crate::place::{shown, without_queries};

const BUCKET: &str = "create the bucket, or correct its name";

const CREDENTIALS: &str = "set the credentials of the store, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, \
                           GOOGLE_SERVICE_ACCOUNT or AZURE_STORAGE_ACCOUNT_KEY";

/// The error of one operation on a store.
pub(crate) fn of_store(operation: &str, url: &str, error: &object_store::Error) -> Error {
    use object_store::Error as Store;
    let text = without_queries(&chain(error));
    let (kind, hint) = match error {
        Store::NotFound { .. } => {
            let missing_bucket =
                text.contains("NoSuchBucket") || text.contains("ContainerNotFound");
            let hint = missing_bucket.then_some(BUCKET);
            (ErrorKind::NotFound, hint)
        }
        Store::AlreadyExists { .. } | Store::Precondition { .. } => (ErrorKind::Conflict, None),
        Store::PermissionDenied { .. } => (ErrorKind::Forbidden, hint_of(&text)),
        Store::Unauthenticated { .. } => (ErrorKind::Unauthorized, hint_of(&text)),
        Store::InvalidPath { .. } => (ErrorKind::InvalidInput, None),
        Store::NotSupported { .. } | Store::NotImplemented { .. } => (ErrorKind::Unsupported, None),
        Store::UnknownConfigurationKey { .. } => (ErrorKind::InvalidInput, None),
        Store::Generic { store: "LocalFileSystem", source } => of_file(&**source, &text),
        _ => of_text(&text),
    };
    let error = Error::new(kind, format!("{operation} {}: {}", shown(url), first_line(&text)));
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// The object has changed since it was planned.
pub(crate) fn changed(url: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("{} has changed since it was planned", shown(url)))
        .with_hint("plan the run again")
}

fn chain(error: &object_store::Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// Kind and hint for an error of a folder, which a repetition does not mend.
fn of_file(
    error: &(dyn std::error::Error + 'static),
    text: &str,
) -> (ErrorKind, Option<&'static str>) {
    use std::io::ErrorKind as Io;
    let mut next = Some(error);
    while let Some(cause) = next {
        match cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
            Some(Io::PermissionDenied | Io::ReadOnlyFilesystem) => {
                return (ErrorKind::Forbidden, Some("use a folder that you may read and write"));
            }
            Some(Io::StorageFull | Io::QuotaExceeded) => {
                return (ErrorKind::Other, Some("make room on the file system of that folder"));
            }
            Some(Io::NotFound | Io::NotADirectory | Io::IsADirectory | Io::InvalidInput) => {
                return (ErrorKind::InvalidInput, Some("use a folder that can be made there"));
            }
            _ => next = cause.source(),
        }
    }
    of_text(text)
}

/// The meaning of the store's own words where the status has none.
fn of_text(text: &str) -> (ErrorKind, Option<&'static str>) {
    const REGION: &str = "set the region of the bucket, such as with AWS_REGION";
    if text.contains("redirect") || text.contains("AuthorizationHeaderMalformed") {
        return (ErrorKind::InvalidInput, Some(REGION));
    }
    if text.contains("NoSuchBucket") || text.contains("ContainerNotFound") {
        return (ErrorKind::NotFound, Some(BUCKET));
    }
    // Where nobody has set credentials, the client asks the machine that it may be running on.
    let asks_machine =
        ["169.254.169.254", "metadata.google.internal"].iter().any(|host| text.contains(host));
    match hint_of(text) {
        Some(hint) => (ErrorKind::Forbidden, Some(hint)),
        None if asks_machine => (ErrorKind::Unavailable, Some(CREDENTIALS)),
        None => (ErrorKind::Unavailable, None),
    }
}

/// The hint for a refusal with one of the codes that stores have for it.
pub(crate) fn hint_of(text: &str) -> Option<&'static str> {
    const HINTS: &[(&str, &str)] = &[
        ("RequestTimeTooSkewed", "set the clock of this machine"),
        ("InvalidAccessKeyId", "check the access key of the store"),
        ("SignatureDoesNotMatch", "check the secret key of the store, and the clock"),
        ("ExpiredToken", "renew the credentials of the store"),
        ("AuthenticationFailed", "check the account key of the store, and the clock"),
        ("AccessDenied", "grant reading, writing, listing and deleting below the prefix"),
        ("AuthorizationPermissionMismatch", "grant the role Storage Blob Data Contributor"),
    ];
    HINTS.iter().find(|(code, _)| text.contains(code)).map(|(_, hint)| *hint)
}

fn first_line(text: &str) -> String {
    const LONGEST: usize = 600;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}..", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_without_credentials_says_which_variables_to_set() {
        let asked = "Error performing PUT http://169.254.169.254/latest/api/token in 24ms";
        let error = object_store::Error::Generic { store: "S3", source: asked.into() };
        let error = of_store("sign", "s3://bucket/x", &error);
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("AWS_ACCESS_KEY_ID"), "{error}");
    }

    #[test]
    fn what_is_wrong_with_a_folder_is_not_an_outage() {
        use std::io::{Error as Io, ErrorKind as Why};
        for (why, kind) in [
            (Why::PermissionDenied, ErrorKind::Forbidden),
            (Why::ReadOnlyFilesystem, ErrorKind::Forbidden),
            (Why::NotADirectory, ErrorKind::InvalidInput),
            (Why::StorageFull, ErrorKind::Other),
            (Why::Interrupted, ErrorKind::Unavailable),
        ] {
            let source = Box::new(Io::from(why));
            let error = object_store::Error::Generic { store: "LocalFileSystem", source };
            let error = of_store("write", "file:///x", &error);
            assert_eq!(error.kind(), kind, "{error}");
            assert_eq!(error.hint().is_some(), kind != ErrorKind::Unavailable, "{error}");
        }
    }
}
