//! Qualified names, by the rules of the `wsk` command line.

use std::fmt;
use std::str::FromStr;

use falco_core::{Error, Result};

/// Where an action is. Without a namespace it is in the one that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QualifiedName {
    pub(crate) namespace: Option<String>,
    pub(crate) package: Option<String>,
    pub(crate) name: String,
}

impl QualifiedName {
    /// The segments of its path within the actions of a namespace.
    pub(crate) fn segments(&self) -> impl Iterator<Item = &str> {
        self.package.as_deref().into_iter().chain([self.name.as_str()])
    }

    /// The name by which the list of activations is filtered: never with a namespace.
    pub(crate) fn filter(&self) -> String {
        match &self.package {
            Some(package) => format!("{package}/{}", self.name),
            None => self.name.clone(),
        }
    }
}

impl FromStr for QualifiedName {
    type Err = Error;

    /// `foo`, `pkg/foo`, `/ns/foo`, `/ns/pkg/foo` or `ns/pkg/foo`. So `a/b` is never namespace and action.
    fn from_str(text: &str) -> Result<Self> {
        let (absolute, rest) = match text.strip_prefix('/') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let parts: Vec<&str> = rest.split('/').collect();
        let bad = || {
            Error::invalid_input(format!("invalid action name {text:?}")).with_hint(
                "write NAME, PACKAGE/NAME, /NAMESPACE/NAME or /NAMESPACE/PACKAGE/NAME; each part begins with a \
                 letter, digit or '_' and may hold '@', '.', '&', '-' and inner blanks as well",
            )
        };
        if !parts.iter().all(|part| is_entity_name(part)) {
            return Err(bad());
        }
        let (namespace, package, name) = match (absolute, parts.as_slice()) {
            (false, [name]) => (None, None, name),
            (false, [package, name]) => (None, Some(package), name),
            (true, [namespace, name]) => (Some(namespace), None, name),
            (_, [namespace, package, name]) => (Some(namespace), Some(package), name),
            _ => return Err(bad()),
        };
        let owned = |part: Option<&&str>| part.map(|part| (*part).to_owned());
        Ok(Self { namespace: owned(namespace), package: owned(package), name: (*name).to_owned() })
    }
}

impl fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(namespace) = &self.namespace {
            write!(f, "/{namespace}/")?;
        }
        f.write_str(&self.filter())
    }
}

/// The server's grammar of a namespace, package or action: `\w`, then up to 255 of `[\w@ .&-]`, no blank at the end.
pub(crate) fn is_entity_name(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= 256
        && text.starts_with(word)
        && !text.ends_with(' ')
        && text.chars().all(|c| word(c) || matches!(c, '@' | ' ' | '.' | '&' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_the_command_line_reads_them() {
        for (text, namespace, package, name) in [
            ("foo", None, None, "foo"),
            ("pkg/foo", None, Some("pkg"), "foo"),
            ("/ns/foo", Some("ns"), None, "foo"),
            ("/ns/pkg/foo", Some("ns"), Some("pkg"), "foo"),
            ("ns/pkg/foo", Some("ns"), Some("pkg"), "foo"),
            ("/a@b.c/f o", Some("a@b.c"), None, "f o"),
        ] {
            let parsed: QualifiedName = text.parse().unwrap();
            let parts = (parsed.namespace.as_deref(), parsed.package.as_deref(), &*parsed.name);
            assert_eq!(parts, (namespace, package, name), "{text}");
            let shown = parsed.to_string();
            assert_eq!(shown.parse::<QualifiedName>().unwrap(), parsed, "{shown}");
        }
    }

    #[test]
    fn an_invalid_name_is_refused() {
        for text in [
            "",
            ".",
            "/",
            "/ns",
            "/ns/",
            "//foo",
            "/ns/./foo",
            "a/b/c/d",
            "/a/b/c/d",
            " x",
            "x ",
            "ü",
        ] {
            assert!(text.parse::<QualifiedName>().is_err(), "{text:?}");
        }
        assert!("x".repeat(257).parse::<QualifiedName>().is_err());
    }
}
