//! Columns of the rows in a split, whatever the format of the file.

mod csv;
mod parquet;

use falco_function::data::Input;

use self::csv::Batch;
use self::parquet::Group;
use crate::codes::Codes;
use crate::failure::ScanError;

/// Some columns of rows that follow one another: of a row group of Parquet, or of some rows of CSV.
#[derive(Debug)]
pub(crate) enum RowGroup {
    Parquet(Group),
    Csv(Batch),
}

impl RowGroup {
    /// The number of rows.
    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::Parquet(group) => group.rows(),
            Self::Csv(batch) => batch.rows(),
        }
    }

    /// A column of 64-bit numbers; decimals without their point.
    pub(crate) fn int64(&self, name: &str) -> Result<Vec<i64>, ScanError> {
        match self {
            Self::Parquet(group) => group.int64(name),
            Self::Csv(batch) => batch.int64(name),
        }
    }

    /// A column of 32-bit numbers; dates as days since 1970.
    pub(crate) fn int32(&self, name: &str) -> Result<Vec<i32>, ScanError> {
        match self {
            Self::Parquet(group) => group.int32(name),
            Self::Csv(batch) => batch.int32(name),
        }
    }

    /// A column of text with few different values, as numbers of a dictionary.
    pub(crate) fn codes(&self, name: &str) -> Result<Codes, ScanError> {
        match self {
            Self::Parquet(group) => group.codes(name),
            Self::Csv(batch) => batch.codes(name),
        }
    }
}

/// Calls `each` with the columns of all rows in the split. `header` is that of a CSV file whose first row is not in the split.
pub(crate) fn each_row_group(
    input: &Input,
    header: Option<&str>,
    columns: &[&str],
    mut each: impl FnMut(&RowGroup) -> Result<(), ScanError>,
) -> Result<(), ScanError> {
    let scanned = if input.url().ends_with(".csv") {
        csv::scan(input, header, columns, |batch| each(&RowGroup::Csv(batch)))
    } else {
        parquet::scan(input, columns, |group| each(&RowGroup::Parquet(group)))
    };
    scanned.map_err(|error| match error {
        ScanError::Content(text) => ScanError::Content(format!("{}: {text}", input.url())),
        other => other,
    })
}

/// The error for a column that a query reads, and did not name beforehand.
fn not_asked_for(name: &str) -> ScanError {
    ScanError::Content(format!("the column {name} was not asked for"))
}

/// The error for a column that a file does not have.
fn no_column(name: &str) -> ScanError {
    ScanError::Content(format!("the file has no column {name}"))
}
