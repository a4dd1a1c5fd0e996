//! The function of the conformance suite in Rust: a program that holds nothing but functions, for other programs to deploy.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what a function prints is its log")]

use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use falco_function::{Context, Functions};
use serde::Deserialize;
use serde_json::{Value, json};

/// The orders that the function takes; `falco_testkit::fixture` says what each does.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Command {
    Nothing,
    Echo { value: Value },
    Length { value: String },
    Big { length: usize },
    Version,
    Env { name: String },
    Raise { message: String },
    BadResult,
    Context,
    Sleep { seconds: f64 },
    Exit { status: i32 },
    Print { stdout: Option<Vec<String>>, stderr: Option<Vec<String>> },
}

/// An error whose name arrives with its text.
struct ValueError(String);

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn fixture(command: Command) -> Result<Value, ValueError> {
    Ok(match command {
        Command::Nothing => json!({}),
        Command::Echo { value } => json!({ "value": value }),
        Command::Length { value } => json!({ "length": value.chars().count() }),
        Command::Big { length } => json!({ "value": "x".repeat(length) }),
        Command::Version => json!({ "version": 1 }),
        Command::Env { name } => json!({ "value": std::env::var(name).ok() }),
        Command::Raise { message } => return Err(ValueError(message)),
        Command::BadResult => json!(42),
        Command::Context => {
            let context = Context::current().unwrap_or_default();
            json!({
                "activation_id": context.activation_id,
                "traceparent": context.traceparent,
                "milliseconds_left": context.time_left().map(|left| left.as_millis() as u64),
            })
        }
        Command::Sleep { seconds } => {
            let began = now();
            std::thread::sleep(Duration::from_secs_f64(seconds));
            json!({ "began": began, "ended": now() })
        }
        Command::Exit { status } => std::process::exit(status),
        Command::Print { stdout, stderr } => {
            for line in stdout.unwrap_or_default() {
                println!("{line}");
            }
            for line in stderr.unwrap_or_default() {
                eprintln!("{line}");
            }
            json!({})
        }
    })
}

/// Seconds since the epoch.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn main() -> ExitCode {
    let mut functions = Functions::new();
    functions.add("fixture", fixture);
    functions.serve_if_worker();
    eprintln!(
        "this program holds functions only: another one deploys it, by falco_function::Executable::at"
    );
    ExitCode::FAILURE
}
