//! The plan runner, derivations, reports and progress.

mod support;

mod whole_run;
