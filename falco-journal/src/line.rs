//! The form of a line: `CRC SP JSON LF`, with the CRC-32C of the JSON as eight lower-case hexadecimal digits.
//!
//! JSON here holds no raw line break, so that a reader finds the next line after any damage.

/// The length of the checksum and the blank.
const PREFIX: usize = 9;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Begins a line in `buffer`: room for the checksum, and the kind of the record.
///
/// The JSON object that is written next loses its opening brace to the kind; see [`finish`].
pub(crate) fn begin(buffer: &mut Vec<u8>, kind: u8) -> usize {
    let start = buffer.len();
    buffer.extend_from_slice(b"00000000 {\"k\":\"");
    buffer.extend_from_slice(&[kind, b'"']);
    start
}

/// Ends the line that began at `start`, with the fields of the record at `fields`.
pub(crate) fn finish(buffer: &mut Vec<u8>, start: usize, fields: usize) {
    buffer[fields] = b',';
    let crc = crc32c::crc32c(&buffer[start + PREFIX..]);
    buffer[start..start + 8].copy_from_slice(&digits(crc));
    buffer.push(b'\n');
}

/// The JSON of a line without its line break; none when the line is damaged.
pub(crate) fn open(line: &[u8]) -> Option<&[u8]> {
    let (prefix, json) = line.split_at_checked(PREFIX)?;
    if prefix[8] != b' ' {
        return None;
    }
    // Digits are compared, and not read: upper case is damage as well, since a flipped bit must not pass.
    (prefix[..8] == digits(crc32c::crc32c(json))).then_some(json)
}

/// The checksum in eight digits.
fn digits(crc: u32) -> [u8; 8] {
    std::array::from_fn(|at| HEX[(crc >> (28 - 4 * at) & 0xf) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Vec<u8> {
        let mut buffer = Vec::new();
        let start = begin(&mut buffer, b'x');
        let fields = buffer.len();
        buffer.extend_from_slice(br#"{"s":1,"i":"abc"}"#);
        finish(&mut buffer, start, fields);
        buffer
    }

    #[test]
    fn what_was_written_is_read() {
        let line = line();
        let (last, line) = line.split_last().unwrap();
        assert_eq!(*last, b'\n');
        assert_eq!(open(line).unwrap(), br#"{"k":"x","s":1,"i":"abc"}"#);
    }

    #[test]
    fn a_line_with_a_flipped_bit_is_refused() {
        let line = line();
        let whole = &line[..line.len() - 1];
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&flipped), None, "bit {bit}");
        }
    }
}
