//! Columns of CSV, some rows at a time.

use std::io::Read;
use std::mem;

use csv::{ByteRecord, ReaderBuilder};
use falco_function::data::Input;

use super::{no_column, not_asked_for};
use crate::answer::days;
use crate::codes::Codes;
use crate::failure::ScanError;
use crate::tables::ColumnType;

/// The rows that are held at a time, at most.
const ROWS: usize = 1 << 16;

/// Some columns of rows that follow one another.
#[derive(Debug)]
pub(crate) struct Batch {
    rows: usize,
    columns: Vec<Column>,
}

#[derive(Debug)]
struct Column {
    name: String,
    /// Its place in a row.
    at: usize,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Int32(Vec<i32>),
    /// Days since 1970.
    Date(Vec<i32>),
    Int64(Vec<i64>),
    /// Hundredths.
    Decimal(Vec<i64>),
    Text(Codes),
}

/// Calls `each` with columns of the rows in the split, [`ROWS`] at a time.
pub(super) fn scan(
    input: &Input,
    header: Option<&str>,
    names: &[&str],
    each: impl FnMut(Batch) -> Result<(), ScanError>,
) -> Result<(), ScanError> {
    let header = header.map(|header| format!("{header}\n")).unwrap_or_default();
    batches(header.as_bytes().chain(input.lines()?), names, ROWS, each)
}

fn batches(
    text: impl Read,
    names: &[&str],
    rows: usize,
    mut each: impl FnMut(Batch) -> Result<(), ScanError>,
) -> Result<(), ScanError> {
    let mut reader = ReaderBuilder::new().buffer_capacity(1 << 16).from_reader(text);
    let header = reader.byte_headers()?;
    let columns = names.iter().map(|name| Column::new(name, header));
    let mut batch = Batch { rows: 0, columns: columns.collect::<Result<_, _>>()? };
    let mut record = ByteRecord::new();
    while reader.read_byte_record(&mut record)? {
        for column in &mut batch.columns {
            column.add(record.get(column.at).unwrap_or_default())?;
        }
        batch.rows += 1;
        if batch.rows == rows {
            let columns = batch.columns.iter().map(Column::emptied).collect();
            each(mem::replace(&mut batch, Batch { rows: 0, columns }))?;
        }
    }
    if batch.rows > 0 {
        each(batch)?;
    }
    Ok(())
}

impl Batch {
    /// The number of rows.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// A column of 64-bit numbers; decimals without their point.
    pub(super) fn int64(&self, name: &str) -> Result<Vec<i64>, ScanError> {
        match self.values(name)? {
            Values::Int64(values) | Values::Decimal(values) => Ok(values.clone()),
            _ => Err(other_type(name)),
        }
    }

    /// A column of 32-bit numbers; dates as days since 1970.
    pub(super) fn int32(&self, name: &str) -> Result<Vec<i32>, ScanError> {
        match self.values(name)? {
            Values::Int32(values) | Values::Date(values) => Ok(values.clone()),
            _ => Err(other_type(name)),
        }
    }

    /// A column of text with few different values.
    pub(super) fn codes(&self, name: &str) -> Result<Codes, ScanError> {
        match self.values(name)? {
            Values::Text(codes) => Ok(codes.clone()),
            _ => Err(other_type(name)),
        }
    }

    fn values(&self, name: &str) -> Result<&Values, ScanError> {
        let found = self.columns.iter().find(|column| column.name == name);
        Ok(&found.ok_or_else(|| not_asked_for(name))?.values)
    }
}

fn other_type(name: &str) -> ScanError {
    ScanError::Content(format!("the column {name} is of another type"))
}

impl Column {
    fn new(name: &str, header: &ByteRecord) -> Result<Self, ScanError> {
        let at = header.iter().position(|cell| cell == name.as_bytes());
        let (Some(at), Some(kind)) = (at, ColumnType::of(name)) else {
            return Err(no_column(name));
        };
        let values = match kind {
            ColumnType::Int32 => Values::Int32(Vec::new()),
            ColumnType::Date => Values::Date(Vec::new()),
            ColumnType::Int64 => Values::Int64(Vec::new()),
            ColumnType::Decimal => Values::Decimal(Vec::new()),
            ColumnType::Text => Values::Text(Codes::default()),
        };
        Ok(Self { name: name.to_owned(), at, values })
    }

    /// The column without rows.
    fn emptied(&self) -> Self {
        let values = match &self.values {
            Values::Int32(values) => Values::Int32(Vec::with_capacity(values.len())),
            Values::Date(values) => Values::Date(Vec::with_capacity(values.len())),
            Values::Int64(values) => Values::Int64(Vec::with_capacity(values.len())),
            Values::Decimal(values) => Values::Decimal(Vec::with_capacity(values.len())),
            Values::Text(codes) => Values::Text(Codes::with_capacity(codes.codes.len())),
        };
        Self { name: self.name.clone(), at: self.at, values }
    }

    fn add(&mut self, cell: &[u8]) -> Result<(), ScanError> {
        let mut read = || {
            let text = std::str::from_utf8(cell).ok()?;
            match &mut self.values {
                Values::Int32(values) => values.push(text.parse().ok()?),
                Values::Date(values) => values.push(date(text)?),
                Values::Int64(values) => values.push(text.parse().ok()?),
                Values::Decimal(values) => values.push(hundredths(text)?),
                Values::Text(codes) => codes.push(text),
            }
            Some(())
        };
        read().ok_or_else(|| {
            let cell = String::from_utf8_lossy(cell);
            ScanError::Content(format!("the column {} holds {cell:?}", self.name))
        })
    }
}

/// The hundredths of a decimal with no or two digits behind its point.
fn hundredths(text: &str) -> Option<i64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "00"));
    if part.len() != 2 || !part.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let part: i64 = part.parse().ok()?;
    // The whole of -0.05 is zero.
    let part = if whole.starts_with('-') { -part } else { part };
    whole.parse::<i64>().ok()?.checked_mul(100)?.checked_add(part)
}

/// The days since 1970 of a date such as 1998-12-01.
fn date(text: &str) -> Option<i32> {
    let mut parts = text.split('-').map(|part| part.parse::<u16>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let is_date = text.len() == 10 && (1..=12).contains(&month) && (1..=31).contains(&day);
    is_date.then(|| days(year.into(), month.into(), day.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_and_dates_are_read_or_refused() {
        for (text, expected) in [
            ("17", Some(1_700)),
            ("901.05", Some(90_105)),
            ("-0.05", Some(-5)),
            ("-12.34", Some(-1_234)),
            ("0.5", None),
            ("1.+5", None),
            (".05", None),
            ("", None),
            ("92233720368547758.08", None),
        ] {
            assert_eq!(hundredths(text), expected, "{text:?}");
        }
        assert_eq!(date("1970-01-02"), Some(1));
        assert_eq!(date("1998-09-02"), Some(10_471));
        for text in ["1998-9-2", "1998-13-01", "1998-09-32", "19980902", "1998-09-02x", ""] {
            assert_eq!(date(text), None, "{text:?}");
        }
    }

    const TABLE: &str = "l_orderkey,l_tax,l_shipdate,l_shipmode,l_linenumber,l_comment\n\
                        1,0.02,1994-01-01,MAIL,1,\"a, b\"\n\
                        1,0.10,1994-01-02,SHIP,2,\"\"\n\
                        2,3,1994-01-03,MAIL,1,c\n";

    #[test]
    fn rows_come_in_batches_with_the_columns_that_were_asked_for() {
        let names = ["l_shipmode", "l_orderkey", "l_tax", "l_shipdate", "l_linenumber"];
        let mut found = Vec::new();
        batches(TABLE.as_bytes(), &names, 2, |batch| {
            let codes = batch.codes("l_shipmode")?;
            let modes: Vec<_> =
                codes.codes.iter().map(|code| codes.texts[*code as usize].clone()).collect();
            let keys = batch.int64("l_orderkey")?;
            let (taxes, dates) = (batch.int64("l_tax")?, batch.int32("l_shipdate")?);
            for row in 0..batch.rows() {
                let line = batch.int32("l_linenumber")?[row];
                let day = dates[row] - days(1994, 1, 1);
                found.push((keys[row], taxes[row], day, modes[row].clone(), line));
            }
            let error = batch.int64("l_shipdate").unwrap_err().to_string();
            assert!(error.contains("another type"), "{error}");
            assert!(batch.int64("l_comment").unwrap_err().to_string().contains("not asked for"));
            Ok(())
        })
        .unwrap();
        let row = |key, tax, day, mode: &str, line| (key, tax, day, mode.to_owned(), line);
        let expected =
            [row(1, 2, 0, "MAIL", 1), row(1, 10, 1, "SHIP", 2), row(2, 300, 2, "MAIL", 1)];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_not_a_table_is_named() {
        let with = |from: &str, to: &str| TABLE.replacen(from, to, 1);
        for (text, expected) in [
            (with("0.10", "0.1O"), "the column l_tax holds \"0.1O\""),
            (with("1994-01-02", "NULL"), "the column l_shipdate holds \"NULL\""),
            (with("l_tax", "l_tux"), "the file has no column l_tax"),
            (with(",c\n", "\n"), "found record with 5 fields"),
            (String::new(), "the file has no column l_tax"),
        ] {
            let names = ["l_tax", "l_shipdate"];
            let error = batches(text.as_bytes(), &names, 2, |_| Ok(())).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
