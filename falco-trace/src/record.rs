//! The lines of a trace file.

use std::borrow::Cow;
use std::collections::BTreeMap;

use falco_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::line::write_call;
use crate::units::{Micros, Picodollars};

/// The version of the form that this crate writes, and the highest that it reads.
pub(crate) const VERSION: u32 = 1;

/// One line of a trace file: a JSON object whose key `e` names the kind.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Record<'a> {
    /// The run; the first line of each file.
    Run(RunRecord),
    /// A function was deployed.
    Deployed(FunctionRecord),
    /// A function was removed.
    Removed(FunctionRecord),
    /// A function could not be removed.
    Leftover(FunctionRecord),
    /// A stage began.
    Stage(StageRecord),
    /// The number of a stage's invocations became known, exactly or as a lower bound.
    Sized(StageRecord),
    /// Inputs were not taken in.
    Skipped(StageRecord),
    /// A stage ended, or the run if it names none.
    End(EndRecord),
    /// An attempt ended.
    Call(Box<Call<'a>>),
    /// An invocation ended with no attempt of its own.
    Settled(SettledRecord<'a>),
    /// The calls in flight, allowed and refused: ten times a second in the first ten seconds, then once a second.
    Gate(GateRecord),
    /// The log of an activation that failed.
    Log(LogRecord),
    /// A remark of the recorder, such as what it had to drop.
    Note(NoteRecord),
}

/// The run of a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RunRecord {
    /// The version of the form.
    pub v: u32,
    /// The id of the run.
    pub run: String,
    /// The start, in milliseconds since the Unix epoch.
    pub at: Micros,
    /// The version of Falco.
    pub falco: String,
    /// The host of the driver.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// The stages, each after those that it follows; empty where stages were executed one by one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plan: Vec<PlannedStage>,
}

/// A stage of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct PlannedStage {
    /// Its name.
    pub stage: String,
    /// The stages that it follows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// The name of its function.
    pub function: String,
}

/// A function on a platform.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct FunctionRecord {
    /// The time.
    pub t: Micros,
    /// The name of the deployment.
    pub name: String,
    /// The provider's identifier.
    pub id: String,
    /// The platform.
    pub platform: String,
    /// The region, or the host that stands for one, where its calls do not name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The runtime.
    pub runtime: String,
    /// Memory of an instance, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem: Option<u32>,
    /// How long an activation may run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Micros>,
    /// Activations that an instance runs at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conc: Option<u32>,
    /// Why it could not be removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A stage that begins, becomes known in size, or leaves inputs out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct StageRecord {
    /// The stage.
    pub s: String,
    /// The time.
    pub t: Micros,
    /// A number of invocations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
    /// The deployment that runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The end of a stage or of the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct EndRecord {
    /// The stage; none for the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s: Option<String>,
    /// The time.
    pub t: Micros,
    /// Why it did not succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// An invocation that ended with no attempt of its own: cancelled before it was sent or between two attempts, after its
/// deadline, or completed by an earlier process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SettledRecord<'a> {
    /// The stage.
    pub s: Cow<'a, str>,
    /// The invocation.
    pub i: Cow<'a, str>,
    /// When it was taken in.
    #[serde(default)]
    pub at: Micros,
    /// The time.
    #[serde(default)]
    pub t: Micros,
    /// The outcome.
    pub o: crate::call::CallOutcome,
    /// Whether an earlier process has completed it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recalled: bool,
    /// The cost of all its attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd_all: Option<Picodollars>,
}

/// A sample of the whole run, or of one gate of congestion control.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct GateRecord {
    /// The time.
    pub t: Micros,
    /// The gate; empty for the whole run.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// For the run, invocations that were taken in and have not ended; for a gate, calls in flight.
    pub fly: u64,
    /// For the run, those of them that wait: for the limit, a pause, a worker or the platform. For a gate, calls that wait for
    /// their turn.
    pub wait: u64,
    /// Invocations that may start per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// Invocations that may be in flight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<u32>,
    /// Calls that the platform has refused so far for its rate or concurrency, as the gate has counted them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<u64>,
    /// For the run, whether the platform could not be reached; for a gate, whether it lets nothing pass for a while.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shut: bool,
}

/// The end of the log of an activation that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct LogRecord {
    /// The stage.
    pub s: String,
    /// The activation.
    pub id: String,
    /// The lines, oldest first.
    pub lines: Vec<LogText>,
    /// Whether lines before these were left out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// A line of a log: the time since the start of the run by the provider's clock, the stream (`out`, `err`, or empty
/// where it is not known), and the text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogText(pub Option<Micros>, pub String, pub String);

/// A remark of the recorder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct NoteRecord {
    /// The time.
    pub t: Micros,
    /// The text.
    pub text: String,
    /// The number of dropped records, by kind.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub dropped: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow)]
    e: Cow<'a, str>,
}

impl Record<'_> {
    /// Appends the line, with its line break.
    pub fn write_to(&self, line: &mut Vec<u8>) {
        match self {
            Self::Run(record) => write(line, "run", record),
            Self::Deployed(record) => write(line, "deployed", record),
            Self::Removed(record) => write(line, "removed", record),
            Self::Leftover(record) => write(line, "leftover", record),
            Self::Stage(record) => write(line, "stage", record),
            Self::Sized(record) => write(line, "sized", record),
            Self::Skipped(record) => write(line, "skipped", record),
            Self::End(record) => write(line, "end", record),
            Self::Call(record) => write_call(line, record),
            Self::Settled(record) => write(line, "settled", record),
            Self::Gate(record) => write(line, "gate", record),
            Self::Log(record) => write(line, "log", record),
            Self::Note(record) => write(line, "note", record),
        }
    }
}

impl Record<'static> {
    /// Reads a line. `None` is a kind that this version does not know.
    ///
    /// # Errors
    ///
    /// `Protocol` when it is not a line of a trace file, `Unsupported` for a later version of the form.
    pub fn parse(line: &[u8]) -> Result<Option<Self>> {
        if line.starts_with(br#"{"e":"call","#) {
            return Ok(Some(Self::Call(read(line)?)));
        }
        let kind: Kind<'_> = read(line)?;
        Ok(Some(match &*kind.e {
            "run" => {
                let run: RunRecord = read(line)?;
                if run.v > VERSION {
                    let message = format!("the trace has version {} of falco-trace", run.v);
                    return Err(Error::unsupported(message)
                        .with_hint(format!("this program reads up to version {VERSION}")));
                }
                Self::Run(run)
            }
            "deployed" => Self::Deployed(read(line)?),
            "removed" => Self::Removed(read(line)?),
            "leftover" => Self::Leftover(read(line)?),
            "stage" => Self::Stage(read(line)?),
            "sized" => Self::Sized(read(line)?),
            "skipped" => Self::Skipped(read(line)?),
            "end" => Self::End(read(line)?),
            "call" => Self::Call(read(line)?),
            "settled" => Self::Settled(read(line)?),
            "gate" => Self::Gate(read(line)?),
            "log" => Self::Log(read(line)?),
            "note" => Self::Note(read(line)?),
            _ => return Ok(None),
        }))
    }
}

fn read<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T> {
    serde_json::from_slice(line).map_err(|error| {
        let message = "the line is not one of a trace file";
        Error::new(falco_core::ErrorKind::Protocol, message).with_source(&error)
    })
}

fn write(line: &mut Vec<u8>, kind: &str, record: &impl Serialize) {
    line.extend_from_slice(br#"{"e":""#);
    line.extend_from_slice(kind.as_bytes());
    line.push(b'"');
    let brace = line.len();
    // Writing to memory cannot fail, and no record has a map with keys that are not text.
    let _ = serde_json::to_writer(&mut *line, record);
    // Every record has a key that is always written, so that a comma is right.
    if let Some(byte) = line.get_mut(brace) {
        *byte = b',';
    }
    line.push(b'\n');
}
