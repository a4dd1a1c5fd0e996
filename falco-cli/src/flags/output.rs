//! What a program prints.

use clap::Args;

/// What a program prints.
#[derive(Debug, Args)]
pub struct OutputFlags {
    /// Print one JSON object with result and report.
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// Show neither progress nor report.
    #[arg(long, short, help_heading = "Output")]
    pub quiet: bool,
}
