//! The records of the log. Unknown fields are ignored; a record of an unknown kind is an error.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use falco_core::{
    Activation, Deployment, Error, FunctionError, InvocationId, Payload, StageName, UsDollars,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::RunCommand;
use crate::ran::{Facts, Times};

/// The version of the format.
pub(crate) const VERSION: u32 = 1;

/// The kinds of records, by the letter that stands for each.
pub(crate) mod kind {
    pub(crate) const HEADER: u8 = b'h';
    pub(crate) const PLAN: u8 = b'p';
    pub(crate) const STAGE: u8 = b'n';
    pub(crate) const DEPLOYED: u8 = b'd';
    pub(crate) const REMOVED: u8 = b'r';
    pub(crate) const INTENT: u8 = b'i';
    pub(crate) const NOT_RUN: u8 = b'x';
    pub(crate) const SUBMITTED: u8 = b's';
    pub(crate) const COMPLETED: u8 = b'c';
    pub(crate) const STAGE_ENDED: u8 = b't';
    pub(crate) const SENT_AGAIN: u8 = b'w';
    pub(crate) const SYNCED: u8 = b'y';
    pub(crate) const ABANDONED: u8 = b'a';
    pub(crate) const FINISHED: u8 = b'f';
}

/// The first record of each segment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) v: u32,
    pub(crate) run: String,
    /// The first segment of the process that wrote it.
    pub(crate) epoch: u32,
    /// The name of the pipeline.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    /// Since the Unix epoch, in microseconds.
    pub(crate) at: u64,
    /// The times in records count from here, in microseconds since the Unix epoch: short numbers make short records.
    #[serde(default)]
    pub(crate) base: u64,
    /// How the process was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) command: Option<RunCommand>,
    /// The machine that the process runs on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) host: String,
    /// How many bytes of each segment before are valid.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) after: Vec<(u32, u64)>,
    /// Damaged ranges of segments before, from and to, which a repair has given up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) lost: Vec<(u32, u64, u64)>,
}

/// The plan of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) platform: String,
    /// The account in which the functions are, where the platform can say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) account: Option<String>,
    pub(crate) stages: Vec<PlannedStage>,
}

/// A stage of the plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PlannedStage {
    pub(crate) s: u32,
    pub(crate) name: StageName,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) upstream: Vec<StageName>,
    pub(crate) idempotent: bool,
    #[serde(default)]
    pub(crate) pure: bool,
    pub(crate) function: Function,
}

/// The identity of a function: all that its results may depend on, its sizes left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) runtime: String,
    pub(crate) entry: String,
    /// SHA-256 of the code.
    pub(crate) code: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    /// The names of the environment variables. Not their values, and no hashes of these: a short secret can be guessed
    /// from its hash.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) env: Vec<String>,
    /// SHA-256 of the arguments that are stored with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) arguments: Option<String>,
}

impl Function {
    /// One text for all that makes the function what it is, its name left out.
    pub(crate) fn identity(&self) -> String {
        let Self { name: _, runtime, entry, code, version, env, arguments } = self;
        let identity = format!("{runtime}\n{entry}\n{code}\n{version:?}\n{env:?}");
        match arguments {
            Some(arguments) => format!("{identity}\n{arguments}"),
            None => identity,
        }
    }
}

/// A stage begins, with the deployment of its function.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StageBegun {
    pub(crate) s: u32,
    pub(crate) name: StageName,
    pub(crate) deployment: String,
}

/// A function was deployed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Deployed {
    pub(crate) deployment: Deployment,
    pub(crate) function: Function,
}

/// A function was removed, or is not there any more: what was submitted to it cannot be collected.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Removed {
    pub(crate) name: String,
}

/// The call by which an invocation is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Call {
    #[serde(rename = "s")]
    Submit,
    #[serde(rename = "v")]
    Invoke,
}

/// An attempt that is about to be sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Intent {
    pub(crate) s: u32,
    pub(crate) i: InvocationId,
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub(crate) n: u32,
    pub(crate) h: Argument,
    pub(crate) o: Call,
}

/// The attempt certainly did not run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NotRun {
    pub(crate) s: u32,
    pub(crate) i: InvocationId,
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub(crate) n: u32,
}

/// The provider has accepted an attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Submitted<'a> {
    pub(crate) s: u32,
    pub(crate) i: InvocationId,
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub(crate) n: u32,
    pub(crate) h: Argument,
    /// The activation's id, and when it was accepted, in microseconds after the [base](Header::base).
    pub(crate) p: (Cow<'a, str>, i64),
}

/// An invocation has an outcome.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Completed<'a> {
    pub(crate) s: u32,
    pub(crate) i: InvocationId,
    /// Its last attempt.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub(crate) n: u32,
    #[serde(default, skip_serializing_if = "Verdict::is_success")]
    pub(crate) o: Verdict,
    pub(crate) h: Argument,
    /// When it was taken in, in microseconds after the [base](Header::base), and how many microseconds it took.
    pub(crate) q: i64,
    pub(crate) l: u64,
    /// The cost of the attempts that are not the activation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) d: Option<UsDollars>,
    /// The activation's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) r: Option<Cow<'a, str>>,
    /// The result, unless it is stored beside the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) v: Option<Cow<'a, Payload>>,
    /// How the function failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) f: Option<Cow<'a, FunctionError>>,
    #[serde(default, skip_serializing_if = "Times::is_empty")]
    pub(crate) t: Times,
    /// Whether it was a cold start: 0 or 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) c: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) m: Option<Box<Facts<'a>>>,
    /// The activation as the first journals hold it.
    #[serde(default, skip_serializing)]
    pub(crate) a: Option<Box<Activation>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) e: Option<Cow<'a, Error>>,
    /// The SHA-256 of a result that is stored beside the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) b: Option<String>,
    /// Whether another attempt may follow in the same process.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) g: bool,
}

/// The outcome of an invocation, as one letter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Verdict {
    #[default]
    #[serde(rename = "s")]
    Succeeded,
    #[serde(rename = "f")]
    FunctionFailed,
    #[serde(rename = "p")]
    PlatformFailed,
    #[serde(rename = "u")]
    Unknown,
}

impl Verdict {
    fn is_success(&self) -> bool {
        *self == Self::Succeeded
    }
}

/// A stage has ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StageEnded {
    pub(crate) s: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) e: Option<String>,
}

/// Why an invocation with records of earlier processes is sent again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SentAgain {
    pub(crate) s: u32,
    pub(crate) i: InvocationId,
    pub(crate) why: Cow<'static, str>,
}

/// So many bytes of this segment are on disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Synced {
    pub(crate) n: u64,
}

/// A clean-up has removed the run's functions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Abandoned {
    pub(crate) at: u64,
}

/// The process has come to the end of the run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Finished {
    pub(crate) at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) e: Option<String>,
    /// Whether it is to go on in another process.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) suspended: bool,
}

/// A hash of 128 bits of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Argument(pub(crate) [u8; 16]);

impl Argument {
    pub(crate) fn of(payload: &Payload) -> Self {
        let mut hash = [0; 16];
        hash.copy_from_slice(&Sha256::digest(payload.as_str().as_bytes())[..16]);
        Self(hash)
    }
}

impl Serialize for Argument {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = [0; 22];
        let length = URL_SAFE_NO_PAD
            .encode_slice(self.0, &mut text)
            .map_err(|_| serde::ser::Error::custom("a hash has 22 characters"))?;
        let text = std::str::from_utf8(&text[..length]).map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(text)
    }
}

impl<'de> Deserialize<'de> for Argument {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let bytes = URL_SAFE_NO_PAD.decode(text.as_bytes()).map_err(serde::de::Error::custom)?;
        bytes.try_into().map(Self).map_err(|_| serde::de::Error::custom("a hash has 16 bytes"))
    }
}

fn first() -> u32 {
    1
}

fn is_first(attempt: &u32) -> bool {
    *attempt == 1
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
