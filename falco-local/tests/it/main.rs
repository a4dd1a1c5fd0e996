#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod ahead;
mod answers;
mod basics;
mod batches;
mod conformance;
mod deployments;
mod failures;
mod forked;
mod limits;
mod logs;
mod pipelines;
mod processes;
mod sharing;
mod submissions;
mod support;
mod workers;
