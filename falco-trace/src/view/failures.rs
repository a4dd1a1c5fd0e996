//! The calls that failed.

use crate::call::Call;
use crate::record::LogRecord;

/// A failed call, with the log of its activation where the run has fetched it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FailedCall {
    /// The call.
    pub call: Call<'static>,
    /// The end of its log.
    pub log: Option<LogRecord>,
}
