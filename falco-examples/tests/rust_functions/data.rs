//! The function of `falco_fakes::data` in Rust: it reads, shuffles and writes objects.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use falco_function::data::{DataError, Groups, Input, Output};
use serde::Deserialize;
use serde_json::{Value, json};

/// The tasks of the suite.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Task {
    Read {
        input: Value,
    },
    /// Reads after the URL has expired.
    ReadLate {
        input: Value,
    },
    Write {
        text: String,
        out: Value,
    },
    Count {
        input: Value,
        out: Value,
    },
    Total {
        r#in: Value,
    },
    Repeat {
        text: String,
        times: usize,
        exact: f64,
    },
    All {
        input: Value,
        out: Value,
        text: String,
    },
}

/// An input or an output of its JSON form.
///
/// serde buffers the fields of a [`Task`] until it has read `do`, which names the task. The types of the data plane cannot be
/// made of buffered fields, so a task holds them as JSON.
fn made<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, DataError> {
    serde_json::from_value(value).map_err(|error| std::io::Error::other(error).into())
}

fn text_of(input: Value) -> Result<String, DataError> {
    let bytes = made::<Input>(input)?.read()?;
    String::from_utf8(bytes).map_err(|error| std::io::Error::other(error).into())
}

fn written(out: Value, text: &str) -> Result<Value, DataError> {
    let mut out: Output = made(out)?;
    out.write(text.as_bytes())?;
    Ok(json!(out.close()?))
}

pub(crate) fn obey(task: Task) -> Result<Value, DataError> {
    Ok(match task {
        Task::Read { input } => json!({ "text": text_of(input)? }),
        Task::ReadLate { input } => {
            let until = input["falco:object"]["until"].as_u64().unwrap_or_default();
            while now() <= until as f64 + 1.0 {
                std::thread::sleep(Duration::from_millis(20));
            }
            json!({ "text": text_of(input)? })
        }
        Task::Write { text, out } => json!({ "out": written(out, &text)? }),
        Task::Count { input, out } => {
            let mut out: Output = made(out)?;
            for line in made::<Input>(input)?.lines()?.lines() {
                for word in line?.split_whitespace() {
                    out.emit(word, &1)?;
                }
            }
            json!({ "out": out.close()? })
        }
        Task::Total { r#in } => {
            let mut counts = BTreeMap::<String, u64>::new();
            made::<Groups>(r#in)?.for_each(|key, count: u64| {
                *counts.entry(key.to_owned()).or_default() += count;
                Ok::<_, DataError>(())
            })?;
            json!({ "counts": counts })
        }
        Task::Repeat { text, times, exact } => json!({"text": text.repeat(times), "exact": exact}),
        Task::All { input, out, text } => {
            let read = text_of(input)?;
            json!({"out": written(out, &read)?, "text": read + &text})
        }
    })
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
