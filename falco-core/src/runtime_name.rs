//! The name of a language environment.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A runtime as family and version: `python:3`, `python:3.12`, `nodejs:22`, `native`.
///
/// # Examples
///
/// ```
/// use falco_core::RuntimeName;
///
/// let python: RuntimeName = "python:3.12".parse()?;
/// assert_eq!((python.family(), python.version()), ("python", Some("3.12")));
/// assert_eq!("native".parse::<RuntimeName>()?.version(), None);
/// assert!("python:".parse::<RuntimeName>().is_err());
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RuntimeName {
    family: String,
    version: Option<String>,
}

impl RuntimeName {
    /// `python:3`: the newest Python 3 that the platform has.
    pub fn python() -> Self {
        Self { family: "python".to_owned(), version: Some("3".to_owned()) }
    }

    /// `nodejs`: the newest Node.js that the platform has.
    pub fn nodejs() -> Self {
        Self { family: "nodejs".to_owned(), version: None }
    }

    /// `native`: an executable.
    pub fn native() -> Self {
        Self { family: "native".to_owned(), version: None }
    }

    /// The family, such as `python`.
    pub fn family(&self) -> &str {
        &self.family
    }

    /// The version, such as `3.12`, when one was named.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }
}

impl FromStr for RuntimeName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (family, version) = match text.split_once(':') {
            Some((family, version)) => (family, Some(version)),
            None => (text, None),
        };
        let plain = |part: &str| {
            !part.is_empty()
                && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        };
        if !plain(family) || !version.is_none_or(plain) {
            return Err(Error::invalid_input(format!("invalid runtime {text:?}"))
                .with_hint("write family and version, such as python:3, nodejs:22 or native"));
        }
        Ok(Self { family: family.to_owned(), version: version.map(str::to_owned) })
    }
}

impl TryFrom<String> for RuntimeName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<RuntimeName> for String {
    fn from(name: RuntimeName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for RuntimeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{}:{version}", self.family),
            None => f.write_str(&self.family),
        }
    }
}

impl fmt::Debug for RuntimeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
