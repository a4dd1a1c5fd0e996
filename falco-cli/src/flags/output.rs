//! The output of a program.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use falco_core::Result;
use falco_executors::ResultsSink;
use tracing_subscriber::filter::Targets;

/// The output of a program.
#[derive(Debug, Args)]
pub struct OutputFlags {
    /// Print one JSON object with result and report.
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// Show neither progress nor report.
    #[arg(long, short, help_heading = "Output")]
    pub quiet: bool,

    /// Write each outcome to FILE as soon as it is known, as a line of JSON; - for stdout. What has finished survives
    /// whatever ends the program.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub results: Option<PathBuf>,

    /// Write a log to stderr: error, warn, info, debug or trace, also by part, such as falco_aws=debug
    /// [default: RUST_LOG, else nothing]
    #[arg(long, value_name = "LEVEL", help_heading = "Output")]
    pub log: Option<Log>,
}

/// The output of a command that runs no plan.
#[derive(Debug, Args)]
pub struct ShowFlags {
    /// Print JSON.
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// Print nothing beside results and errors.
    #[arg(long, short, help_heading = "Output")]
    pub quiet: bool,

    /// Write a log to stderr: error, warn, info, debug or trace, also by part, such as falco_aws=debug
    /// [default: RUST_LOG, else nothing]
    #[arg(long, value_name = "LEVEL", help_heading = "Output")]
    pub log: Option<Log>,
}

impl OutputFlags {
    /// Whether results are written to stdout as they come.
    pub fn results_to_stdout(&self) -> bool {
        self.results.as_deref().is_some_and(|path| path.as_os_str() == "-")
    }

    /// Opens where results are written to.
    ///
    /// # Errors
    ///
    /// As [`ResultsSink::create`].
    pub fn open_results(&self) -> Result<Option<ResultsSink>> {
        match &self.results {
            None => Ok(None),
            Some(_) if self.results_to_stdout() => Ok(Some(ResultsSink::new(std::io::stdout()))),
            Some(path) => ResultsSink::create(path).map(Some),
        }
    }
}

/// The filter of the log, such as `debug` or `warn,falco_aws=trace`.
#[derive(Clone, Debug)]
pub struct Log(pub(crate) Targets);

impl FromStr for Log {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let invalid = |_| {
            "use error, warn, info, debug or trace, or a list such as warn,falco_aws=debug"
                .to_owned()
        };
        // A bare word that is not a level would be taken for the name of a part.
        if text
            .split(',')
            .any(|part| !part.contains('=') && part.parse::<tracing::Level>().is_err())
        {
            return Err(invalid(()));
        }
        text.parse().map(Self).map_err(|_| invalid(()))
    }
}
