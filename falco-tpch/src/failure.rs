//! The failure of a function.

use std::fmt;

use falco_function::data::DataError;
use parquet::errors::ParquetError;

/// A function of a query did not do its work.
#[derive(Debug)]
pub(crate) enum ScanError {
    /// The store.
    Data(DataError),
    /// The content of a file.
    Content(String),
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // It begins with the reason in one word, which Falco reads.
            Self::Data(error) => error.fmt(f),
            Self::Content(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for ScanError {}

impl From<DataError> for ScanError {
    fn from(error: DataError) -> Self {
        Self::Data(error)
    }
}

impl From<ParquetError> for ScanError {
    fn from(error: ParquetError) -> Self {
        Self::Content(error.to_string())
    }
}

impl From<csv::Error> for ScanError {
    fn from(error: csv::Error) -> Self {
        let text = error.to_string();
        match error.into_kind() {
            csv::ErrorKind::Io(error) => Self::Data(error.into()),
            _ => Self::Content(text),
        }
    }
}

pub(crate) fn corrupt(what: &str) -> ScanError {
    ScanError::Content(format!("the Parquet file is corrupt: {what}"))
}
