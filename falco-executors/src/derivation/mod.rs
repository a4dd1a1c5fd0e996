//! The built-in derivations: how the inputs of a stage follow from what others complete.

mod chunks;
mod each;
mod fan_in;
mod group;
mod hash;
mod pairs;
mod shuffle;

pub use chunks::Chunks;
pub use each::{FanOut, Merge, OneToOne};
pub use fan_in::FanIn;
pub(crate) use hash::stable_hash;
pub use shuffle::Shuffle;
