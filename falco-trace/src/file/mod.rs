//! The trace file: JSON Lines, plain or gzipped, in one file or in segments.

mod index;
mod packer;
mod reader;
mod writer;

pub use self::index::{CallIndex, CallQuery};
pub use self::reader::{FileEnd, Follower, read, read_file};
pub use self::writer::TraceFile;
pub(crate) use self::writer::Writer;
