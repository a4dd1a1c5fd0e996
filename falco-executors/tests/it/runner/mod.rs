//! The plan runner, derivations, reports and progress.

mod support;

mod derivations;
mod progress;
mod whole_run;
