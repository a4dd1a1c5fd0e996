//! The secret that no log, error or record may show.

/// A value that the cases put where secrets go. It must appear in no log.
pub(super) const MARKED_SECRET: &str = "falco-marked-secret-5f2c";
