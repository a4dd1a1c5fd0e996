//! The plan runner, derivations, reports and progress.
