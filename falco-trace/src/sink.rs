//! Further receivers of records.

use std::fmt::Debug;

use crate::record::Record;

/// Takes the records of a run as they come.
///
/// # For implementers
///
/// It is called from the tasks that drive the run, several at once: put what takes long into a bounded queue, and count
/// what does not fit.
pub trait Sink: Debug + Send + Sync {
    /// Takes a record.
    fn take(&self, record: &Record<'_>);

    /// Waits until everything that was taken is on its way. The run has ended.
    fn finish(&self) {}

    /// Whether its queue is nearly full: a caller that can wait does, and one that drives a run does not.
    fn is_full(&self) -> bool {
        false
    }

    /// A remark for readers of the trace on how this sink went about the run, such as that it takes samples only.
    fn remark(&self) -> Option<String> {
        None
    }

    /// How many records could not be handed on so far.
    fn dropped(&self) -> u64 {
        0
    }
}
