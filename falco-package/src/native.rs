//! Native functions: an executable that speaks OpenWhisk's ActionLoop.

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use falco_core::{Error, FunctionError, FunctionErrorKind, Payload, Result, half_surrogate_pairs};
use memchr::memmem;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::archive::Archive;
use crate::directory::unreadable;
use crate::requirements::{Requirements, System};

/// The file that a native function's archive starts with.
pub const NATIVE_EXECUTABLE: &str = "exec";

/// The variable that names the entry point to an executable that holds several functions.
pub const FUNCTION_VARIABLE: &str = "FALCO_FUNCTION";

/// The variable that asks an executable to acknowledge its start, set to `1`.
pub const ACKNOWLEDGE_VARIABLE: &str = "__OW_WAIT_FOR_ACK";

/// The variable that asks an executable to write [`LOG_MARK`](crate::shim::LOG_MARK) to standard error before it acknowledges
/// its start and before each answer, set to `1`: for platforms that get logs and answers in two streams without a common
/// order. One that does it acknowledges its start with `"marks_logs":true` as well.
pub const MARK_LOGS_VARIABLE: &str = "FALCO_MARK_LOGS";

/// The end of a hint about an executable over a platform's limit of code: how to make it smaller.
pub const SMALLER: &str = "build the executable with --release and strip it";

/// The name of an error by which an executable says that it has a result which JSON, or Falco, cannot carry.
const BAD_RESULT: &str = "BadResult";

impl Archive {
    /// The archive of a native function: the executable at `path`, as `exec`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for what cannot be read or started, as [`check_native`](Self::check_native) says.
    ///
    /// # Examples
    ///
    /// ```
    /// use falco_package::Archive;
    ///
    /// let archive = Archive::native(std::env::current_exe()?)?;
    /// assert!(archive.get("exec").is_some_and(|file| file.executable));
    ///
    /// let error = Archive::native("Cargo.toml").unwrap_err();
    /// assert!(error.to_string().contains("Cargo.toml"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn native(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let content = fs::read(path).map_err(|e| unreadable(path, &e))?;
        check_executable(&path.display().to_string(), &content)?;
        Self::new().with_executable(NATIVE_EXECUTABLE, content)
    }

    /// Checks that the archive is one of a native function: it holds `exec`, which is executable and begins with an ELF
    /// header or `#!`. OpenWhisk's proxy decides by the same bytes whether it starts a file as it is.
    ///
    /// # Errors
    ///
    /// `NotFound` or `InvalidInput` with what is missing.
    pub fn check_native(&self) -> Result<()> {
        let exec = self.require(NATIVE_EXECUTABLE)?;
        check_executable(NATIVE_EXECUTABLE, &exec.content)?;
        if exec.executable {
            return Ok(());
        }
        Err(Error::invalid_input("\"exec\" in the archive is not marked as executable")
            .with_hint("chmod +x it before it is packed"))
    }
}

impl Archive {
    /// Checks that the archive is one of a native function which `system` can start, as
    /// [`check_native`](Self::check_native) and [`Requirements::check`] say.
    ///
    /// # Errors
    ///
    /// `NotFound` or `InvalidInput` with what is missing or does not fit, and how to build it instead.
    pub fn check_native_on(&self, system: &System) -> Result<()> {
        self.check_native()?;
        Requirements::of(&self.require(NATIVE_EXECUTABLE)?.content)?.check(system)
    }
}

/// Checks the name of one of several functions in an executable: it is handed on by Lambda's handler and by a line of shell.
pub(crate) fn check_native_entry_point(name: &str) -> Result<()> {
    const LONGEST: usize = 100;
    let plain = |c: char| c.is_ascii_graphic() && c != '\'';
    if (1..=LONGEST).contains(&name.len()) && name.chars().all(plain) {
        return Ok(());
    }
    Err(Error::invalid_input(format!(
        "invalid entry point {name:?}: use 1 to {LONGEST} ASCII characters without blanks and single quotes"
    )))
}

pub(crate) fn check_executable(name: &str, content: &[u8]) -> Result<()> {
    if content.starts_with(b"\x7fELF") {
        return Ok(());
    }
    if content.starts_with(b"#!") {
        let line = content.split(|byte| *byte == b'\n').next().unwrap_or_default();
        if !line.ends_with(b"\r") {
            return Ok(());
        }
        return Err(Error::invalid_input(format!(
            "the first line of {name} ends with a carriage return, which becomes part of the interpreter's name"
        ))
        .with_hint("save it with Unix line ends (LF)"));
    }
    if content.starts_with(b"\xef\xbb\xbf") {
        return Err(Error::invalid_input(format!("{name} begins with a byte order mark"))
            .with_hint("save it as UTF-8 without BOM, so that it begins with #!"));
    }
    Err(Error::invalid_input(format!(
        "{name} is not an executable: it begins neither with an ELF header nor with #!"
    ))
    .with_hint("build the function for Linux, or begin the script with #!"))
}

/// The outcome that an executable's line on descriptor 3 stands for.
///
/// A result is a JSON object. The key `error` in it makes it a failure, whatever its value: a text is the message;
/// an object says it in `name`, `message` and `stack`; anything else is the message as JSON. Text that is not valid
/// Unicode is repaired. The name `BadResult` is for executables that check their own results.
///
/// # Errors
///
/// `Raised` for a failure, `BadResult` for one of that name and for what is not a JSON object.
///
/// # Examples
///
/// ```
/// use falco_core::FunctionErrorKind;
/// use falco_package::native;
///
/// assert!(native::outcome(r#"{"rows":3}"#.into()).is_ok());
///
/// let error = native::outcome(r#"{"rows":3,"error":null}"#.into()).unwrap_err();
/// assert_eq!((error.kind, &*error.message), (FunctionErrorKind::Raised, "null"));
///
/// let error = native::outcome(r#"{"mean":NaN}"#.into()).unwrap_err();
/// assert_eq!(error.kind, FunctionErrorKind::BadResult);
/// ```
pub fn outcome(line: Bytes) -> Result<Payload, FunctionError> {
    let bad = |message: String| FunctionError::new(FunctionErrorKind::BadResult, message);
    // Most results name no error, and need no second look. A name may be written with escapes.
    let may_fail =
        memmem::find(&line, b"error").is_some() || memmem::find(&line, b"\\u00").is_some();
    if may_fail {
        let failed = Failed::read(&line)
            .map_err(|error| bad(format!("the result cannot be read as JSON: {error}")))?;
        if let Some(failed) = failed {
            let mut error = failed.into_error(FunctionErrorKind::Raised);
            if error.error_type.as_deref() == Some(BAD_RESULT) {
                error.kind = FunctionErrorKind::BadResult;
            }
            return Err(error);
        }
    }
    let result = Payload::from_bytes(line).map_err(|error| {
        bad(format!("the result cannot be read as JSON: {}", error.causes().join(": ")))
    })?;
    if result.is_object() {
        return Ok(result);
    }
    Err(bad(format!("the result has to be a JSON object, and it is {result:?}")))
}

/// A process's report of its start, once it can take calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Started {
    /// System and language with their versions, such as `Linux 6.1 python 3.12.4`; executables do not say it.
    pub runtime: Option<String>,
    /// Whether it marks the end of each call's log, as [`MARK_LOGS_VARIABLE`] asks for.
    pub marks_logs: bool,
}

/// Reads the first line of an executable that was asked to acknowledge its start: `{"ok":true}`, or the key `error` as
/// in [`outcome`]. A shim of Falco's adds what it runs under; one that marks the end of each call's log adds
/// `"marks_logs":true`.
///
/// # Errors
///
/// `Initialization` with what the executable says, or with the line that it should not have written.
///
/// # Examples
///
/// ```
/// use falco_package::native;
///
/// assert!(native::acknowledged(br#"{"ok":true}"#).is_ok());
/// let started = native::acknowledged(br#"{"ok":true,"ms":9.5,"runtime":"Linux 6.1 python 3.12.4"}"#)?;
/// assert_eq!(started.runtime.as_deref(), Some("Linux 6.1 python 3.12.4"));
/// assert!(!started.marks_logs);
/// assert!(native::acknowledged(br#"{"ok":true,"marks_logs":true}"#)?.marks_logs);
///
/// let error = native::acknowledged(br#"{"error":"no model"}"#).unwrap_err();
/// assert_eq!(error.message, "no model");
/// # Ok::<(), falco_core::FunctionError>(())
/// ```
pub fn acknowledged(line: &[u8]) -> Result<Started, FunctionError> {
    #[derive(Deserialize)]
    struct Acknowledgement {
        ok: bool,
        runtime: Option<String>,
        #[serde(default)]
        marks_logs: bool,
    }

    if let Ok(Some(failed)) = Failed::read(line) {
        return Err(failed.into_error(FunctionErrorKind::Initialization));
    }
    let is_object = line.trim_ascii_start().starts_with(b"{");
    if is_object
        && let Ok(Acknowledgement { ok: true, runtime, marks_logs }) = serde_json::from_slice(line)
    {
        return Ok(Started { runtime, marks_logs });
    }
    const SHOWN: usize = 200;
    let shown = String::from_utf8_lossy(&line[..line.len().min(SHOWN)]).into_owned();
    Err(FunctionError::new(
        FunctionErrorKind::Initialization,
        format!("the first line on descriptor 3 has to be {{\"ok\":true}}, and it is {shown:?}"),
    ))
}

/// The value of the key `error`.
struct Failed<'a>(&'a str);

impl<'a> Failed<'a> {
    /// Looks for the key in an object. Whatever else is JSON has none.
    fn read(line: &'a [u8]) -> serde_json::Result<Option<Self>> {
        #[derive(Deserialize)]
        struct Line<'a> {
            #[serde(borrow, default, deserialize_with = "present")]
            error: Option<&'a RawValue>,
        }

        // `null` is a value too: the key counts.
        fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
            Deserialize::deserialize(from).map(Some)
        }

        let line = std::str::from_utf8(line).map_err(serde::de::Error::custom)?;
        if !line.trim_start().starts_with('{') {
            return Ok(None);
        }
        let line: Line<'a> = serde_json::from_str(line)?;
        Ok(line.error.map(|error| Self(error.get())))
    }

    fn into_error(self, kind: FunctionErrorKind) -> FunctionError {
        #[derive(Deserialize)]
        struct Described {
            message: String,
            name: Option<String>,
            stack: Option<String>,
        }

        let json = repaired(self.0);
        if let Ok(text) = serde_json::from_str::<String>(&json) {
            return FunctionError::new(kind, text);
        }
        // A struct is read from an array as well, which says nothing of the kind.
        let is_object = json.trim_start().starts_with('{');
        let described = is_object.then(|| serde_json::from_str::<Described>(&json));
        let Some(Ok(described)) = described else {
            return FunctionError::new(kind, json.into_owned());
        };
        let mut error = FunctionError::new(kind, described.message);
        error.error_type = described.name;
        error.trace = described.stack;
        error
    }
}

/// JSON text with U+FFFD for each escape that is half of a surrogate pair.
fn repaired(json: &str) -> Cow<'_, str> {
    let mut whole = Cow::Borrowed(json);
    for at in half_surrogate_pairs(json.as_bytes()) {
        // Six characters for six: `\ud800` and `\ufffd`.
        whole.to_mut().replace_range(at..at + 6, "\\ufffd");
    }
    whole
}

#[cfg(test)]
mod tests;
