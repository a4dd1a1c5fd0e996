//! Values that must not be seen.

use std::fmt;

use falco_core::{Error, Result};
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

/// A key, token or password. `Debug` and `Display` say `REDACTED`; the memory is wiped on drop.
///
/// # Examples
///
/// ```
/// use falco_http::Secret;
///
/// let key = Secret::from("23bc46b1:123zO3xZ");
/// assert_eq!(format!("{key:?} {key}"), "REDACTED REDACTED");
/// assert_eq!(key.expose(), "23bc46b1:123zO3xZ");
/// ```
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// The value itself. The caller is responsible for where it goes.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The value as a header that HTTP libraries do not log and do not index for compression.
    ///
    /// `prefix` is put before it, such as `"Bearer "`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when the value has characters that no header may hold, such as a line break.
    pub fn to_header(&self, prefix: &str) -> Result<HeaderValue> {
        let mut value =
            HeaderValue::from_str(&format!("{prefix}{}", self.expose())).map_err(|_| {
                Error::invalid_input("the credentials hold a character that cannot be sent")
                    .with_hint("look for a line break or a control character at their end")
            })?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl<T: Into<String>> From<T> for Secret {
    fn from(value: T) -> Self {
        Self(SecretString::from(value.into()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("REDACTED")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("REDACTED")
    }
}

/// `text` with every occurrence of `secrets` replaced, for foreign text that may echo what was sent.
///
/// Secrets of fewer than four characters are left alone: they would redact half of any text.
///
/// # Examples
///
/// ```
/// assert_eq!(falco_http::redact("bad key: s3cret!", ["s3cret!"]), "bad key: REDACTED");
/// ```
pub fn redact<'a>(text: &str, secrets: impl IntoIterator<Item = &'a str>) -> String {
    secrets
        .into_iter()
        .filter(|secret| secret.len() >= 4)
        .fold(text.to_owned(), |text, secret| text.replace(secret, "REDACTED"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_of_a_secret_is_marked_sensitive() {
        let header = Secret::from("abc").to_header("Bearer ").unwrap();
        assert!(header.is_sensitive());
        assert_eq!(header.to_str().unwrap(), "Bearer abc");
        assert!(!format!("{header:?}").contains("abc"));
    }

    #[test]
    fn a_secret_that_no_header_can_hold_is_refused_without_being_shown() {
        let error = Secret::from("marked\nsecret").to_header("").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("marked"), "{error}");
    }
}
