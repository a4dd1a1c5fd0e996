//! Text files, cut into pieces that no word runs across.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use super::encoding;

/// The pieces of several files, one after the other. A piece never spans two files.
#[derive(Debug)]
pub struct Chunks {
    files: std::vec::IntoIter<PathBuf>,
    open: Option<OpenFile>,
    size: usize,
}

impl Chunks {
    /// Cuts `files` into pieces of at most `size` bytes, at line ends where there are any. Only a single word
    /// longer than `size` makes a longer piece.
    pub fn new(files: Vec<PathBuf>, size: usize) -> Self {
        Self { files: files.into_iter(), open: None, size: size.max(1) }
    }

    fn next_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(open) = &mut self.open
                && let Some(chunk) = open.next_chunk(self.size)?
            {
                return Ok(Some(chunk));
            }
            let Some(path) = self.files.next() else { return Ok(None) };
            self.open = Some(OpenFile::open(path)?);
        }
    }
}

impl Iterator for Chunks {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_chunk().transpose()
    }
}

#[derive(Debug)]
struct OpenFile {
    path: PathBuf,
    file: File,
    /// The text that was read and not handed out yet.
    rest: Vec<u8>,
    /// Whether its beginning was looked at: that of a pipe can be read only once.
    is_checked: bool,
}

impl OpenFile {
    fn open(path: PathBuf) -> io::Result<Self> {
        match File::open(&path) {
            Ok(file) => Ok(Self { path, file, rest: Vec::new(), is_checked: false }),
            Err(error) => Err(naming(&path, &error)),
        }
    }

    fn next_chunk(&mut self, size: usize) -> io::Result<Option<Vec<u8>>> {
        let mut limit = size;
        loop {
            // One byte more than the limit shows whether a word ends there.
            let missing = (limit + 1).saturating_sub(self.rest.len());
            self.file
                .by_ref()
                .take(missing as u64)
                .read_to_end(&mut self.rest)
                .map_err(|error| naming(&self.path, &error))?;
            if !self.is_checked {
                let seen = self.rest.len().min(encoding::SEEN as usize);
                encoding::check(&self.path, &self.rest[..seen])?;
                self.is_checked = true;
            }
            if self.rest.len() <= limit {
                let last = std::mem::take(&mut self.rest);
                return Ok((!last.is_empty()).then_some(last));
            }
            if let Some(end) = cut(&self.rest, limit) {
                let rest = self.rest.split_off(end);
                return Ok(Some(std::mem::replace(&mut self.rest, rest)));
            }
            limit += size;
        }
    }
}

/// Where to cut `text`, which is longer than `limit`: after a line, else beside a byte that is not a letter.
fn cut(text: &[u8], limit: usize) -> Option<usize> {
    let after_line = text[..limit].iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
    after_line.or_else(|| {
        (1..=limit)
            .rev()
            .find(|&at| !(text[at - 1].is_ascii_alphabetic() && text[at].is_ascii_alphabetic()))
    })
}

fn naming(path: &std::path::Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display()))
}

/// The pieces of several files as plain text, as a pipeline's inputs: see [`Chunks::new`] and [`to_ascii`].
pub fn read_chunks(
    files: Vec<PathBuf>,
    size: usize,
) -> impl Iterator<Item = falco_core::Result<String>> + Send {
    Chunks::new(files, size).map(|chunk| match chunk {
        Ok(chunk) => Ok(to_ascii(chunk)),
        Err(error) => Err(falco_core::Error::invalid_input(error.to_string())),
    })
}

/// The chunk as text that JSON takes byte for byte: what is not printable ASCII becomes a blank, which separates
/// words as it did, whatever the file's encoding.
pub fn to_ascii(chunk: Vec<u8>) -> String {
    chunk.into_iter().map(|byte| if is_plain(byte) { char::from(byte) } else { ' ' }).collect()
}

fn is_plain(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn chunks(texts: &[&[u8]], size: usize) -> Vec<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let files = texts.iter().enumerate().map(|(number, text)| {
            let path = folder.path().join(number.to_string());
            fs::write(&path, text).unwrap();
            path
        });
        Chunks::new(files.collect(), size).map(Result::unwrap).collect()
    }

    #[test]
    fn pieces_end_at_lines_and_put_together_they_are_the_file() {
        let text = b"one two\nthree\nfour five six\n";
        let pieces = chunks(&[text], 15);
        assert_eq!(pieces.concat(), text);
        assert_eq!(pieces, [&b"one two\nthree\n"[..], b"four five six\n"]);
    }

    #[test]
    fn a_long_line_is_cut_at_the_boundary_of_a_character() {
        for size in 1..20 {
            let pieces = chunks(&["one twö three-four".as_bytes()], size);
            let words: Vec<String> = pieces.into_iter().map(to_ascii).collect();
            let words: Vec<&str> =
                words.iter().flat_map(|t| t.split(|c: char| !c.is_ascii_alphabetic())).collect();
            let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
            assert_eq!(words, ["one", "tw", "three", "four"], "size {size}");
        }
    }

    #[test]
    fn a_word_is_never_cut_and_files_are_never_joined() {
        assert_eq!(chunks(&[b"abcdefgh", b"", b"ij"], 3), [&b"abcdefgh"[..], b"ij"]);
    }

    #[test]
    fn a_missing_file_is_named() {
        let mut chunks = Chunks::new(vec![PathBuf::from("/no/such/file")], 10);
        let error = chunks.next().unwrap().unwrap_err();
        assert!(error.to_string().contains("/no/such/file"), "{error}");
    }
}
