//! Text as numbers of a dictionary, straight from the pages of a column: no text is copied for a row.

use bytes::{Buf, Bytes};
use parquet::basic::Encoding;
use parquet::column::page::Page;

use crate::failure::{ScanError, corrupt};

/// A column of text: a number for each row, and the texts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Codes {
    /// The number of the text in each row.
    pub(crate) codes: Vec<u32>,
    /// The texts of the column's dictionary.
    pub(crate) texts: Vec<String>,
}

impl Codes {
    pub(crate) fn with_capacity(rows: usize) -> Self {
        Self { codes: Vec::with_capacity(rows), texts: Vec::new() }
    }

    /// Calls `of` with each text; the results are in the order of the texts.
    pub(crate) fn map<T>(&self, of: impl Fn(&str) -> T) -> Vec<T> {
        self.texts.iter().map(|text| of(text)).collect()
    }

    /// Adds a row. Texts are few, so that looking through all is quick.
    pub(crate) fn push(&mut self, text: &str) {
        let known = self.texts.iter().position(|known| known == text);
        let code = known.unwrap_or_else(|| {
            self.texts.push(text.to_owned());
            self.texts.len() - 1
        });
        self.codes.push(code as u32);
    }

    /// Adds the rows of a page.
    pub(crate) fn read(&mut self, page: &Page) -> Result<(), ScanError> {
        match page {
            Page::DictionaryPage { buf, num_values, .. } => {
                if !self.texts.is_empty() {
                    return Err(corrupt("a column has two dictionaries"));
                }
                let mut rest = buf.clone();
                for _ in 0..*num_values {
                    self.texts.push(text(&mut rest)?);
                }
                Ok(())
            }
            Page::DataPage { buf, num_values, encoding, .. } => {
                self.data(buf.clone(), *num_values, *encoding)
            }
            // Without NULL there are no levels in front of the values.
            Page::DataPageV2 { buf, num_values, encoding, .. } => {
                self.data(buf.clone(), *num_values, *encoding)
            }
        }
    }

    fn data(&mut self, buf: Bytes, count: u32, encoding: Encoding) -> Result<(), ScanError> {
        if !matches!(encoding, Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY) {
            let message = format!("a column of text is {encoding}, and has to have a dictionary");
            return Err(ScanError::Content(message));
        }
        let before = self.codes.len();
        let wanted = before + count as usize;
        indexes(buf, wanted, &mut self.codes)?;
        let known = self.texts.len() as u32;
        match self.codes[before..].iter().all(|code| *code < known) {
            true => Ok(()),
            false => Err(corrupt("a number is not in the dictionary")),
        }
    }
}

/// A text with its length before it.
fn text(rest: &mut Bytes) -> Result<String, ScanError> {
    let length = rest.try_get_u32_le().map_err(|_| corrupt("a dictionary breaks off"))? as usize;
    if length > rest.len() {
        return Err(corrupt("a dictionary breaks off"));
    }
    let text = rest.split_to(length);
    String::from_utf8(text.into()).map_err(|_| corrupt("a text is not UTF-8"))
}

/// Decodes runs of numbers of one length in bits until there are `wanted`: Parquet's RLE and bit-packing hybrid.
fn indexes(mut buf: Bytes, wanted: usize, codes: &mut Vec<u32>) -> Result<(), ScanError> {
    let broken = || corrupt("a page of numbers breaks off");
    let width = usize::from(buf.try_get_u8().map_err(|_| broken())?);
    if width > 32 {
        return Err(corrupt("a number has more than 32 bits"));
    }
    while codes.len() < wanted {
        let left = wanted - codes.len();
        let header = varint(&mut buf).ok_or_else(broken)?;
        let length = usize::try_from(header >> 1).map_err(|_| broken())?;
        if header & 1 == 0 {
            let bytes = width.div_ceil(8);
            if bytes > buf.len() || length == 0 {
                return Err(broken());
            }
            let value = (0..bytes).fold(0, |value, at| value | u32::from(buf[at]) << (8 * at));
            buf.advance(bytes);
            codes.resize(codes.len() + length.min(left), value);
        } else {
            let bytes = length.checked_mul(width).filter(|bytes| *bytes <= buf.len());
            let packed = buf.split_to(bytes.filter(|_| length > 0).ok_or_else(broken)?);
            unpack(&packed, width, length.saturating_mul(8).min(left), codes);
        }
    }
    Ok(())
}

/// Appends `count` numbers of `width` bits, the lowest bits first.
fn unpack(packed: &[u8], width: usize, count: usize, codes: &mut Vec<u32>) {
    let mask = (1_u64 << width) - 1;
    let (mut held, mut bits, mut bytes) = (0_u64, 0, packed.iter());
    codes.extend((0..count).map(|_| {
        while bits < width {
            held |= u64::from(bytes.next().copied().unwrap_or(0)) << bits;
            bits += 8;
        }
        let value = (held & mask) as u32;
        held >>= width;
        bits -= width;
        value
    }));
}

fn varint(buf: &mut Bytes) -> Option<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let byte = buf.try_get_u8().ok()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8], wanted: usize) -> Result<Vec<u32>, String> {
        let mut codes = Vec::new();
        indexes(Bytes::copy_from_slice(bytes), wanted, &mut codes)
            .map(|()| codes)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn runs_and_packed_numbers_follow_one_another() {
        // Three bits each: five times a 4, then eight numbers as in Parquet's description of the format.
        let bytes = [3, 5 << 1, 4, (1 << 1) | 1, 0b1000_1000, 0b1100_0110, 0b1111_1010];
        let expected = [4, 4, 4, 4, 4, 0, 1, 2, 3, 4, 5, 6, 7];
        assert_eq!(decoded(&bytes, 13).unwrap(), expected);
        // The last group is filled up with zeros.
        assert_eq!(decoded(&bytes, 9).unwrap(), expected[..9]);
        // One text needs no bits.
        assert_eq!(decoded(&[0, 3 << 1], 3).unwrap(), [0, 0, 0]);
    }

    #[test]
    fn a_page_that_breaks_off_is_an_error() {
        for bytes in [&[][..], &[3], &[3, 5 << 1], &[3, 3, 0b1000_1000], &[40, 2, 1], &[0, 0]] {
            assert!(decoded(bytes, 5).unwrap_err().contains("corrupt"), "{bytes:?}");
        }
    }
}
