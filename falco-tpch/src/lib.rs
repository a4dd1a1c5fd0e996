#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod answer;
mod broadcast;
mod codes;
mod csv;
mod duckdb;
mod failure;
mod generate;
mod python;
mod queries;
mod records;
mod scan;
mod tables;

pub use answer::Answer;
pub use broadcast::Broadcast;
pub use duckdb::{DUCKDB, DuckDbAnswer, ask_duckdb};
pub use generate::{Format, ensure_data};
pub use python::python;
pub use queries::{Native, Plan, Planner, Query};
