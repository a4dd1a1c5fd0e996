//! URLs of stores and objects.

use falco_core::{Error, Result};

/// The stores whose URLs are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    File,
    S3,
    Gs,
    Az,
}

impl Scheme {
    fn of(name: &str) -> Option<Self> {
        match name {
            "file" => Some(Self::File),
            "s3" => Some(Self::S3),
            "gs" => Some(Self::Gs),
            "az" => Some(Self::Az),
            _ => None,
        }
    }
}

/// Where a store or an object is: `s3://bucket/key`, `file:///key`. Keys are in it as they are, not percent-encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) scheme: Scheme,
    /// Empty for a folder.
    pub(crate) bucket: String,
    /// Without slashes at either end.
    pub(crate) key: String,
}

const FORMS: &str =
    "use file:///FOLDER, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX";

impl Place {
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let invalid = |what: &str| {
            Err(Error::invalid_input(format!("invalid URL of a store {:?}: {what}", shown(url)))
                .with_hint(FORMS))
        };
        let Some((scheme, rest)) = url.split_once("://") else {
            return invalid("it has no scheme");
        };
        let Some(scheme) = Scheme::of(scheme) else {
            return invalid(&format!("the scheme {scheme:?} is unknown"));
        };
        if scheme == Scheme::File {
            let Some(path) = rest.strip_prefix('/') else {
                return invalid("the path of a folder has to be absolute");
            };
            let key = path.trim_matches('/').to_owned();
            return Ok(Self { scheme, bucket: String::new(), key });
        }
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return invalid("it names no bucket");
        }
        Ok(Self { scheme, bucket: bucket.to_owned(), key: key.trim_matches('/').to_owned() })
    }

    /// The URL, without a slash at its end.
    pub(crate) fn url(&self) -> String {
        let scheme = match self.scheme {
            Scheme::File => "file",
            Scheme::S3 => "s3",
            Scheme::Gs => "gs",
            Scheme::Az => "az",
        };
        match self.key.as_str() {
            "" => format!("{scheme}://{}", self.bucket),
            key => format!("{scheme}://{}/{key}", self.bucket),
        }
    }
}

/// The URL of `key` below `base`.
pub(crate) fn join(base: &str, key: &str) -> String {
    match key.trim_matches('/') {
        "" => base.to_owned(),
        key => format!("{base}/{key}"),
    }
}

/// Whether `url` is `base` or lies below it.
pub(crate) fn lies_in(url: &str, base: &str) -> bool {
    url.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A URL for an error: what may be a signature is left out.
pub(crate) fn shown(url: &str) -> &str {
    url.split('?').next().unwrap_or_default()
}

/// Text in which every query of a URL is replaced, since it may hold a signature.
pub(crate) fn without_queries(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let end = rest[at..]
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ')' | '>' | '<'))
            .map_or(rest.len(), |end| at + end);
        match rest[at..end].find('?') {
            Some(query) => {
                clean.push_str(&rest[..at + query]);
                clean.push_str("?..");
            }
            None => clean.push_str(&rest[..end]),
        }
        rest = &rest[end..];
    }
    clean + rest
}

/// A part of a key out of any text. In a text that cannot be in a key as it is, the other characters become `_`, and a
/// hash of the text follows: two texts do not share a part.
pub(crate) fn plain(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.chars().all(plain) && !text.chars().all(|c| c == '.') {
        return text.to_owned();
    }
    let part: String = text.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    format!("{part}_{:08x}", hash(text))
}

/// FNV-1a.
pub(crate) fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use falco_core::ErrorKind;

    use super::*;

    #[test]
    fn urls_come_back_as_they_were_without_slashes_at_the_end() {
        for (url, back) in [
            ("file:///data/in/", "file:///data/in"),
            ("file:///", "file://"),
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/a b/ä/", "s3://bucket/a b/ä"),
            ("gs://bucket/x", "gs://bucket/x"),
            ("az://container/x", "az://container/x"),
        ] {
            assert_eq!(Place::parse(url).unwrap().url(), back);
        }
    }

    #[test]
    fn urls_of_no_known_store_say_which_are_known() {
        for url in ["data/in", "http://host/x", "s3:///x", "file://data/in", "S3://b"] {
            let error = Place::parse(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains("s3://BUCKET/PREFIX"), "{error}");
        }
        let error = Place::parse("https://h/x?X-Amz-Signature=marked-secret").unwrap_err();
        assert!(!error.to_string().contains("marked-secret"), "{error}");
    }

    #[test]
    fn queries_are_taken_out_of_texts() {
        let text = "GET \"https://h/a?sig=secret\" failed, then https://h/b?x=secret and s3://b/c";
        let clean = "GET \"https://h/a?..\" failed, then https://h/b?.. and s3://b/c";
        assert_eq!(without_queries(text), clean);
    }

    #[test]
    fn only_whole_parts_of_a_path_lie_within() {
        assert!(lies_in("s3://b/logs/a", "s3://b/logs") && lies_in("s3://b/logs", "s3://b/logs"));
        assert!(!lies_in("s3://b/logs2/a", "s3://b/logs") && !lies_in("s3://c/a", "s3://b"));
        assert!(lies_in("file:///data/a", "file://"));
    }

    #[test]
    fn parts_of_keys_are_plain_and_two_texts_share_none() {
        assert_eq!(plain("6553f100-0000beef"), "6553f100-0000beef");
        let odd = ["map/ü 1", "map/ü_1", "..", ".", "", "map___1"];
        let parts: std::collections::BTreeSet<_> = odd.map(plain).into();
        assert_eq!(parts.len(), odd.len(), "{parts:?}");
        let of_keys = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        assert!(parts.iter().all(|part| part.chars().all(of_keys) && part.len() > 2), "{parts:?}");
    }
}
