//! The `Runtime` of Falco's library in Go: a function, its options and its arguments in one trait.
//!
//! New programs need none of it: a [`Stage`](crate::Stage) takes a [`Deployable`](crate::Deployable) and inputs. It is
//! here for programs that come from there, and for functions that are chosen by name and options on a command line.

mod function;
mod options;

pub use function::Runtime;
pub use options::Options;
