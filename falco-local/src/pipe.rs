//! Facts about pipes.

use std::io::{self, ErrorKind};

/// Linux writes this much to a pipe at once or not at all (PIPE_BUF).
pub(crate) const ATOMIC: usize = 4096;

/// Whether a read of a non-blocking pipe failed only because there is nothing to read yet, or because of a signal.
pub(crate) fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
