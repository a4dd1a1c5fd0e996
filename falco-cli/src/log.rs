//! The log on stderr.

use std::io::{self, IsTerminal};

use anyhow::anyhow;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::flags::Log;

/// Begins the log that `--log` or `RUST_LOG` asks for, and returns whether there is one.
///
/// # Errors
///
/// When `RUST_LOG` is not a list of levels.
pub fn start(flag: Option<&Log>) -> anyhow::Result<bool> {
    let Some(Log(filter)) = asked_for(flag)? else { return Ok(false) };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        // A call to the platform is a span: its line shows when it ends, with the time that it took.
        .with_span_events(FmtSpan::CLOSE)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    // A log that somebody has begun already stays.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    Ok(true)
}

fn asked_for(flag: Option<&Log>) -> anyhow::Result<Option<Log>> {
    if let Some(log) = flag {
        return Ok(Some(log.clone()));
    }
    match std::env::var("RUST_LOG") {
        Ok(levels) if !levels.is_empty() => {
            let log = levels.parse();
            log.map(Some).map_err(|hint| anyhow!("invalid RUST_LOG {levels:?}: {hint}"))
        }
        _ => Ok(None),
    }
}
