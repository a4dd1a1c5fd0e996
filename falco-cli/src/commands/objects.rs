//! Inputs and outputs that are objects: the flags of `falco map`, and what they have in common with the files of `falco run`.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::bail;
use clap::Args;
use falco_cli::clean_scratch;
use falco_cli::flags::{JournalFlags, open_store};
use falco_core::{
    Completion, Derivation, DerivationContext, Deriver, Error, Input, InvocationId, Payload, Result,
};
use falco_data::{Csv, Manifest, Sink, Splits, SplitsOf, Store, commit};
use falco_executors::RunOutcome;
use serde_json::value::RawValue;

/// The name of the objects that functions write, before number, run and attempt.
pub(crate) const PART: &str = "part";

/// Where the data is, when it does not go through payloads.
#[derive(Debug, Args)]
pub(crate) struct ObjectFlags {
    /// Run the function once for each split of the objects in this folder or URL: s3://BUCKET/PREFIX, gs://.. or az://..;
    /// args["input"] reads the split
    #[arg(long, value_name = "URL", help_heading = "Data", conflicts_with_all = ["inputs", "format"])]
    input: Option<String>,

    /// Cut the objects so: lines, csv, csv-quoted (fields hold line feeds), fixed:BYTES, parquet or whole; :SIZE aims at splits of
    /// that size, /N at N splits [default: lines:64MiB]
    #[arg(long, value_name = "FORMAT", help_heading = "Data", requires = "input")]
    split: Option<SplitBy>,

    /// Let the function write objects into this folder or URL by args["out"]; they are complete at once, with a manifest
    #[arg(long, value_name = "URL", help_heading = "Data")]
    output: Option<String>,

    /// Keep what lives no longer than the run in this folder or URL [default: _scratch below the output]
    #[arg(long, value_name = "URL", help_heading = "Data")]
    scratch: Option<String>,
}

/// The stores of a run.
#[derive(Debug)]
pub(crate) struct Objects {
    pub(crate) input: Option<Store>,
    split: SplitBy,
    pub(crate) output: Option<Store>,
    pub(crate) scratch: Store,
    /// A scratch folder of this run alone.
    own_scratch: Option<PathBuf>,
}

impl ObjectFlags {
    /// The stores that the flags name; none when the data goes through payloads.
    ///
    /// # Errors
    ///
    /// When a URL is not one of a known store, the store is not configured, or there is no place for a scratch store that lives
    /// as long as the journal.
    pub(crate) fn open(&self, journal: &JournalFlags) -> anyhow::Result<Option<Objects>> {
        if self.input.is_none() && self.output.is_none() && self.scratch.is_none() {
            return Ok(None);
        }
        let input = self.input.as_deref().map(open_store).transpose()?;
        let output = self.output.as_deref().map(open_store).transpose()?;
        let (scratch, own_scratch) = match (&self.scratch, &output) {
            (Some(scratch), _) => (open_store(scratch)?, None),
            (None, Some(output)) => (scratch_below(output)?, None),
            // The results in a journal refer to it, and another process may need it.
            (None, None) if journal.journal.is_some() || journal.resume.is_some() => bail!(
                "a run with a journal needs a place that the next process finds, too, for what the functions keep: pass --scratch URL, or --output URL"
            ),
            (None, None) if input.as_ref().is_some_and(Store::is_folder) => {
                let name = format!("falco-scratch-{:012x}", fastrand::u64(..1 << 48));
                let folder = std::env::temp_dir().join(name);
                (Store::folder(&folder)?, Some(folder))
            }
            (None, None) => bail!(
                "--input needs a place for what lives no longer than the run: pass --scratch URL, or --output URL"
            ),
        };
        let split = self.split.clone().unwrap_or_default();
        Ok(Some(Objects { input, split, output, scratch, own_scratch }))
    }
}

/// The default place of what lives no longer than a run.
///
/// # Errors
///
/// As [`open_store`].
pub(crate) fn scratch_below(output: &Store) -> Result<Store> {
    open_store(&format!("{}/_scratch", output.url()))
}

impl Objects {
    /// The splits of the input, if there is one.
    pub(crate) fn splits(&self) -> Option<SplitsOf> {
        self.input.as_ref().map(|input| self.split.of(input))
    }

    /// The place that functions write to, if there is one.
    pub(crate) fn sink(&self) -> Option<Sink> {
        self.output.as_ref().map(|output| output.sink(PART))
    }

    /// Completes the output of a run that succeeded, and deletes what the run kept for itself.
    ///
    /// # Errors
    ///
    /// When the output cannot be completed.
    pub(crate) async fn finish(
        &self,
        outcome: &RunOutcome,
        succeeded: bool,
        results: &[(InvocationId, Payload)],
    ) -> anyhow::Result<Option<Manifest>> {
        let manifest = match &self.output {
            Some(output) if succeeded => committed(output, outcome, results).await.map(Some),
            _ => Ok(None),
        };
        clean_scratch(&self.scratch, outcome).await?;
        if let Some(folder) = self.own_scratch.as_ref().filter(|_| !outcome.is_suspended()) {
            // What is left is empty, or was named already.
            let _ = std::fs::remove_dir_all(folder);
        }
        Ok(manifest?)
    }
}

/// Completes an output.
///
/// # Errors
///
/// As [`commit`].
pub(crate) async fn committed(
    output: &Store,
    outcome: &RunOutcome,
    results: &[(InvocationId, Payload)],
) -> Result<Manifest> {
    commit(output, &outcome.report.run, results).await.map_err(|error| match error.hint() {
        None if error.kind() == falco_core::ErrorKind::InvalidInput => error.with_hint(
            "write to args[\"out\"] in the function, and return {\"out\": out.close()}; await it in JavaScript",
        ),
        _ => error,
    })
}

/// How objects are cut: `lines:64MiB`, `csv/100`, `fixed:16`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SplitBy {
    format: SplitFormat,
    size: Size,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SplitFormat {
    Lines,
    Csv,
    CsvQuoted,
    Fixed(u64),
    Parquet,
    Whole,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Default,
    Bytes(u64),
    Count(u64),
}

impl Default for SplitBy {
    fn default() -> Self {
        Self { format: SplitFormat::Lines, size: Size::Default }
    }
}

impl SplitBy {
    /// The splits of all objects in a store.
    pub(crate) fn of(&self, store: &Store) -> SplitsOf {
        let splits = match self.format {
            SplitFormat::Lines => Splits::lines(store, ""),
            SplitFormat::Csv => Splits::csv(store, "", Csv::default()),
            SplitFormat::CsvQuoted => Splits::csv(store, "", Csv::default().with_quoted_newlines()),
            SplitFormat::Fixed(record) => Splits::fixed(store, "", record),
            SplitFormat::Parquet => Splits::parquet(store, ""),
            SplitFormat::Whole => Splits::whole(store, ""),
        };
        match self.size {
            Size::Default => splits,
            Size::Bytes(bytes) => splits.target(bytes),
            Size::Count(count) => splits.count(count),
        }
    }
}

const FORMATS: &str = "use lines, csv, csv-quoted, fixed:BYTES, parquet or whole, with a size such as :64MiB, or a number of \
                       splits such as /100";

impl FromStr for SplitBy {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let invalid = |what: &str| Err(format!("{what}: {FORMATS}"));
        let (rest, count) = match text.split_once('/') {
            Some((rest, count)) => match count.parse::<u64>() {
                Ok(count) if count > 0 => (rest, Some(count)),
                _ => return invalid(&format!("{count:?} is not a number of splits")),
            },
            None => (text, None),
        };
        let mut parts = rest.split(':');
        let format = match (parts.next().unwrap_or_default(), count) {
            ("lines", _) => SplitFormat::Lines,
            ("csv", _) => SplitFormat::Csv,
            ("csv-quoted", _) => SplitFormat::CsvQuoted,
            ("parquet", _) => SplitFormat::Parquet,
            ("whole", None) if rest == "whole" => SplitFormat::Whole,
            ("whole", _) => return invalid("whole objects have no size"),
            ("fixed", _) => match parts.next().map(bytes) {
                Some(Ok(record)) => SplitFormat::Fixed(record),
                _ => return invalid("fixed needs the bytes of a record"),
            },
            (other, _) => return invalid(&format!("the format {other:?} is unknown")),
        };
        let size = match (parts.next(), count) {
            (None, None) => Size::Default,
            (None, Some(count)) => Size::Count(count),
            (Some(size), None) => match bytes(size) {
                Ok(size) => Size::Bytes(size),
                Err(what) => return invalid(&what),
            },
            (Some(_), Some(_)) => {
                return invalid("a size and a number of splits exclude each other");
            }
        };
        match parts.next() {
            None => Ok(Self { format, size }),
            Some(more) => invalid(&format!("{more:?} is too much")),
        }
    }
}

/// Reads a number of bytes, such as `64MiB`.
///
/// # Errors
///
/// For another text, and for zero.
pub(crate) fn bytes(text: &str) -> std::result::Result<u64, String> {
    const UNITS: [(&str, u64); 8] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("B", 1),
        ("", 1),
    ];
    let unit = UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let number = unit.and_then(|(number, factor)| number.parse::<u64>().ok()?.checked_mul(factor));
    number.filter(|bytes| *bytes > 0).ok_or_else(|| format!("{text:?} is not a number of bytes"))
}

/// The argument with a place to write to in its field `out`.
///
/// # Errors
///
/// `InvalidInput` for an argument that is not an object, or has such a field.
pub(crate) fn with_out(argument: &Payload, sink: &Sink) -> Result<Payload> {
    let fields: std::collections::BTreeMap<&str, &RawValue> = argument.parse()?;
    if fields.contains_key("out") {
        return Err(Error::invalid_input(
            "the argument has a field \"out\" already, which the output needs",
        ));
    }
    let out = Payload::json(sink)?;
    let rest = argument.as_str().trim_start().trim_start_matches('{');
    let comma = if fields.is_empty() { "" } else { "," };
    Payload::from_bytes(format!("{{\"out\":{}{comma}{rest}", out.as_str()))
}

/// A derivation whose inputs get a place to write to, if there is one.
#[derive(Clone, Debug)]
pub(crate) struct Writing {
    pub(crate) derivation: Arc<dyn Derivation>,
    pub(crate) sink: Option<Sink>,
}

impl Derivation for Writing {
    fn start(&self, context: DerivationContext) -> Result<Box<dyn Deriver>> {
        let inner = self.derivation.start(context)?;
        Ok(match self.sink.clone() {
            Some(sink) => Box::new(WritingDeriver { inner, sink, next: 0 }),
            None => inner,
        })
    }

    fn is_barrier(&self) -> bool {
        self.derivation.is_barrier()
    }

    fn reads_results(&self) -> bool {
        self.derivation.reads_results()
    }
}

struct WritingDeriver {
    inner: Box<dyn Deriver>,
    sink: Sink,
    next: u64,
}

impl WritingDeriver {
    fn writing(&mut self, inputs: Vec<Input>) -> Result<Vec<Input>> {
        let mut writing = Vec::with_capacity(inputs.len());
        for mut input in inputs {
            input.payload = with_out(&input.payload, &self.sink.clone().numbered(self.next))?;
            self.next += 1;
            writing.push(input);
        }
        Ok(writing)
    }
}

impl Deriver for WritingDeriver {
    fn on_completion(&mut self, completion: &Completion) -> Result<Vec<Input>> {
        let inputs = self.inner.on_completion(completion)?;
        self.writing(inputs)
    }

    fn finish(&mut self) -> Result<Vec<Input>> {
        let inputs = self.inner.finish()?;
        self.writing(inputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_are_read_and_what_is_wrong_is_named() {
        for (text, format, size) in [
            ("lines", SplitFormat::Lines, Size::Default),
            ("lines:64MiB", SplitFormat::Lines, Size::Bytes(64 << 20)),
            ("csv:1000", SplitFormat::Csv, Size::Bytes(1000)),
            ("csv-quoted/7", SplitFormat::CsvQuoted, Size::Count(7)),
            ("fixed:16:1MB", SplitFormat::Fixed(16), Size::Bytes(1_000_000)),
            ("fixed:16B/3", SplitFormat::Fixed(16), Size::Count(3)),
            ("parquet:1GiB", SplitFormat::Parquet, Size::Bytes(1 << 30)),
            ("whole", SplitFormat::Whole, Size::Default),
        ] {
            assert_eq!(text.parse(), Ok(SplitBy { format, size }), "{text}");
        }
        for (text, words) in [
            ("rows", "\"rows\" is unknown"),
            ("lines:0", "\"0\" is not a number of bytes"),
            ("lines:x", "not a number of bytes"),
            ("lines/0", "not a number of splits"),
            ("lines:1MB/3", "exclude each other"),
            ("fixed", "fixed needs"),
            ("whole:1", "have no size"),
            ("lines:1:2", "\"2\" is too much"),
            ("lines:99999999999GiB", "not a number of bytes"),
        ] {
            let error = text.parse::<SplitBy>().unwrap_err();
            assert!(error.contains(words) && error.contains("64MiB"), "{text}: {error}");
        }
    }

    #[test]
    fn an_argument_gets_a_place_to_write_to_and_stays_as_it_is_otherwise() {
        let sink = Sink::scratch();
        for (argument, expected) in [
            ("{}", r#"{"out":{"falco:sink":{}}}"#),
            (r#" {"a": 1.50}"#, r#"{"out":{"falco:sink":{}},"a": 1.50}"#),
        ] {
            let with = with_out(&Payload::from_bytes(argument).unwrap(), &sink).unwrap();
            assert_eq!(with.as_str(), expected);
        }
        let error = with_out(&Payload::from_bytes(r#"{"out":1}"#).unwrap(), &sink).unwrap_err();
        assert!(error.to_string().contains("field \"out\""), "{error}");
    }
}
