//! FACT's CSV: its columns in its order, with times as decimal numbers.

use std::io::{self, Write};

use super::trace::{FactTrace, FactTraces, split};
use crate::record::Record;
use crate::units::Micros;

/// The columns that FACT's collector writes.
const COLUMNS: [&str; 22] = [
    "ID",
    "ChildOf",
    "Timestamp",
    "CId",
    "HId",
    "CStart",
    "ECost",
    "RStart",
    "EStart",
    "ECode",
    "EEnd",
    "REnd",
    "Version",
    "CVersion",
    "Provider",
    "Region",
    "COs",
    "CMem",
    "ELat",
    "RLat",
    "DLat",
    "TLat",
];

/// The tags of every trace, each a column of its own.
const TAGS: [&str; 8] = [
    "falco.run",
    "falco.stage",
    "falco.invocation",
    "falco.attempt",
    "falco.outcome",
    "falco.cold",
    "falco.clock",
    "rid",
];

/// Writes the records of a trace as FACT's CSV (RFC 4180). Times are seconds with nine decimals, `ECost` is US dollars.
///
/// # Examples
///
/// ```
/// use falco_trace::{Call, CallOutcome, FactCsv, Micros, Record};
///
/// # fn main() -> std::io::Result<()> {
/// let mut csv = FactCsv::new(Vec::new())?;
/// csv.take(&Record::Call(Box::new(Call::new("map", "1", Micros(0), Micros(5_000), CallOutcome::Ok))))?;
/// let text = String::from_utf8(csv.into_inner()).unwrap();
/// assert!(text.starts_with("ID,ChildOf,Timestamp,"));
/// assert_eq!(text.lines().count(), 2);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct FactCsv<W> {
    to: W,
    traces: FactTraces,
    tags: Vec<String>,
}

impl<W: Write> FactCsv<W> {
    /// Writes the header.
    ///
    /// # Errors
    ///
    /// Those of `to`.
    pub fn new(to: W) -> io::Result<Self> {
        Self::with_attributes(to, [])
    }

    /// Writes the header, with a column for each of these [attributes](crate::Call::attributes) of activations: columns are
    /// known before the first row.
    ///
    /// # Errors
    ///
    /// Those of `to`.
    pub fn with_attributes(mut to: W, names: impl IntoIterator<Item = String>) -> io::Result<Self> {
        let mut tags: Vec<String> = TAGS.map(str::to_owned).into();
        tags.extend(names.into_iter().filter(|name| !TAGS.contains(&&**name)));
        let header = COLUMNS.map(str::to_owned).into_iter();
        let header = header.chain(tags.iter().map(|tag| quoted(&format!("T_{tag}"))));
        write!(to, "{}\r\n", header.collect::<Vec<_>>().join(","))?;
        Ok(Self { to, traces: FactTraces::default(), tags })
    }

    /// Writes the rows that follow from a record.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn take(&mut self, record: &Record<'_>) -> io::Result<()> {
        for trace in self.traces.of(record) {
            let row: Vec<String> =
                fields(&trace, &self.tags).iter().map(|field| quoted(field)).collect();
            write!(self.to, "{}\r\n", row.join(","))?;
        }
        Ok(())
    }

    /// The writer.
    pub fn into_inner(self) -> W {
        self.to
    }
}

fn fields(trace: &FactTrace, tags: &[String]) -> Vec<String> {
    let mut fields = vec![
        trace.id.clone(),
        trace.child_of.clone(),
        seconds(trace.timestamp),
        trace.container.clone(),
        trace.host.clone(),
        seconds(trace.boot),
        if trace.cost == 0.0 { String::new() } else { format!("{:.12}", trace.cost) },
        seconds(trace.request_start),
        seconds(trace.start),
        trace.status.to_string(),
        seconds(trace.end),
        seconds(trace.request_end),
        trace.code_version.clone(),
        trace.config_version.clone(),
        trace.platform.clone(),
        trace.region.clone(),
        trace.runtime.clone(),
        if trace.memory == 0 { String::new() } else { trace.memory.to_string() },
        seconds(trace.execution),
        seconds(trace.round_trip),
        seconds(trace.delay),
        seconds(trace.transport),
    ];
    fields.extend(tags.iter().map(|tag| trace.tags.get(tag).cloned().unwrap_or_default()));
    fields
}

fn seconds(time: Option<Micros>) -> String {
    time.map_or(String::new(), |time| {
        let (seconds, nanos) = split(time);
        format!("{seconds}.{nanos:09}")
    })
}

fn quoted(field: &str) -> String {
    match field.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_owned(),
    }
}
