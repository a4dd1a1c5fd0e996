#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod commit;
mod exchange;
mod failure;
mod layer;
mod object;
mod output_key;
mod place;
mod reference;
mod scratch;
mod splits;
mod store;
mod typed;

pub use commit::{Manifest, ManifestObject, check_output, commit};
pub use exchange::Exchange;
pub use layer::{Data, DataPolicy};
pub use object::{Object, Sink};
pub use scratch::{LeftoverObject, clean, expired, sweep};
pub use splits::{Csv, ScannedRows, Split, Splits, SplitsOf};
pub use store::Store;
pub use typed::{DataPipeline, Emitted, Partitions, SplitInput, WroteObject};
