//! FACT's lines of a console: JSON as Go writes its struct.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::trace::{FactTrace, FactTraces, split};
use crate::record::Record;
use crate::units::Micros;

/// Writes the records of a trace as FACT's Go client prints them: a JSON object a line, with what is not known left out.
#[derive(Debug)]
pub struct FactConsole<W> {
    to: W,
    traces: FactTraces,
}

impl<W: Write> FactConsole<W> {
    /// Writes to `to`.
    pub fn new(to: W) -> Self {
        Self { to, traces: FactTraces::default() }
    }

    /// Writes the lines that follow from a record.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn take(&mut self, record: &Record<'_>) -> io::Result<()> {
        for trace in self.traces.of(record) {
            writeln!(self.to, "{}", object(&trace))?;
        }
        Ok(())
    }

    /// The writer.
    pub fn into_inner(self) -> W {
        self.to
    }
}

fn object(trace: &FactTrace) -> Value {
    let mut object = Map::new();
    let texts = [
        ("ID", &trace.id),
        ("ChildOf", &trace.child_of),
        ("ContainerID", &trace.container),
        ("HostID", &trace.host),
        ("Platform", &trace.platform),
        ("Region", &trace.region),
        ("Runtime", &trace.runtime),
        ("CodeVersion", &trace.code_version),
        ("ConfigVersion", &trace.config_version),
    ];
    for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        object.insert(name.to_owned(), json!(text));
    }
    let times = [
        ("Timestamp", trace.timestamp),
        ("BootTime", trace.boot),
        ("RequestStartTime", trace.request_start),
        ("StartTime", trace.start),
        ("EndTime", trace.end),
        ("RequestEndTime", trace.request_end),
        ("ExecutionDelay", trace.delay),
        ("ExecutionLatency", trace.execution),
        ("TransportDelay", trace.transport),
        ("RequestResponseLatency", trace.round_trip),
    ];
    for (name, time) in times {
        if let Some(time) = time {
            object.insert(name.to_owned(), seconds(time));
        }
    }
    if trace.cost != 0.0 {
        object.insert("Cost".to_owned(), json!(trace.cost));
    }
    for (name, number) in [("Status", trace.status), ("Memory", trace.memory)] {
        if number != 0 {
            object.insert(name.to_owned(), json!(number));
        }
    }
    if !trace.tags.is_empty() {
        object.insert("Tags".to_owned(), json!(trace.tags));
    }
    if !trace.logs.is_empty() {
        object.insert("Logs".to_owned(), json!(trace.logs));
    }
    Value::Object(object)
}

fn seconds(time: Micros) -> Value {
    let (seconds, nanos) = split(time);
    let mut object = Map::new();
    for (name, number) in [("seconds", seconds), ("nanos", nanos)] {
        if number != 0 {
            object.insert(name.to_owned(), json!(number));
        }
    }
    Value::Object(object)
}
