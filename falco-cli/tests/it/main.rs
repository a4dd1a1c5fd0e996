//! Runs the command as a user would, and looks at what it prints.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]
#![cfg(all(feature = "command", feature = "local"))]

#[cfg(feature = "meter")]
mod cost;
mod doctor;
mod field;
mod images;
mod logs;
mod map;
mod objects;
mod packages;
mod pipeline;
mod program;
mod remote;
mod runs;
mod single;
mod terminal;
#[cfg(feature = "meter")]
mod trace;
