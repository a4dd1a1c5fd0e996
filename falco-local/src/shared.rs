//! The parts that the pools of a platform share.

use falco_workers::Logs;

use crate::config::LocalConfig;
use crate::guardian::Guardian;
use crate::scratch::Scratch;

/// The state that all workers of a platform share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: LocalConfig,
    pub(crate) guardian: Guardian,
    pub(crate) scratch: Scratch,
    pub(crate) logs: Logs,
    pub(crate) host: Option<String>,
}
