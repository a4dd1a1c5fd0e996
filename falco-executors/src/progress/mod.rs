//! Progress for terminals.
