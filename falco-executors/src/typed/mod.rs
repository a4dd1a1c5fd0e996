//! A thin typed front: pipelines whose wrong chains do not compile, and which are ordinary plans.

mod function;
mod pipeline;
mod run;
mod shapes;

pub use function::Function;
pub use pipeline::{Output, Pipeline};
pub use run::Run;
pub use shapes::{Both, List, Pairs, Partition};
