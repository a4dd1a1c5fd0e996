//! Records a run, and shows it.

use std::path::PathBuf;
use std::sync::Arc;

use falco_core::{Error, Monitor, Result};
use falco_layers::Gate;
use falco_meter::{MeterServer, MeterSettings, write_report};
use falco_trace::{FactCollector, OtlpExporter, Recorder, TraceFile};

use crate::flags::ObserveFlags;
use crate::output::say;

/// Records a run, and shows it. Dropped, it writes the report, and with `--meter-stay` it waits for Ctrl-C: results are
/// printed by then.
#[derive(Debug, Default)]
pub(crate) struct Observation {
    recorder: Option<Arc<Recorder>>,
    server: Option<MeterServer>,
    stays: bool,
    report: Option<Report>,
}

#[derive(Debug)]
struct Report {
    trace: PathBuf,
    into: PathBuf,
    /// Whether the trace was written for the report only.
    is_temporary: bool,
}

impl Observation {
    /// Creates the files and begins to listen. A page that cannot be served is said, and costs nothing else.
    ///
    /// # Errors
    ///
    /// When a file cannot be created.
    pub(crate) async fn begin(flags: &ObserveFlags, gates: Vec<(String, Gate)>) -> Result<Self> {
        if !flags.is_wanted() {
            return Ok(Self::default());
        }
        let report = flags.report.as_ref().map(|into| match &flags.trace {
            Some(trace) => Report { trace: trace.clone(), into: into.clone(), is_temporary: false },
            None => {
                let name = into.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let trace = into.with_file_name(format!(".{name}.trace.jsonl"));
                Report { trace, into: into.clone(), is_temporary: true }
            }
        });
        let trace = flags.trace.clone().or(report.as_ref().map(|report| report.trace.clone()));
        let mut recorder = Recorder::new();
        if let Some(trace) = &trace {
            recorder = recorder.with_file(TraceFile::new(trace))?;
        }
        for (platform, gate) in gates {
            recorder = recorder.with_gate(platform, move || gate.state());
        }
        if let Some(collector) = flags.fact {
            recorder = recorder.with_sink(Arc::new(FactCollector::new(collector)));
        }
        if flags.otlp {
            let exporter = OtlpExporter::from_env()?.ok_or_else(|| {
                Error::invalid_input("no collector of OpenTelemetry is named for --otlp")
                    .with_hint("set OTEL_EXPORTER_OTLP_ENDPOINT, such as http://localhost:4318")
            })?;
            recorder = recorder.with_sink(Arc::new(exporter));
        }
        let recorder = Arc::new(recorder);
        let server = serve(flags, &recorder, trace).await;
        Ok(Self { recorder: Some(recorder), server, stays: flags.meter_stay, report })
    }

    /// The monitor of the run, if anybody asks for one.
    pub(crate) fn monitor(&self) -> Option<Arc<dyn Monitor>> {
        self.recorder.clone().map(|recorder| recorder as Arc<dyn Monitor>)
    }
}

async fn serve(
    flags: &ObserveFlags,
    recorder: &Arc<Recorder>,
    trace: Option<PathBuf>,
) -> Option<MeterServer> {
    let settings = MeterSettings::default().with_address(flags.meter?);
    let settings = flags.meter_host.iter().fold(settings, MeterSettings::with_host);
    match MeterServer::of_run(recorder.clone(), trace, settings).await {
        Ok(server) => {
            say(format_args!("meter: {}", server.url()));
            Some(server)
        }
        Err(error) => {
            say(format_args!("warning: there is no meter: {error}"));
            None
        }
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        if let Some(recorder) = &self.recorder {
            recorder.flush();
        }
        if let Some(Report { trace, into, is_temporary }) = self.report.take() {
            match write_report(&trace, &into) {
                Ok(()) => say(format_args!("report: {}", into.display())),
                Err(error) => say(format_args!("warning: there is no report: {error}")),
            }
            if is_temporary {
                // One that is left behind harms nobody.
                let _ = std::fs::remove_file(trace);
            }
        }
        if let (Some(server), true) = (&self.server, self.stays) {
            say(format_args!("meter: {} until Ctrl-C", server.url()));
            tokio::task::block_in_place(|| {
                // Without a handler there is nothing to wait for.
                let _ = tokio::runtime::Handle::current().block_on(tokio::signal::ctrl_c());
            });
        }
    }
}
