//! How the fake of AWS behaves.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

/// A function in Rust, in place of one that was deployed.
pub type Emulated = Arc<dyn Fn(&Value) -> Value + Send + Sync>;

/// How a fake behaves. The defaults are those of AWS, without any lag.
#[derive(Clone)]
pub struct FakeSettings {
    /// Activations at once, of the whole account.
    pub concurrency: u32,
    /// Looks at a new function that still find it pending.
    pub looks_while_pending: u32,
    /// Looks at an updated function that still find the update in progress.
    pub looks_while_updating: u32,
    /// The reason that changes to a function fail with, once Lambda has taken them.
    pub update_failure: Option<String>,
    /// Uses of a new role that are refused, since IAM does not know it everywhere.
    pub role_unknown_for: u32,
    /// Longest archive that can be uploaded directly, in bytes.
    pub direct_upload: u64,
    /// Longest message of a queue, in bytes.
    pub longest_message: usize,
    /// Longest time that a poll stays open, whatever it asks for.
    pub longest_poll: Duration,
    /// Whether each record comes twice.
    pub records_come_twice: bool,
    /// Whether a record is there before the answer to the request that submitted its event.
    pub records_come_early: bool,
    /// The record of every nth event never comes.
    pub loses_every: Option<u64>,
    /// Whether events are dropped before their function runs, and a record says so.
    pub drops_events: bool,
    /// Whether every invocation is refused for its rate.
    pub throttles: bool,
    /// Whether the credentials are not accepted any more.
    pub is_revoked: bool,
    /// Actions that the caller's policies do not allow, as IAM simulates them; requests are answered nevertheless.
    pub denied_actions: Vec<String>,
    /// Answers in place of functions; no process is started then.
    pub function: Option<Emulated>,
    /// How long after an answer its lines appear in the log, which Lambda writes later than it answers.
    pub log_delay: Duration,
    /// The folder that `cargo xtask runtimes` installs into; by default that in `FALCO_RUNTIMES`. Functions run under
    /// AWS's own runtime interface clients where they are there, and under stand-ins otherwise.
    pub runtimes: Option<PathBuf>,
    /// Whether signatures are checked, and requests and logs kept. Without, it is fast.
    pub is_strict: bool,
}

impl Default for FakeSettings {
    fn default() -> Self {
        Self {
            concurrency: 1000,
            looks_while_pending: 1,
            looks_while_updating: 1,
            update_failure: None,
            role_unknown_for: 1,
            direct_upload: 50 << 20,
            longest_message: 1 << 20,
            longest_poll: Duration::from_millis(50),
            records_come_twice: false,
            records_come_early: false,
            loses_every: None,
            drops_events: false,
            throttles: false,
            is_revoked: false,
            denied_actions: Vec::new(),
            function: None,
            log_delay: Duration::ZERO,
            runtimes: std::env::var_os("FALCO_RUNTIMES").map(PathBuf::from),
            is_strict: true,
        }
    }
}

impl fmt::Debug for FakeSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeSettings")
            .field("concurrency", &self.concurrency)
            .field("function", &self.function.is_some())
            .finish_non_exhaustive()
    }
}
