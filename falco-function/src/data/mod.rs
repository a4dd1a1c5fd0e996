//! Objects of stores in the arguments of functions: types that a function names in its parameter, and what stands around a
//! call whose argument or result travels through a store.

mod body;
mod call;
mod combine;
mod error;
mod fetch;
mod groups;
mod http;
mod input;
mod output;
mod partitioned;
mod runs;
#[cfg(test)]
mod tests;
mod whole;

use std::cell::Cell;

pub use body::Written;
pub use combine::Combined;
pub use error::DataError;
pub use groups::Groups;
pub use input::Input;
pub use output::Output;
pub use partitioned::Partitioned;
pub use whole::Whole;

pub(crate) use call::Prepared;

/// The memory of a function that the platform does not state.
const UNKNOWN_MEMORY: u64 = 256 << 20;

thread_local! {
    /// The memory of the function that this thread serves, in bytes.
    static MEMORY: Cell<u64> = const { Cell::new(UNKNOWN_MEMORY) };
}

/// A quarter of the function's memory: what is longer is kept in the temporary folder.
fn bound() -> u64 {
    MEMORY.get() / 4
}
