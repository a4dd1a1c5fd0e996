//! References to objects, as payloads, results and journals hold them.

use serde::{Deserialize, Serialize};

use crate::place::join;

/// A reference to an object of a store, or to a range of it. It holds no secret, and reading it needs a
/// [`Store`](crate::Store).
///
/// # Examples
///
/// ```
/// use falco_data::Object;
///
/// let object = Object::new("s3://bucket/logs/a.txt").with_range(0, 4096);
/// let json = serde_json::to_string(&object)?;
/// assert_eq!(json, r#"{"falco:object":{"url":"s3://bucket/logs/a.txt","range":[0,4096]}}"#);
/// assert_eq!(serde_json::from_str::<Object>(&json)?, object);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Wire", from = "Wire")]
#[non_exhaustive]
pub struct Object {
    /// Where it is: `s3://bucket/key`, `file:///folder/key`; the key as it is, not percent-encoded.
    pub url: String,
    /// The range of bytes, from the first to the one after the last; the whole object without one.
    pub range: Option<(u64, u64)>,
    /// The size of the whole object in bytes, if it is known.
    pub size: Option<u64>,
    /// The version that was planned with, if the store names versions. A function that reads another fails.
    pub etag: Option<String>,
    /// The lengths of its partitions in bytes, if a mapper wrote it.
    pub parts: Option<Vec<u64>>,
    /// Whether it is compressed by gzip, each partition by itself: functions read what was compressed. Sizes and ranges are
    /// those of the compressed bytes.
    pub gzip: bool,
}

impl Object {
    /// A whole object, of which only the place is known.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), range: None, size: None, etag: None, parts: None, gzip: false }
    }

    /// Takes the bytes from `from` to the one before `to`.
    #[must_use]
    pub fn with_range(mut self, from: u64, to: u64) -> Self {
        self.range = Some((from, to));
        self
    }

    /// Sets the size of the whole object in bytes.
    #[must_use]
    pub fn with_size(mut self, size: u64) -> Self {
        self.size = Some(size);
        self
    }

    /// Sets the version that has to be read.
    #[must_use]
    pub fn with_etag(mut self, etag: Option<String>) -> Self {
        self.etag = etag;
        self
    }

    /// Says whether functions decompress it.
    #[must_use]
    pub fn with_gzip(mut self, gzip: bool) -> Self {
        self.gzip = gzip;
        self
    }

    /// The number of bytes that it refers to, if it is known.
    pub fn len(&self) -> Option<u64> {
        self.range.map(|(from, to)| to.saturating_sub(from)).or(self.size)
    }

    /// Whether it is known to refer to no byte at all.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }
}

/// The form with one key.
#[derive(Serialize, Deserialize)]
struct Wire {
    #[serde(rename = "falco:object")]
    object: Fields,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fields {
    pub(crate) url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) range: Option<(u64, u64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) etag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parts: Option<Vec<u64>>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) gzip: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
pub(crate) fn is_false(flag: &bool) -> bool {
    !flag
}

impl From<Wire> for Object {
    fn from(Wire { object }: Wire) -> Self {
        object.into()
    }
}

impl From<Object> for Wire {
    fn from(object: Object) -> Self {
        Self { object: object.into() }
    }
}

impl From<Fields> for Object {
    fn from(Fields { url, range, size, etag, parts, gzip }: Fields) -> Self {
        Self { url, range, size, etag, parts, gzip }
    }
}

impl From<Object> for Fields {
    fn from(Object { url, range, size, etag, parts, gzip }: Object) -> Self {
        Self { url, range, size, etag, parts, gzip }
    }
}

/// A place that a function writes one object to. Each attempt gets a key of its own, and the function's result names
/// the object that it wrote.
///
/// # Examples
///
/// ```
/// use falco_data::Sink;
///
/// // Of a shuffle: 16 partitions, in the scratch store of the layer.
/// let sink = serde_json::to_string(&Sink::scratch().partitions(16))?;
/// assert_eq!(sink, r#"{"falco:sink":{"partitions":16}}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "SinkWire", from = "SinkWire")]
pub struct Sink(pub(crate) SinkFields);

#[derive(Serialize, Deserialize)]
struct SinkWire {
    #[serde(rename = "falco:sink")]
    sink: SinkFields,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SinkFields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) partitions: Option<u32>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) gzip: bool,
}

impl From<SinkWire> for Sink {
    fn from(SinkWire { sink }: SinkWire) -> Self {
        Self(sink)
    }
}

impl From<Sink> for SinkWire {
    fn from(Sink(sink): Sink) -> Self {
        Self { sink }
    }
}

impl Sink {
    /// A place in the scratch store of the layer, below the folder of the run.
    pub fn scratch() -> Self {
        Self(SinkFields::default())
    }

    pub(crate) fn at(base: &str, key: &str) -> Self {
        Self(SinkFields { url: Some(join(base, key)), ..SinkFields::default() })
    }

    /// Cuts what is written into `partitions`, as a shuffle needs it.
    #[must_use]
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.0.partitions = Some(partitions);
        self
    }

    /// Compresses what is written by gzip, each partition by itself, so that reducers still read by ranges. It costs about a
    /// tenth of a mapper's time, and saves bytes and no requests. Functions that read the object decompress it; its key is left
    /// as it is, so end it in `.gz` for other readers.
    ///
    /// # Examples
    ///
    /// ```
    /// use falco_data::Store;
    ///
    /// let sink = Store::open("file:///data/out")?.sink("part.csv.gz").gzip();
    /// # Ok::<(), falco_core::Error>(())
    /// ```
    #[must_use]
    pub fn gzip(mut self) -> Self {
        self.0.gzip = true;
        self
    }

    /// The sink of one of several writers: `out/part.csv` becomes `out/part-00003.csv`.
    #[must_use]
    pub fn numbered(mut self, number: u64) -> Self {
        self.0.url = self.0.url.map(|url| with_suffix(&url, &format!("-{number:05}")));
        self
    }
}

/// The key of a URL with `suffix` before its extension.
pub(crate) fn with_suffix(url: &str, suffix: &str) -> String {
    let name = url.rfind('/').map_or(0, |slash| slash + 1);
    match url[name..].find('.') {
        Some(dot) if dot > 0 => {
            let (stem, extension) = url.split_at(name + dot);
            format!("{stem}{suffix}{extension}")
        }
        _ => format!("{url}{suffix}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suffix_of_an_attempt_stands_before_the_extension_of_a_key() {
        for (url, expected) in [
            ("s3://b/out/part.csv", "s3://b/out/part-1.csv"),
            ("s3://b/out.d/part", "s3://b/out.d/part-1"),
            ("s3://b/part.csv.gz", "s3://b/part-1.csv.gz"),
            ("s3://b/.hidden", "s3://b/.hidden-1"),
        ] {
            assert_eq!(with_suffix(url, "-1"), expected);
        }
    }

    #[test]
    fn all_fields_of_a_reference_come_back() {
        let mut object = Object::new("gs://b/k").with_range(3, 9).with_size(20);
        object.etag = Some("\"abc\"".into());
        object.parts = Some(vec![0, 4, 2]);
        let json = serde_json::to_string(&object).unwrap();
        assert_eq!(serde_json::from_str::<Object>(&json).unwrap(), object);
        let packed = object.with_gzip(true);
        let json = serde_json::to_string(&packed).unwrap();
        assert_eq!(serde_json::from_str::<Object>(&json).unwrap(), packed);
        let sink = Sink::at("s3://b/out", "part.csv").numbered(3).partitions(7);
        let json = serde_json::to_string(&sink).unwrap();
        let expected = r#"{"falco:sink":{"url":"s3://b/out/part-00003.csv","partitions":7}}"#;
        assert_eq!(json, expected);
        let json = serde_json::to_string(&Sink::scratch().gzip()).unwrap();
        assert_eq!(json, r#"{"falco:sink":{"gzip":true}}"#);
    }
}
