//! Files whose bytes are not the text that they hold.

use std::io;
use std::path::Path;

/// How much of a file's beginning [`check`] looks at, in bytes.
pub(super) const SEEN: u64 = 4096;

/// The first bytes of files that are not plain text, with what they are and what to do.
const KNOWN: [(&[u8], &str, &str); 7] = [
    (b"\x1f\x8b", "compressed with gzip", "decompress it with gunzip"),
    (b"PK\x03\x04", "a zip file", "unpack it with unzip"),
    (b"BZh", "compressed with bzip2", "decompress it with bunzip2"),
    (b"\xfd7zXZ\0", "compressed with xz", "decompress it with unxz"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "decompress it with unzstd"),
    (b"\xff\xfe", "in UTF-16", "convert it with iconv -f UTF-16 -t UTF-8"),
    (b"\xfe\xff", "in UTF-16", "convert it with iconv -f UTF-16 -t UTF-8"),
];

/// Checks by its beginning that a file is a text in which each ASCII letter is a byte.
///
/// # Errors
///
/// `InvalidData` with the file's name, what it is, and what to do.
pub(super) fn check(path: &Path, beginning: &[u8]) -> io::Result<()> {
    let found = KNOWN.iter().find(|(bytes, _, _)| beginning.starts_with(bytes));
    let (what, hint) = match found {
        Some((_, what, hint)) => (*what, *hint),
        None if is_wide(beginning) => {
            ("in UTF-16, as its zero bytes show", "convert it with iconv -f UTF-16LE -t UTF-8")
        }
        None => return Ok(()),
    };
    let message = format!("{} is {what}; {hint} first", path.display());
    Err(io::Error::new(io::ErrorKind::InvalidData, message))
}

/// Whether letters seem to take two bytes each, one of them zero. A few zero bytes are only separators.
fn is_wide(beginning: &[u8]) -> bool {
    let zeros = beginning.iter().filter(|byte| **byte == 0).count();
    zeros > 0 && zeros * 4 >= beginning.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_text_says_what_it_is_and_what_to_do() {
        for (beginning, words) in [
            (&b"\x1f\x8b\x08"[..], "gunzip"),
            (b"PK\x03\x04", "unzip"),
            (b"BZh9", "bunzip2"),
            (b"\xfd7zXZ\0", "unxz"),
            (b"\x28\xb5\x2f\xfd", "unzstd"),
            (b"\xff\xfea\0", "iconv"),
            (b"\xfe\xff\0a", "iconv"),
            (b"a\0b\0", "UTF-16"),
        ] {
            let error = check(Path::new("/a/text"), beginning).unwrap_err().to_string();
            assert!(error.contains("/a/text") && error.contains(words), "{error}");
        }
    }

    #[test]
    fn texts_of_any_encoding_with_ascii_in_it_pass() {
        for beginning in [
            &b""[..],
            b"plain",
            b"tick\x00tock",
            "\u{feff}UTF-8 mit Umlauten: ä".as_bytes(),
            b"caf\xe9",
        ] {
            check(Path::new("/a/text"), beginning).unwrap();
        }
    }
}
