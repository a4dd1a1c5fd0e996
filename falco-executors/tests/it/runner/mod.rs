//! The plan runner, derivations, reports and progress.

mod support;

mod derivations;
mod whole_run;
