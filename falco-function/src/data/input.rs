//! The input of a function.

use std::io::{self, BufRead, BufReader, Read};
use std::vec;

use serde::{Deserialize, Deserializer};

use super::error::DataError;
use super::http::Readable;

/// The bytes that a call is to read: a split, or an object. A parameter has it where the argument has a reference.
///
/// # Examples
///
/// ```
/// use falco_function::data::{DataError, Input};
/// use serde::{Deserialize, Serialize};
/// use std::io::BufRead;
///
/// #[derive(Deserialize)]
/// struct Split { input: Input }
///
/// #[derive(Serialize)]
/// struct Lines { lines: usize }
///
/// fn count(split: Split) -> Result<Lines, DataError> {
///     Ok(Lines { lines: split.input.lines()?.split(b'\n').count() })
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Input(Vec<Readable>);

#[derive(Deserialize)]
enum Wire {
    #[serde(rename = "falco:object")]
    Object(Readable),
    #[serde(rename = "falco:objects")]
    Objects(Vec<Readable>),
}

impl<'de> Deserialize<'de> for Input {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match Wire::deserialize(deserializer)? {
            Wire::Object(object) => vec![object],
            Wire::Objects(objects) => objects,
        }))
    }
}

impl Input {
    pub(super) fn objects(&self) -> &[Readable] {
        &self.0
    }

    /// Where it is, without a signature; the first of several objects that share a split.
    pub fn url(&self) -> &str {
        self.0.first().map_or("", |object| &object.url)
    }

    /// The bytes as a stream. Objects that share a split follow one another, each begun on a line of its own.
    ///
    /// # Errors
    ///
    /// When an object cannot be opened. An error while reading carries a [`DataError`].
    pub fn lines(&self) -> Result<impl BufRead + Send + use<>, DataError> {
        let mut left = self.0.clone().into_iter();
        let now = left.next().map(|first| first.open()).transpose()?;
        Ok(BufReader::with_capacity(1 << 20, Joined { left, now, ends_line: true }))
    }

    /// All bytes.
    ///
    /// # Errors
    ///
    /// When an object cannot be read.
    pub fn read(&self) -> Result<Vec<u8>, DataError> {
        let mut bytes = Vec::new();
        self.lines()?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Objects that follow one another. What one ends with and what the next begins with never share a line.
struct Joined {
    left: vec::IntoIter<Readable>,
    now: Option<Box<dyn Read + Send>>,
    ends_line: bool,
}

impl Read for Joined {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(now) = &mut self.now {
            let count = now.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                self.ends_line = buffer[..count].last().is_none_or(|last| *last == b'\n');
                return Ok(count);
            }
            self.now = self.left.next().map(|next| next.open()).transpose()?;
            if self.now.is_some() && !self.ends_line {
                self.ends_line = true;
                buffer[0] = b'\n';
                return Ok(1);
            }
        }
        Ok(0)
    }
}
