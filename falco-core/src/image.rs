//! A container image that a function runs in, or that is the function.

use std::fmt;

use crate::error::{Error, Result};

/// A container image: its reference, and arguments of its program.
///
/// # Examples
///
/// ```
/// use falco_core::Image;
///
/// let image = Image::new("registry.example.org/science:2026-11").with_arguments(["app.handler"]);
/// assert_eq!(image.to_string(), "registry.example.org/science:2026-11");
/// image.validate()?;
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Image {
    /// The reference: `python:3.12-slim`, `registry.example.org/science:2026-11`, or `NAME@sha256:..`, whose content never
    /// changes.
    pub reference: String,
    /// The arguments of the image's program, instead of those that the image names (`CMD`); none leaves the image's own.
    pub arguments: Vec<String>,
}

impl Image {
    /// The longest reference, in bytes.
    const MAX_REFERENCE: usize = 512;

    /// An image by its reference.
    pub fn new(reference: impl Into<String>) -> Self {
        Self { reference: reference.into(), arguments: Vec::new() }
    }

    /// Sets the arguments of the image's program, instead of those that the image names.
    #[must_use]
    pub fn with_arguments<A: Into<String>>(
        mut self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        self.arguments = arguments.into_iter().map(Into::into).collect();
        self
    }

    /// The digest, such as `sha256:1f2e..`, where the reference names one.
    pub fn digest(&self) -> Option<&str> {
        self.reference.split_once('@').map(|(_, digest)| digest)
    }

    /// Checks that the reference can be one.
    ///
    /// # Errors
    ///
    /// `InvalidInput` with the reference and with what is allowed.
    pub fn validate(&self) -> Result<()> {
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_/:@+".contains(c);
        let starts = self.reference.starts_with(|c: char| c.is_ascii_alphanumeric());
        let fits = self.reference.len() <= Self::MAX_REFERENCE;
        if starts && fits && self.reference.chars().all(plain) {
            return Ok(());
        }
        Err(Error::invalid_input(format!("invalid image reference {:?}", self.reference))
            .with_hint("write NAME, NAME:TAG or NAME@DIGEST, with the registry in front: python:3.12-slim, ghcr.io/me/science:1"))
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reference)
    }
}

impl From<&str> for Image {
    fn from(reference: &str) -> Self {
        Self::new(reference)
    }
}

impl From<String> for Image {
    fn from(reference: String) -> Self {
        Self::new(reference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_as_docker_takes_them_are_valid_and_others_are_refused_by_name() {
        for reference in
            ["python", "python:3.12-slim", "localhost:5000/a_b/c:1", "a/b@sha256:0123456789abcdef"]
        {
            Image::new(reference).validate().unwrap();
        }
        for reference in ["", "a b", "-v", "a;b", "a\n", "/a", "ä"] {
            let error = Image::new(reference).validate().unwrap_err();
            assert!(error.to_string().contains(&format!("{reference:?}")), "{error}");
        }
        assert!(Image::new("a".repeat(513)).validate().is_err());
    }

    #[test]
    fn only_a_reference_with_a_digest_has_one() {
        assert_eq!(Image::new("a/b@sha256:01").digest(), Some("sha256:01"));
        assert_eq!(Image::new("a/b:1").digest(), None);
    }
}
