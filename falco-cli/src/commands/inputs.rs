//! The inputs, read by a thread of their own as fast as they are taken.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use falco_core::{Error, Payload, Result};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// How many inputs are read ahead.
const AHEAD: usize = 64;
/// No platform takes a longer argument; a line without an end must not fill the memory.
const LONGEST_LINE: u64 = 64 * 1024 * 1024;

/// How inputs are made of what is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Each line is a JSON object.
    Json,
    /// Each line becomes `{"line": ..}`.
    Text,
    /// Each row becomes an object with the names of the first row.
    Csv,
    /// Each file becomes `{"path": .., "text": ..}`, or with `base64` where it is not text.
    Files,
}

/// One input, or why there is none.
#[derive(Debug)]
pub(crate) enum Given {
    /// An argument.
    Argument(Payload),
    /// Something that cannot be an argument, and what is wrong with it; the others follow.
    Invalid(Error),
    /// Nothing more can be read.
    Broken(Error),
}

/// Where inputs come from; stdin is `-`.
#[derive(Debug)]
pub(crate) struct Sources(Vec<PathBuf>);

impl Sources {
    /// Checks that all of it can be read.
    ///
    /// # Errors
    ///
    /// `InvalidInput` that names the first file that cannot.
    pub(crate) fn new(paths: Vec<PathBuf>, format: Format) -> Result<Self> {
        let stdin = PathBuf::from("-");
        let paths = if paths.is_empty() { vec![stdin.clone()] } else { paths };
        for path in paths.iter().filter(|path| **path != stdin) {
            // Opened once more when its turn comes: there may be more files than descriptors.
            let metadata = File::open(path).and_then(|file| file.metadata());
            let metadata = metadata.map_err(|error| unreadable(path, &error))?;
            if metadata.is_dir() {
                let hint = match format {
                    Format::Files => "name the files in it, such as folder/*",
                    _ => "name a file of inputs, or pass --files for an input for each file",
                };
                let message = format!("{} is a folder", path.display());
                return Err(Error::invalid_input(message).with_hint(hint));
            }
        }
        Ok(Self(paths))
    }

    /// How many inputs there are, where that is known without reading them.
    pub(crate) fn count(&self, format: Format) -> Option<usize> {
        let named = format == Format::Files && self.0.iter().all(|path| path.as_os_str() != "-");
        named.then_some(self.0.len())
    }

    /// Begins to read.
    ///
    /// # Errors
    ///
    /// When the system starts no thread.
    pub(crate) fn read(self, format: Format) -> io::Result<Receiver<Given>> {
        let (inputs, receiver) = channel(AHEAD);
        let read = move || read_all(&self.0, format, &inputs);
        std::thread::Builder::new().name("inputs".to_owned()).spawn(read)?;
        Ok(receiver)
    }
}

/// The run takes no more inputs.
struct Gone;

fn read_all(paths: &[PathBuf], format: Format, inputs: &Sender<Given>) {
    for path in paths {
        if read_one(path, format, inputs).is_err() {
            return;
        }
    }
}

fn read_one(path: &Path, format: Format, inputs: &Sender<Given>) -> Result<(), Gone> {
    let is_stdin = path.as_os_str() == "-";
    if format == Format::Files && !is_stdin {
        return send(inputs, whole_file(path));
    }
    let opened: io::Result<Box<dyn Read>> = match is_stdin {
        true => Ok(Box::new(io::stdin())),
        false => File::open(path).map(|file| Box::new(file) as Box<dyn Read>),
    };
    match opened {
        Ok(file) if format == Format::Csv => rows(path, file, inputs),
        Ok(file) => lines(path, BufReader::new(file), format, inputs),
        Err(error) => send(inputs, Given::Broken(unreadable(path, &error))),
    }
}

fn send(inputs: &Sender<Given>, given: Given) -> Result<(), Gone> {
    inputs.blocking_send(given).map_err(|_| Gone)
}

fn lines(
    path: &Path,
    mut file: impl BufRead,
    format: Format,
    inputs: &Sender<Given>,
) -> Result<(), Gone> {
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let fits = match read_line(&mut file, &mut line) {
            Ok(None) => break,
            Ok(Some(fits)) => fits,
            Err(error) => return send(inputs, Given::Broken(unreadable(path, &error))),
        };
        let is_blank = line.iter().all(u8::is_ascii_whitespace);
        if fits && is_blank && format != Format::Text {
            continue;
        }
        let given = match format {
            _ if !fits => Err(Error::invalid_input("the line is longer than 64 MiB")),
            Format::Text => text(&line),
            Format::Files => match std::str::from_utf8(&line) {
                Ok(name) => {
                    send(inputs, whole_file(Path::new(name)))?;
                    continue;
                }
                Err(error) => Err(Error::invalid_input("not UTF-8").with_source(&error)),
            },
            _ => object(&line),
        };
        let place = || format!("{}:{number}", shown(path));
        send(inputs, given.map_or_else(|e| Given::Invalid(e.context(place())), Given::Argument))?;
    }
    Ok(())
}

/// Reads a line without its end, and returns whether it was short enough; none at the end of the file.
fn read_line(file: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    if file.by_ref().take(LONGEST_LINE + 1).read_until(b'\n', line)? == 0 {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') && line.len() as u64 > LONGEST_LINE {
        line.clear();
        file.skip_until(b'\n')?;
        return Ok(Some(false));
    }
    for end in [b'\n', b'\r'] {
        if line.last() == Some(&end) {
            line.pop();
        }
    }
    Ok(Some(true))
}

fn object(line: &[u8]) -> Result<Payload> {
    let payload = Payload::from_bytes(line.trim_ascii().to_vec())?;
    payload.check_argument(None)?;
    Ok(payload)
}

fn text(line: &[u8]) -> Result<Payload> {
    let text = std::str::from_utf8(line)
        .map_err(|error| Error::invalid_input("the line is not UTF-8").with_source(&error))?;
    Payload::json(&json!({ "line": text }))
}

fn whole_file(path: &Path) -> Given {
    let content = match fs::read(path) {
        Ok(content) => content,
        Err(error) => return Given::Invalid(unreadable(path, &error)),
    };
    let name = path.display().to_string();
    let argument = match String::from_utf8(content) {
        Ok(text) => json!({"path": name, "text": text}),
        Err(error) => json!({"path": name, "base64": BASE64_STANDARD.encode(error.into_bytes())}),
    };
    Payload::json(&argument).map_or_else(Given::Invalid, Given::Argument)
}

fn rows(path: &Path, file: Box<dyn Read>, inputs: &Sender<Given>) -> Result<(), Gone> {
    let mut rows = csv::Reader::from_reader(file);
    let names = match rows.headers() {
        Ok(names) => names.clone(),
        Err(error) => return send(inputs, Given::Broken(unreadable(path, &error))),
    };
    for row in rows.records() {
        let given = match row {
            Ok(row) => {
                let fields = names.iter().zip(&row);
                let fields = fields.map(|(name, field)| (name.to_owned(), Value::from(field)));
                Payload::json(&fields.collect::<Map<_, _>>())
                    .map_or_else(Given::Invalid, Given::Argument)
            }
            Err(error) if matches!(error.kind(), csv::ErrorKind::Io(_)) => {
                return send(inputs, Given::Broken(unreadable(path, &error)));
            }
            Err(error) => {
                let message = format!("{}: invalid row", shown(path));
                Given::Invalid(Error::invalid_input(message).with_source(&error))
            }
        };
        send(inputs, given)?;
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    if path.as_os_str() == "-" { "stdin".to_owned() } else { path.display().to_string() }
}

fn unreadable(path: &Path, error: &(dyn std::error::Error + 'static)) -> Error {
    Error::invalid_input(format!("cannot read {}", shown(path))).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The inputs that a file with this text gives: arguments, and errors behind `!`.
    fn given(format: Format, content: &[u8]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in");
        fs::write(&path, content).unwrap();
        let mut inputs = Sources::new(vec![path], format).unwrap().read(format).unwrap();
        std::iter::from_fn(|| inputs.blocking_recv())
            .map(|given| match given {
                Given::Argument(argument) => argument.as_str().to_owned(),
                Given::Invalid(error) | Given::Broken(error) => format!("!{error}"),
            })
            .collect()
    }

    #[test]
    fn lines_of_json_are_objects_and_blank_ones_are_left_out() {
        let found = given(Format::Json, b"{\"n\": 1}\r\n\n  {\"n\": 2} \n[3]\n{oops\n{\"n\": 6}");
        assert_eq!(found.len(), 5, "{found:?}");
        assert_eq!((found[0].as_str(), found[1].as_str()), (r#"{"n": 1}"#, r#"{"n": 2}"#));
        assert!(found[2].starts_with('!') && found[2].contains("in:4"), "{}", found[2]);
        assert!(found[3].starts_with('!') && found[3].contains("in:5"), "{}", found[3]);
        assert_eq!(found[4], r#"{"n": 6}"#);
    }

    #[test]
    fn lines_of_text_are_wrapped_as_they_are() {
        let found = given(Format::Text, b"a\r\n\n\"b\" \xc3\xa4\n\xff\n");
        assert_eq!(found[..3], [r#"{"line":"a"}"#, r#"{"line":""}"#, "{\"line\":\"\\\"b\\\" ä\"}"]);
        assert!(found[3].contains("in:4") && found[3].contains("UTF-8"), "{}", found[3]);
    }

    #[test]
    fn rows_are_objects_with_the_names_of_the_first_row() {
        let found =
            given(Format::Csv, b"name,age\nAda,36\n\"a, b\n\"\"c\"\"\",7\nshort\nGrace,85\n");
        assert_eq!(found[0], r#"{"age":"36","name":"Ada"}"#);
        assert_eq!(found[1], r#"{"age":"7","name":"a, b\n\"c\""}"#);
        assert!(found[2].starts_with('!') && found[2].contains("line: 5"), "{}", found[2]);
        assert_eq!(found[3], r#"{"age":"85","name":"Grace"}"#);
    }

    #[test]
    fn files_are_text_or_base64() {
        assert!(given(Format::Files, b"hello")[0].contains(r#""text":"hello""#));
        assert!(given(Format::Files, b"\xff\x00")[0].contains(r#""base64":"/wA=""#));
    }

    #[test]
    fn what_cannot_be_read_is_named_before_anything_else_happens() {
        let error = Sources::new(vec!["/no/such/file".into()], Format::Json).unwrap_err();
        assert!(error.to_string().contains("/no/such/file"), "{error}");
        let error = Sources::new(vec!["/".into()], Format::Json).unwrap_err();
        assert!(error.to_string().contains("/ is a folder"), "{error}");
    }
}
