//! The laws of the layers, seen through their public API.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod adaptive;
mod budget;
mod controllers;
mod escalation;
mod gate;
mod goodput;
mod held;
mod journal;
mod layer;
mod logs;
mod model;
mod outages;
mod own_layer;
mod providers;
mod ramp;
mod rates;
mod replicas;
mod retry;
mod spread;
mod stack;
mod support;
mod timeout;
mod trace;
mod whole_run;
