//! URLs of providers, and paths below them.

use falco_core::{Error, Result};
use reqwest::Url;

/// Reads the base URL of a provider: http or https, a host, perhaps a path, and nothing else.
///
/// # Examples
///
/// ```
/// let url = falco_http::base_url("http://127.0.0.1:8080/faas/")?;
/// assert_eq!(falco_http::below(&url, ["function", "a/b"]).path(), "/faas/function/a%2Fb");
/// # Ok::<(), falco_core::Error>(())
/// ```
///
/// # Errors
///
/// `InvalidInput` that says what is wrong. It does not show the text, which may hold a password.
pub fn base_url(text: &str) -> Result<Url> {
    let invalid = |why: String| {
        Error::invalid_input(format!("invalid base URL: {why}"))
            .with_hint("write it as https://host/ or http://127.0.0.1:8080")
    };
    let url = Url::parse(text.trim()).map_err(|error| invalid(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(invalid("it is neither http nor https".to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("it must not hold a user or a password".to_owned()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("it may hold a host and a path, and nothing else".to_owned()));
    }
    Ok(url)
}

/// `base` with `segments` below its path. Each is escaped, so that a name cannot lead to another path.
pub fn below<'a>(base: &Url, segments: impl IntoIterator<Item = &'a str>) -> Url {
    let mut url = base.clone();
    // Only URLs without a host have no segments, and `base_url` admits none of those.
    if let Ok(mut path) = url.path_segments_mut() {
        // `url` leaves these two out, so that the path of one function would be that of all of them.
        path.pop_if_empty().extend(segments.into_iter().map(|segment| match segment {
            "." => "%2E",
            ".." => "%2E%2E",
            name => name,
        }));
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_url_is_refused_without_being_quoted() {
        for wrong in [
            "localhost",
            "ftp://marked",
            "http://admin:marked@host",
            "http://marked@host:port",
            "http://host/?marked",
            "http://host/#marked",
        ] {
            let error = base_url(wrong).unwrap_err();
            assert!(!format!("{error:?}").contains("marked"), "{error:?}");
        }
    }

    #[test]
    fn a_name_of_dots_is_not_left_out() {
        let url = below(&base_url("http://h/x").unwrap(), ["functions", "..", "."]);
        assert_eq!(url.as_str(), "http://h/x/functions/%252E%252E/%252E");
    }

    #[test]
    fn names_are_appended_and_escaped() {
        for base in ["http://h/x", "http://h/x/"] {
            let url = below(&base_url(base).unwrap(), ["a b", "c?d", "e/f"]);
            assert_eq!(url.as_str(), "http://h/x/a%20b/c%3Fd/e%2Ff", "{base}");
        }
    }
}
