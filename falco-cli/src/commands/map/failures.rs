//! The inputs that have no result, as lines of JSON.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context, bail};
use falco_core::{Completion, Error, Outcome, Payload};
use falco_executors::report::Failure;
use serde::Serialize;

/// Writes a line for each input that has no result: into a file, or to be shown.
#[derive(Debug, Default)]
pub(super) struct Failures {
    file: Option<(PathBuf, Mutex<File>)>,
    error: OnceLock<String>,
}

#[derive(Serialize)]
struct Line<'a> {
    input: u64,
    kind: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<&'a str>,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    argument: Option<&'a Payload>,
}

impl Failures {
    /// Writes into a file of that name, which must not hold anything yet; to stderr, as without a name, for `-`: stdout has
    /// the results.
    ///
    /// # Errors
    ///
    /// When it cannot be written to, or holds something.
    pub(super) fn into_file(path: &Path) -> anyhow::Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self::default());
        }
        let shown = path.display();
        let unwritable = || format!("cannot write failures to {shown}");
        let file = File::options().append(true).create(true).open(path).with_context(unwritable)?;
        let metadata = file.metadata().with_context(unwritable)?;
        if metadata.is_file() && metadata.len() > 0 {
            bail!("the file {shown} for --failed is not empty: name another, or remove it");
        }
        Ok(Self { file: Some((path.to_owned(), Mutex::new(file))), error: OnceLock::new() })
    }

    /// Takes note of an invocation without a result, and returns a line to show.
    pub(super) fn completion(&self, input: u64, completion: &Completion) -> Option<String> {
        let failure = Failure::of(completion)?;
        // What a stop has cancelled is in the file, so that it holds all that is left to do; it is nothing to look at.
        let is_shown = !matches!(completion.outcome, Outcome::Cancelled);
        let line = Line {
            input,
            kind: &failure.kind,
            message: &failure.reason,
            trace: failure.details(),
            attempts: completion.attempts,
            argument: Some(&completion.input),
        };
        self.note(&line).filter(|_| is_shown)
    }

    /// Takes note of an input that cannot be sent, and returns a line to show.
    pub(super) fn invalid(&self, input: u64, error: &Error) -> Option<String> {
        let (kind, message) = (error.kind().as_str(), error.to_string());
        let (trace, argument) = (None, None);
        self.note(&Line { input, kind, message: &message, trace, attempts: 0, argument })
    }

    /// Why a line could not be written.
    pub(super) fn error(&self) -> Option<&str> {
        self.error.get().map(String::as_str)
    }

    fn note(&self, line: &Line<'_>) -> Option<String> {
        // Every field has a JSON form.
        let text = serde_json::to_string(line).unwrap_or_default();
        let Some((path, file)) = &self.file else { return Some(text) };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(format!("{text}\n").as_bytes()) {
            let _ = self.error.set(format!("cannot write failures to {}: {error}", path.display()));
        }
        None
    }
}
