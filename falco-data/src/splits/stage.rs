//! CSV rows with quoted line feeds, found by functions: the scan is a stage, so that no byte passes through the driver.

use std::collections::BTreeMap;
use std::sync::Arc;

use falco_core::{
    Completion, Deployable, Derivation, DerivationContext, Deriver, Error, Input, Payload, Result,
    Stage, StageName,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use serde_json::json;

use super::boundary::nominal;
use super::listed::{Listed, list};
use super::scan::ends_inside;
use super::{Format, Size, Split, SplitsOf};
use crate::object::{Object, Sink};

/// Says of a range what can be said without knowing whether it begins inside quotes.
const SCAN: &str = r#"
import re

MARKS = re.compile(rb'["\n]')


def main(args):
    at, odd, begins, header = args["at"], False, [None, None], b""
    with args["input"].open() as stream:
        for piece in iter(lambda: stream.read(1 << 20), b""):
            seen = 0
            for mark in MARKS.finditer(piece):
                if None not in begins:
                    break
                seen = mark.end()
                if mark.group() == b'"':
                    odd = not odd
                elif begins[odd] is None:
                    begins[odd] = at + seen
            if args["header"] and begins[0] is None:
                header += piece
            elif args["header"] and at < begins[0]:
                header += piece[: begins[0] - at]
            odd ^= piece.count(b'"', seen) % 2 == 1
            at += len(piece)
    if args["header"] and begins[0] is None:
        if at < args["about"]["size"]:
            raise ValueError("the header of %s is longer than a split: use larger splits" % args["about"]["url"])
        begins[0] = at
    return {
        **args["about"],
        "odd": odd,
        "outside": begins[0],
        "inside": begins[1],
        "header": header.decode("utf-8-sig").rstrip("\r\n") if args["header"] else None,
    }
"#;

/// The derivation of the stage over the rows that [`SplitsOf::scan`] has found. Its arguments are those of
/// [`SplitsOf::inputs`].
#[derive(Clone, Debug)]
pub struct ScannedRows {
    sink: Option<Sink>,
}

impl SplitsOf {
    /// Finds the rows of CSV files with quoted line feeds by a stage of functions in Python, instead of at the driver. The
    /// stage that reads the rows is derived from it. The objects are read twice, by functions only.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for splits that are not of CSV with quoted line feeds.
    ///
    /// # Examples
    ///
    /// ```
    /// use falco_core::{Deployable, Stage};
    /// use falco_data::{Csv, Splits, Store};
    ///
    /// # let read = Deployable::python("f", "def main(args): return {}");
    /// let store = Store::open("file:///data")?;
    /// let splits = Splits::csv(&store, "in", Csv::default().with_quoted_newlines());
    /// let (scan, rows) = splits.scan("scan")?;
    /// let read = Stage::derived("read", read, ["scan"], rows);
    /// # Ok::<(), falco_core::Error>(())
    /// ```
    pub fn scan(&self, name: impl Into<StageName>) -> Result<(Stage, ScannedRows)> {
        let Format::Csv(csv) = self.format else {
            return Err(Error::invalid_input("only splits of CSV files are scanned"));
        };
        if !csv.quoted_newlines {
            return Err(Error::invalid_input("CSV without quoted line feeds needs no scan"));
        }
        let of = self.clone();
        let stage = Stage::new(name, Deployable::python("falco-scan", SCAN), move || {
            stream::once(ranges(of.clone(), csv.header)).try_flatten().boxed()
        });
        Ok((stage.idempotent(), ScannedRows { sink: self.sink.clone() }))
    }
}

async fn ranges(
    of: SplitsOf,
    header: bool,
) -> Result<futures_util::stream::Iter<std::vec::IntoIter<Result<Input>>>> {
    let objects = list(&of.store, &of.prefix).await?;
    let total: u64 = objects.iter().map(|object| object.size).sum();
    let target = match of.size {
        Size::Target(bytes) => bytes,
        Size::Count(count) => total.div_ceil(count).max(1),
    };
    let mut inputs = Vec::new();
    for object in &objects {
        let parts = object.size.div_ceil(target);
        // A row begins after a line feed, so each range begins one byte before its nominal boundary.
        let begin = |k| if k == 0 { 0 } else { nominal(0, object.size, k, parts) - 1 };
        for k in 0..parts {
            let end = if k + 1 == parts { object.size } else { begin(k + 1) };
            let input = range(object, begin(k), end.max(begin(k)), header && k == 0)?;
            inputs.push(Ok(Input::numbered(inputs.len(), input)));
        }
    }
    Ok(stream::iter(inputs))
}

fn range(object: &Listed, from: u64, to: u64, header: bool) -> Result<Payload> {
    Payload::json(&json!({
        "input": object.reference().with_range(from, to),
        "at": from,
        "header": header,
        "about": { "url": object.url, "size": object.size, "etag": object.etag, "at": from },
    }))
}

/// The answer of a function about one range.
#[derive(Debug, Deserialize)]
struct Scanned {
    url: String,
    size: u64,
    etag: Option<String>,
    at: u64,
    odd: bool,
    outside: Option<u64>,
    inside: Option<u64>,
    header: Option<String>,
}

impl Derivation for ScannedRows {
    fn start(&self, _: DerivationContext) -> Result<Box<dyn Deriver>> {
        Ok(Box::new(Scanning { sink: self.sink.clone(), objects: BTreeMap::new() }))
    }

    fn is_barrier(&self) -> bool {
        true
    }
}

struct Scanning {
    sink: Option<Sink>,
    /// The ranges of each object, by where they begin.
    objects: BTreeMap<String, BTreeMap<u64, Scanned>>,
}

impl Deriver for Scanning {
    fn on_completion(&mut self, completion: &Completion) -> Result<Vec<Input>> {
        let Some(result) = completion.result() else { return Ok(Vec::new()) };
        let scanned: Scanned = result.parse()?;
        self.objects.entry(scanned.url.clone()).or_default().insert(scanned.at, scanned);
        Ok(Vec::new())
    }

    fn finish(&mut self) -> Result<Vec<Input>> {
        let mut inputs = Vec::new();
        for (url, ranges) in std::mem::take(&mut self.objects) {
            let (mut is_inside, mut begin, mut header) = (false, None, None);
            let mut ends: Vec<(u64, u64)> = Vec::new();
            let (mut size, mut etag) = (0, None);
            let is_cut = ranges.len() > 1;
            for (at, range) in ranges {
                let found = if is_inside { range.inside } else { range.outside };
                is_inside ^= range.odd;
                (size, etag) = (range.size, range.etag);
                // The first row begins after the header, or where the object does.
                let found = if at == 0 && range.header.is_none() { Some(0) } else { found };
                if range.header.is_some() {
                    header = range.header.map(Arc::<str>::from);
                }
                if let Some(found) = found.filter(|found| begin.is_none_or(|begin| *found > begin))
                {
                    ends.extend(begin.map(|begin| (begin, found)));
                    begin = Some(found);
                }
            }
            if is_cut && is_inside {
                return Err(ends_inside(&url));
            }
            ends.extend(begin.filter(|begin| *begin < size).map(|begin| (begin, size)));
            for (from, to) in ends {
                let object = Object::new(&*url).with_size(size).with_etag(etag.clone());
                let objects = vec![object.with_range(from, to)];
                let number = inputs.len() as u64;
                let header = header.as_deref().map(str::to_owned);
                inputs.push(Split { objects, number, header }.input(self.sink.as_ref())?);
            }
        }
        Ok(inputs)
    }
}
