//! The queries: a plan of stages for each, and its functions in Rust.

mod arguments;
mod native;
mod plan;
mod q1;
mod q12;
mod q3;
mod q5;
mod q6;
mod query;

pub use native::Native;
pub use plan::{Plan, Planner};
pub use query::Query;
