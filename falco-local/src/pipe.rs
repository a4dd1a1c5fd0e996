//! Facts about pipes.

use std::io::{self, ErrorKind};

/// Linux writes this much to a pipe at once or not at all (PIPE_BUF).
pub(crate) const ATOMIC: usize = 4096;

/// Whether a pipe that does not wait has only nothing to read now.
pub(crate) fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
