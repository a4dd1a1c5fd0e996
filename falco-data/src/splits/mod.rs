//! Inputs: exact ranges of whole records.

mod boundary;
mod csv;
mod listed;
mod pack;
mod plan;
mod scan;
mod stage;

use std::fmt;
use std::sync::Arc;

use falco_core::{BoxStream, Error, Input, Payload, Result};
use serde::Serialize;

pub use csv::Csv;
pub use stage::ScannedRows;

use crate::object::{Fields, Object, Sink};
use crate::store::Store;

/// How inputs are cut: each function gets an exact range of whole records, so that it reads what it is given and nothing
/// else.
///
/// `prefix` is a key below the store: of one object, or of a folder with all that is in it. Keys are sorted. Objects
/// without content are left out, and those whose name begins with `.` or `_`, or that are in such a folder below the prefix,
/// unless the folder's name holds `=`.
#[derive(Clone, Copy, Debug)]
pub enum Splits {}

impl Splits {
    /// Lines. Small objects are packed together. Compressed objects are not cut: functions decompress `.gz`, and get `.zst`,
    /// `.bz2` and `.xz` as they are.
    pub fn lines(store: &Store, prefix: &str) -> SplitsOf {
        SplitsOf::new(store, prefix, Format::Lines)
    }

    /// Rows of CSV files. Compressed objects are treated as by [`lines`](Self::lines), and keep their header.
    pub fn csv(store: &Store, prefix: &str, csv: Csv) -> SplitsOf {
        SplitsOf::new(store, prefix, Format::Csv(csv))
    }

    /// Records of `record` bytes each.
    pub fn fixed(store: &Store, prefix: &str, record: u64) -> SplitsOf {
        SplitsOf::new(store, prefix, Format::Fixed(record))
    }

    /// Parquet files. The range says which row groups to take, by the footer of the file: those whose middle lies in it, or those
    /// that begin in it, as long as all functions use one rule.
    pub fn parquet(store: &Store, prefix: &str) -> SplitsOf {
        SplitsOf::new(store, prefix, Format::Bytes)
    }

    /// Whole objects, one for each function.
    pub fn whole(store: &Store, prefix: &str) -> SplitsOf {
        SplitsOf::new(store, prefix, Format::Whole)
    }
}

/// Splits of the objects below a prefix.
///
/// # Examples
///
/// ```
/// use falco_core::{Deployable, Stage};
/// use falco_data::{Splits, Store};
///
/// let store = Store::open("file:///data")?;
/// let lines = Splits::lines(&store, "logs").target(8 << 20);
/// # let count = Deployable::python("count", "def main(args): return {}");
/// // def main(args):
/// //     for line in args["input"].lines(): ..
/// let stage = Stage::new("map", count, move || lines.inputs());
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone)]
pub struct SplitsOf {
    store: Store,
    prefix: Arc<str>,
    format: Format,
    size: Size,
    sink: Option<Sink>,
}

#[derive(Clone, Copy, Debug)]
enum Format {
    Lines,
    Csv(Csv),
    Fixed(u64),
    Bytes,
    Whole,
}

#[derive(Clone, Copy, Debug)]
enum Size {
    Target(u64),
    Count(u64),
}

/// The bytes of a split, unless the user says otherwise.
const TARGET: u64 = 64 << 20;

impl SplitsOf {
    fn new(store: &Store, prefix: &str, format: Format) -> Self {
        let size = Size::Target(TARGET);
        Self { store: store.clone(), prefix: prefix.into(), format, size, sink: None }
    }

    /// Aims at splits of so many bytes; 64 MiB unless set.
    #[must_use]
    pub fn target(mut self, bytes: u64) -> Self {
        self.size = Size::Target(bytes.max(1));
        self
    }

    /// Aims at so many splits of about equal size over all objects. There are fewer where records are long, and more where
    /// there are more objects that cannot be packed.
    #[must_use]
    pub fn count(mut self, splits: u64) -> Self {
        self.size = Size::Count(splits.max(1));
        self
    }

    /// Gives each split a place to write to, in the field `out` of the argument. A place outside of the scratch store is
    /// numbered as the split is.
    #[must_use]
    pub fn with_sink(mut self, sink: Sink) -> Self {
        self.sink = Some(sink);
        self
    }

    /// Plans the splits, as fast as they are taken.
    ///
    /// The stream fails with `NotFound` when nothing lies under the prefix, with `InvalidInput` for an object that
    /// cannot be cut as wanted, with `Conflict` for one that changes meanwhile, and with what the store refuses.
    pub fn stream(&self) -> BoxStream<'static, Result<Split>> {
        plan::stream(self.clone())
    }

    /// The splits as inputs of a stage: `{"input": .., "number": 3, "header": .., "out": ..}`, numbered from 0.
    pub fn inputs(&self) -> BoxStream<'static, Result<Input>> {
        use futures_util::StreamExt;
        let sink = self.sink.clone();
        self.stream().map(move |split| split?.input(sink.as_ref())).boxed()
    }
}

impl fmt::Debug for SplitsOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SplitsOf")
            .field("store", &self.store)
            .field("prefix", &self.prefix)
            .field("format", &self.format)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// One split: what one function reads.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Split {
    /// The ranges, mostly one; several for small objects that are packed together.
    pub objects: Vec<Object>,
    /// The number of the split, from 0.
    pub number: u64,
    /// The header of the CSV file, without its line end. It is not part of any range.
    pub header: Option<String>,
}

/// The argument of a function over a split.
#[derive(Serialize)]
struct Argument<'a> {
    input: One<'a>,
    number: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    out: Option<Sink>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum One<'a> {
    Object(&'a Object),
    Objects {
        #[serde(rename = "falco:objects")]
        objects: Vec<Fields>,
    },
}

impl Split {
    /// The bytes in it.
    pub fn len(&self) -> u64 {
        self.objects.iter().filter_map(Object::len).sum()
    }

    /// Whether there are no bytes in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The input of a function over it, with a place to write to.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when it has no JSON form, which does not happen.
    pub fn input(&self, sink: Option<&Sink>) -> Result<Input> {
        let input = match self.objects.as_slice() {
            [object] => One::Object(object),
            objects => One::Objects { objects: objects.iter().cloned().map(Into::into).collect() },
        };
        let out = sink.map(|sink| sink.clone().numbered(self.number));
        let header = self.header.as_deref();
        let payload = Payload::json(&Argument { input, number: self.number, header, out })?;
        let number = usize::try_from(self.number)
            .map_err(|_| Error::invalid_input("there are too many splits"))?;
        Ok(Input::numbered(number, payload))
    }
}
