//! A driver's own settings, by name.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::type_name;

/// Named settings of a driver or runtime, as they come from a command line or a file.
///
/// # Examples
///
/// ```
/// use falco_core::runtime::Options;
///
/// let options: Options = [("reducers", "16"), ("verbose", "true")].into_iter().collect();
/// assert_eq!(options.get::<usize>("reducers")?, 16);
/// assert_eq!(options.get_or("top", 10)?, 10);
/// assert!(options.get::<usize>("missing").unwrap_err().to_string().contains("missing"));
/// assert!(options.allow_only(&["reducers"]).unwrap_err().to_string().contains("verbose"));
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Options(BTreeMap<String, String>);

impl Options {
    /// No settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets an option.
    pub fn set(&mut self, name: impl Into<String>, value: impl ToString) {
        self.0.insert(name.into(), value.to_string());
    }

    /// Sets an option.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.set(name, value);
        self
    }

    /// An option that has to be there.
    ///
    /// # Errors
    ///
    /// `InvalidInput` that names the option, when it is missing or no `T`.
    pub fn get<T: FromStr>(&self, name: &str) -> Result<T>
    where
        T::Err: fmt::Display,
    {
        self.find(name)?.ok_or_else(|| {
            Error::invalid_input(format!("the option {name:?} is missing")).with_hint(format!(
                "these are set: {}",
                self.names().collect::<Vec<_>>().join(", ")
            ))
        })
    }

    /// An option, or `default` when it is not there.
    ///
    /// # Errors
    ///
    /// `InvalidInput` that names the option, when it is not a `T`.
    pub fn get_or<T: FromStr>(&self, name: &str, default: T) -> Result<T>
    where
        T::Err: fmt::Display,
    {
        Ok(self.find(name)?.unwrap_or(default))
    }

    /// An option that may be missing.
    ///
    /// # Errors
    ///
    /// `InvalidInput` that names the option, when it is not a `T`.
    pub fn find<T: FromStr>(&self, name: &str) -> Result<Option<T>>
    where
        T::Err: fmt::Display,
    {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        value.parse().map(Some).map_err(|e| {
            let wanted = type_name::short::<T>();
            Error::invalid_input(format!("the option {name:?} is not a valid {wanted}: {e}"))
        })
    }

    /// Refuses every option that is not in `known`, so that a misspelt one is not ignored.
    ///
    /// # Errors
    ///
    /// `InvalidInput` that names the first unknown option and lists the known ones.
    pub fn allow_only(&self, known: &[&str]) -> Result<()> {
        match self.names().find(|name| !known.contains(name)) {
            Some(unknown) => Err(Error::invalid_input(format!("there is no option {unknown:?}"))
                .with_hint(format!("known options: {}", known.join(", ")))),
            None => Ok(()),
        }
    }

    /// The names that are set, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl<N: Into<String>, V: ToString> FromIterator<(N, V)> for Options {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(options: I) -> Self {
        Self(options.into_iter().map(|(name, value)| (name.into(), value.to_string())).collect())
    }
}

impl fmt::Debug for Options {
    // Values may be secrets, such as a token passed on the command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_option_is_answered_by_those_that_there_are() {
        let options = Options::new().with("reducer", 16);
        let error = options.allow_only(&["reducers", "top"]).unwrap_err();
        assert!(error.message().contains("\"reducer\""), "{error}");
        assert!(error.hint().unwrap().contains("reducers, top"), "{error}");
    }

    #[test]
    fn values_never_show_in_debug() {
        let shown = format!("{:?}", Options::new().with("token", "marked-secret"));
        assert!(shown.contains("token") && !shown.contains("marked-secret"), "{shown}");
    }

    #[test]
    fn an_ill_typed_option_is_named_with_the_type_wanted() {
        let options = Options::new().with("reducers", "many");
        let message = options.get::<u32>("reducers").unwrap_err().to_string();
        assert!(message.contains("\"reducers\"") && message.contains("u32"), "{message}");
    }
}
