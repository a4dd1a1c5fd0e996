//! The subcommands on traces: what `falco-meter` and the command `falco` share.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use falco_core::{Error, ErrorKind, Result};
use falco_trace::{FactCollector, FactConsole, FactCsv, Perfetto, Record, Sink, read_file};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::{MeterServer, MeterSettings, write_plots, write_report};

/// The commands on a trace.
#[derive(Debug, Subcommand)]
#[non_exhaustive]
pub enum TraceCommand {
    /// Shows a trace as a page in the browser, and follows it while it grows.
    ///
    /// For example: falco view run.trace
    View(ViewFlags),
    /// Makes one HTML file of a trace, which loads nothing and sends nothing.
    ///
    /// For example: falco report run.trace -o report.html
    Report(ReportFlags),
    /// Makes plots of a trace: SVG files, and the numbers behind each as CSV.
    ///
    /// For example: falco plot run.trace -o plots
    Plot(PlotFlags),
    /// Writes a trace in the form of another tool: FACT, Perfetto, OpenTelemetry.
    ///
    /// For example: falco export run.trace --perfetto run.perfetto.gz
    Export(ExportFlags),
}

/// The output of each command.
#[derive(Clone, Copy, Debug, Args)]
struct Output {
    /// Print JSON.
    #[arg(long)]
    json: bool,

    /// Print nothing beside results and errors.
    #[arg(long, short)]
    quiet: bool,
}

/// The flags of `view`.
#[derive(Debug, Args)]
pub struct ViewFlags {
    /// The trace file.
    trace: PathBuf,

    /// The address of the page. The default is any free port of this machine.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    meter: SocketAddr,

    /// Answer requests for this host name, too, such as that of a proxy.
    #[arg(long, value_name = "NAME")]
    meter_host: Vec<String>,

    #[command(flatten)]
    shown: Output,
}

/// The flags of `report`.
#[derive(Debug, Args)]
pub struct ReportFlags {
    /// The trace file.
    trace: PathBuf,

    /// The file to write. The default is the name of the trace with .html in place of its ending.
    #[arg(long, short, value_name = "FILE.html")]
    output: Option<PathBuf>,

    #[command(flatten)]
    shown: Output,
}

/// The flags of `plot`.
#[derive(Debug, Args)]
pub struct PlotFlags {
    /// The trace file.
    trace: PathBuf,

    /// The folder to write into. The default is the name of the trace without its ending.
    #[arg(long, short, value_name = "FOLDER")]
    output: Option<PathBuf>,

    #[command(flatten)]
    shown: Output,
}

/// The flags of `export`.
#[derive(Debug, Args)]
pub struct ExportFlags {
    /// The trace file.
    trace: PathBuf,

    #[command(flatten)]
    into: Targets,

    #[command(flatten)]
    shown: Output,
}

/// Where to.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Targets {
    /// Write FACT's CSV to FILE.
    #[arg(long, value_name = "FILE")]
    fact_csv: Option<PathBuf>,

    /// Write FACT's lines of JSON to FILE.
    #[arg(long, value_name = "FILE")]
    fact_console: Option<PathBuf>,

    /// Send each trace to the FACT collector at ADDR, such as 127.0.0.1:9999.
    #[arg(long, value_name = "ADDR")]
    fact: Option<SocketAddr>,

    /// Write a trace for ui.perfetto.dev to FILE; gzipped if it ends in .gz.
    #[arg(long, value_name = "FILE")]
    perfetto: Option<PathBuf>,

    /// Send spans to the collector of OpenTelemetry that OTEL_EXPORTER_OTLP_ENDPOINT names.
    #[cfg(feature = "otlp")]
    #[arg(long)]
    otlp: bool,
}

impl TraceCommand {
    /// Does it, and prints on standard output what was made. `view` ends with Ctrl-C.
    ///
    /// # Errors
    ///
    /// Those of [`falco_trace::read_file`], and when something cannot be written or listened on.
    pub async fn run(self) -> Result<()> {
        match self {
            Self::View(flags) => flags.run().await,
            Self::Report(flags) => blocking(move || flags.run()).await,
            Self::Plot(flags) => blocking(move || flags.run()).await,
            Self::Export(flags) => blocking(move || flags.run()).await,
        }
    }
}

impl ViewFlags {
    async fn run(self) -> Result<()> {
        let hosts = self.meter_host.into_iter();
        let settings = hosts.fold(MeterSettings::default(), MeterSettings::with_host);
        let settings = settings.with_address(self.meter);
        let server = MeterServer::of_file(self.trace, settings).await?;
        // Nobody could open the page without its address, which is the result.
        match self.shown.json {
            true => print(serde_json::json!({"url": server.url()}))?,
            false => print(server.url())?,
        }
        let stopped = tokio::signal::ctrl_c().await;
        stopped.map_err(|error| {
            Error::new(ErrorKind::Other, "cannot wait for Ctrl-C").with_source(&error)
        })
    }
}

impl ReportFlags {
    fn run(self) -> Result<()> {
        let output = self.output.unwrap_or_else(|| stem(&self.trace).with_extension("html"));
        write_report(&self.trace, &output)?;
        self.shown.written(&[output])
    }
}

impl PlotFlags {
    fn run(self) -> Result<()> {
        let output = self.output.unwrap_or_else(|| stem(&self.trace).with_extension(""));
        self.shown.written(&write_plots(&self.trace, output)?)
    }
}

impl ExportFlags {
    fn run(self) -> Result<()> {
        let Self { trace, into, shown } = self;
        let mut written = Vec::new();
        if let Some(file) = &into.fact_csv {
            // Columns are known before the first row.
            let mut names = BTreeSet::new();
            read_file(&trace, |record| {
                if let Record::Call(call) = record {
                    names.extend(call.attributes.into_keys());
                }
            })?;
            let csv = FactCsv::with_attributes(create(file)?, names);
            let mut csv = csv.map_err(|error| unwritten(file, &error))?;
            each(&trace, file, |record| csv.take(record))?;
            finish(csv.into_inner(), file)?;
            written.push(file.clone());
        }
        if let Some(file) = &into.fact_console {
            let mut console = FactConsole::new(create(file)?);
            each(&trace, file, |record| console.take(record))?;
            finish(console.into_inner(), file)?;
            written.push(file.clone());
        }
        if let Some(file) = &into.perfetto {
            let to = create(file)?;
            if file.extension().is_some_and(|extension| extension == "gz") {
                let mut perfetto = Perfetto::new(GzEncoder::new(to, Compression::default()));
                each(&trace, file, |record| perfetto.take(record))?;
                let to = perfetto.into_inner().finish().map_err(|error| unwritten(file, &error))?;
                finish(to, file)?;
            } else {
                let mut perfetto = Perfetto::new(to);
                each(&trace, file, |record| perfetto.take(record))?;
                finish(perfetto.into_inner(), file)?;
            }
            written.push(file.clone());
        }
        if let Some(collector) = into.fact {
            send(
                &trace,
                &FactCollector::new(collector),
                &format!("the FACT collector at {collector}"),
            )?;
        }
        #[cfg(feature = "otlp")]
        if into.otlp {
            let exporter = falco_trace::OtlpExporter::from_env()?.ok_or_else(|| {
                Error::invalid_input("no collector of OpenTelemetry is named")
                    .with_hint("set OTEL_EXPORTER_OTLP_ENDPOINT, such as http://localhost:4318")
            })?;
            send(&trace, &exporter, "the collector of OpenTelemetry")?;
        }
        shown.written(&written)
    }
}

impl Output {
    /// Says which files were written.
    fn written(self, files: &[PathBuf]) -> Result<()> {
        if self.json {
            return print(serde_json::json!({"written": files}));
        }
        if self.quiet {
            return Ok(());
        }
        files.iter().try_for_each(|file| print(file.display()))
    }
}

fn create(path: &Path) -> Result<BufWriter<File>> {
    File::create(path).map(BufWriter::new).map_err(|error| unwritten(path, &error))
}

/// Hands each record to `take`, until it fails.
fn each(
    trace: &Path,
    into: &Path,
    mut take: impl FnMut(&Record<'_>) -> std::io::Result<()>,
) -> Result<()> {
    let mut taken = Ok(());
    read_file(trace, |record| {
        if taken.is_ok() {
            taken = take(&record);
        }
    })?;
    taken.map_err(|error| unwritten(into, &error))
}

fn finish(mut to: BufWriter<File>, path: &Path) -> Result<()> {
    to.flush().map_err(|error| unwritten(path, &error))
}

/// Sends a whole trace. Nobody waits for it, so that records are read no faster than they are sent.
fn send(trace: &Path, sink: &dyn Sink, name: &str) -> Result<()> {
    read_file(trace, |record| {
        sink.take(&record);
        if sink.is_full() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    })?;
    sink.finish();
    match sink.dropped() {
        0 => Ok(()),
        dropped => {
            let message = format!("{name} has not taken {dropped} records");
            Err(Error::new(ErrorKind::Unavailable, message))
        }
    }
}

fn unwritten(path: &Path, error: &std::io::Error) -> Error {
    let message = format!("cannot write {}", path.display());
    Error::new(ErrorKind::Other, message).with_source(error)
}

/// A name without the ending that compression adds.
fn stem(path: &Path) -> PathBuf {
    match path.extension() {
        Some(extension) if extension == "gz" => path.with_extension(""),
        _ => path.to_owned(),
    }
}

fn print(line: impl std::fmt::Display) -> Result<()> {
    match writeln!(std::io::stdout(), "{line}") {
        // A reader that has gone away has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| {
            Error::new(ErrorKind::Other, "cannot write to stdout").with_source(&error)
        }),
    }
}

async fn blocking(work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Error::new(ErrorKind::Panicked, "looking at the trace failed").with_source(&error)
    })?
}
