//! The check of a function before anything is sent.

use super::Deployable;
use crate::error::{Error, Result};

/// The variable by which platforms name the entry point to an executable that holds several functions.
const RESERVED_VARIABLE: &str = "FALCO_FUNCTION";

impl Deployable {
    /// Refuses a function with an image, on behalf of a platform that runs none. Such a platform calls it in
    /// [`deploy`](crate::Platform::deploy), before anything is sent.
    ///
    /// # Errors
    ///
    /// `Unsupported` with the image, and with the platforms that run images.
    ///
    /// # Examples
    ///
    /// ```
    /// use falco_core::{Deployable, ErrorKind};
    ///
    /// let plain = Deployable::python("f", "def main(args): return args");
    /// assert!(plain.refuse_image().is_ok());
    /// let error = plain.with_image("python:3.12-slim").refuse_image().unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Unsupported);
    /// assert!(error.to_string().contains("python:3.12-slim"));
    /// ```
    pub fn refuse_image(&self) -> Result<()> {
        let Some(image) = self.any_image() else { return Ok(()) };
        let message =
            format!("the function needs the image {image}, and this platform runs no images");
        Err(Error::unsupported(message)
            .with_function(&self.name)
            .with_hint("run it on docker, openwhisk or aws, or leave the image out"))
    }

    /// Checks what can be checked without a platform.
    ///
    /// # Errors
    ///
    /// `InvalidInput` that names the function and what is wrong: its name, its environment, its arguments, its image, or empty
    /// code.
    pub fn validate(&self) -> Result<()> {
        let invalid =
            |message: String| Err(Error::invalid_input(message).with_function(&self.name));
        let name_is_portable = self.name.starts_with(|c: char| c.is_ascii_alphabetic())
            && self.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if !name_is_portable || self.name.len() > Self::MAX_NAME {
            return invalid(format!(
                "invalid function name {:?}: use 1 to {} letters, digits, '-' or '_', starting with a letter",
                self.name,
                Self::MAX_NAME
            ));
        }
        if self.code.is_blank() {
            return invalid("the function has no code".into());
        }
        if let Some(arguments) = self.arguments.as_ref().filter(|arguments| !arguments.is_object())
        {
            return invalid(format!(
                "the function's arguments have to be a JSON object, and these are {arguments:?}"
            ));
        }
        if let Some(image) = self.any_image() {
            image.validate().map_err(|error| error.with_function(&self.name))?;
        }
        for (name, value) in self.env.iter() {
            if name.is_empty() || name.contains(['=', '\0']) {
                return invalid(format!("invalid name of an environment variable: {name:?}"));
            }
            if name == RESERVED_VARIABLE {
                return invalid(format!(
                    "the environment variable {name:?} is set by platforms; use another name"
                ));
            }
            if value.contains('\0') {
                return invalid(format!("the environment variable {name:?} holds a NUL character"));
            }
        }
        self.scaling.validate().map_err(|e| e.with_function(&self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime_name::RuntimeName;
    use crate::scaling::Scaling;

    fn python() -> RuntimeName {
        RuntimeName::python()
    }

    #[test]
    fn names_that_some_platform_refuses_are_refused_here() {
        for name in ["", "1st", "a b", "ä", "a/b", &"x".repeat(64)] {
            let error = Deployable::from_source(name, python(), "x").validate().unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::InvalidInput, "{name}");
        }
        Deployable::from_source("word_count-map", python(), "x").validate().unwrap();
    }

    #[test]
    fn variables_that_no_process_can_have_are_refused_without_showing_their_values() {
        for (name, value) in [
            ("", "x"),
            ("A=B", "x"),
            ("A\0", "x"),
            ("KEY", "marked\0secret"),
            ("FALCO_FUNCTION", "marked"),
        ] {
            let function = Deployable::from_source("f", python(), "x").with_env(name, value);
            let error = function.validate().unwrap_err().to_string();
            assert!(error.contains(&format!("{name:?}")) && !error.contains("marked"), "{error}");
        }
    }

    #[test]
    fn impossible_sizes_are_refused_with_the_functions_name() {
        let scaling = Scaling { memory_mib: Some(0), ..Scaling::default() };
        let error = Deployable::from_source("f", python(), "x")
            .with_scaling(scaling)
            .validate()
            .unwrap_err();
        assert!(error.message().contains("memory") && error.function() == Some("f"), "{error}");
    }

    #[test]
    fn empty_source_is_refused_before_anything_is_sent() {
        let error = Deployable::from_source("f", python(), " \n").validate().unwrap_err();
        assert!(error.to_string().contains("no code"), "{error}");
    }
}
