//! The plan runner, derivations, reports and progress.

mod support;

mod batch_supply;
mod batches;
mod cleanup;
mod default_layers;
mod deployments;
mod derivations;
mod graph;
mod incomplete;
mod incomplete_laws;
mod inputs;
mod laws;
mod mapping;
mod outages;
mod panics;
mod partial;
mod policies;
mod progress;
mod report;
mod results;
mod sharing;
mod signals;
mod steps;
mod stops;
mod typed;
mod whole_run;
