//! How a run can be looked at, while it goes on and afterwards.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

/// How a run can be looked at, while it goes on and afterwards.
#[derive(Debug, Args)]
pub struct ObserveFlags {
    /// Write what happens to each attempt to FILE, as lines of JSON; gzipped if it ends in .gz.
    #[arg(long, value_name = "FILE", help_heading = "Trace")]
    pub trace: Option<PathBuf>,

    /// Show the run as a page in the browser. Without ADDR it is any free port of this machine.
    #[arg(long, value_name = "ADDR", num_args = 0..=1, require_equals = true, default_missing_value = "127.0.0.1:0", help_heading = "Trace")]
    pub meter: Option<SocketAddr>,

    /// Go on showing the page after the run, until Ctrl-C.
    #[arg(long, requires = "meter", help_heading = "Trace")]
    pub meter_stay: bool,

    /// Answer requests for this host name, too, such as that of a proxy.
    #[arg(long, value_name = "NAME", requires = "meter", help_heading = "Trace")]
    pub meter_host: Vec<String>,

    /// Write a report of the run to FILE.html: one page, which loads nothing and sends nothing.
    #[arg(long, value_name = "FILE.html", help_heading = "Trace")]
    pub report: Option<PathBuf>,

    /// Send each trace to the FACT collector at ADDR, such as 127.0.0.1:9999.
    #[arg(long, value_name = "ADDR", help_heading = "Trace")]
    pub fact: Option<SocketAddr>,

    /// Send spans to the collector of OpenTelemetry that OTEL_EXPORTER_OTLP_ENDPOINT names, such as http://localhost:4318.
    #[arg(long, help_heading = "Trace")]
    pub otlp: bool,
}

impl ObserveFlags {
    /// Whether anybody asks for anything.
    pub(crate) fn is_wanted(&self) -> bool {
        self.trace.is_some()
            || self.meter.is_some()
            || self.report.is_some()
            || self.fact.is_some()
            || self.otlp
    }
}
