//! Runs each example as a user would, and looks at what it prints.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

mod aws;
mod bad_input;
mod chain;
mod cleanup;
mod clouds;
mod conservation;
// The daemon of that crate's tests, and its image.
#[allow(dead_code, reason = "not all of it is used here")]
#[path = "../../../falco-docker/tests/it/daemon.rs"]
mod daemon;
mod data;
mod data_rust;
mod faults;
mod field;
mod flaky;
mod gcp;
mod hello;
#[allow(dead_code, reason = "not all of it is used here")]
#[path = "../../../falco-docker/tests/it/image.rs"]
mod image;
mod images;
mod journal;
mod journal_platforms;
mod journal_programs;
mod kmeans;
mod languages;
mod layers;
mod montecarlo;
mod openfaas;
mod openfaas_escalation;
mod openfaas_kills;
mod openwhisk;
mod outages;
mod printing;
mod program;
mod remote;
mod results;
mod running;
mod rust;
mod rust_fixture;
mod sharing;
mod signals;
mod sizes;
mod wordcount;
