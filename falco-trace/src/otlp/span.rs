//! From records to spans.

use std::collections::HashMap;

use falco_core::{RunId, StageName, TraceContext};

use crate::call::{Call, CallOutcome};
use crate::proto::Message;
use crate::record::{FunctionRecord, Record, RunRecord};
use crate::units::Micros;

/// Calls of which all are exported; after them a sample of one in a hundred, and all that failed.
const ALL: u64 = 10_000;
const SAMPLE: f64 = 0.01;

const INTERNAL: u64 = 1;
const CLIENT: u64 = 3;
const ERROR: u64 = 2;

/// Makes spans out of the records of a run.
#[derive(Debug, Default)]
pub(super) struct Spans {
    run: RunRecord,
    functions: HashMap<String, FunctionRecord>,
    /// The function and the start of each stage.
    stages: HashMap<String, (Option<String>, Micros)>,
    calls: u64,
    left_out: u64,
}

impl Spans {
    /// The span that follows from a record.
    pub(super) fn of(&mut self, record: &Record<'_>) -> Option<Vec<u8>> {
        match record {
            Record::Run(run) => {
                if self.run != *run {
                    *self = Self { run: run.clone(), ..Self::default() };
                }
                None
            }
            Record::Deployed(function) => {
                self.functions.insert(function.name.clone(), function.clone());
                None
            }
            Record::Stage(stage) => {
                self.stages.insert(stage.s.clone(), (stage.name.clone(), stage.t));
                None
            }
            Record::Call(call) => {
                self.calls += 1;
                let context = call.trace_context(&self.run.run);
                let is_wanted =
                    self.calls <= ALL || call.outcome.is_failure() || context.is_sampled(SAMPLE);
                if !is_wanted {
                    self.left_out += 1;
                    return None;
                }
                Some(self.call(call, &context))
            }
            Record::End(end) => Some(self.end(end.s.as_deref(), end.t, end.error.as_deref())),
            _ => None,
        }
    }

    /// Calls that were left out of the sample.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    fn nanos(&self, time: Micros) -> u64 {
        u64::try_from(self.run.at.0 + time.0).unwrap_or_default().saturating_mul(1_000)
    }

    /// A span of a call, in a trace of its invocation, with a link to the span of its stage: one trace with a million spans is
    /// more than backends take.
    fn call(&self, call: &Call<'_>, context: &TraceContext) -> Vec<u8> {
        let run = RunId::from(self.run.run.as_str());
        let of_stage = TraceContext::of_stage(&run, &StageName::from(&*call.stage));
        let function = self.stages.get(&*call.stage).and_then(|(name, _)| name.as_ref());
        let function = function.and_then(|name| self.functions.get(name));
        let mut span = Message::default();
        ids(&mut span, context);
        span.text(5, &call.stage);
        span.uint(6, CLIENT);
        span.fixed64(7, self.nanos(call.sent_at()));
        span.fixed64(8, self.nanos(call.done));
        let name = function.map(|function| function.name.as_str()).unwrap_or_default();
        text(&mut span, "faas.invoked_name", name);
        let provider = function.map(|function| function.platform.as_str()).unwrap_or_default();
        text(&mut span, "faas.invoked_provider", provider);
        text(&mut span, "faas.invoked_region", call.region.as_deref().unwrap_or_default());
        text(&mut span, "faas.invocation_id", call.activation.as_deref().unwrap_or_default());
        text(&mut span, "faas.instance", call.container.as_deref().unwrap_or_default());
        text(&mut span, "faas.version", call.code_version.as_deref().unwrap_or_default());
        if let Some(cold) = call.cold {
            attribute(&mut span, "faas.coldstart", |value| value.message_bool(cold));
        }
        if let Some(memory) = call.memory_mib {
            int(&mut span, "faas.max_memory", i64::from(memory) << 20);
        }
        text(&mut span, "falco.run", &self.run.run);
        text(&mut span, "falco.stage", &call.stage);
        text(&mut span, "falco.invocation", &call.invocation);
        int(&mut span, "falco.attempt", call.attempt.into());
        text(&mut span, "falco.outcome", call.outcome.as_str());
        for (name, time) in
            [("falco.queue", call.queue), ("falco.init", call.init), ("falco.execution", call.ran)]
        {
            if let Some(time) = time {
                attribute(&mut span, name, |value| value.double(4, time.as_secs()));
            }
        }
        if let Some(cost) = call.cost {
            attribute(&mut span, "falco.cost", |value| value.double(4, cost.as_dollars()));
        }
        if let Some(error) = &call.error {
            text(&mut span, "error.type", error.error_type.as_deref().unwrap_or(&error.kind));
        }
        span.message(13, |link| ids(link, &of_stage));
        if call.outcome != CallOutcome::Ok {
            let message = call.error.as_ref().map(|error| error.message.as_str());
            status(&mut span, message.unwrap_or_else(|| call.outcome.as_str()));
        }
        span.into_bytes()
    }

    /// The span of a stage, or of the run: one small trace.
    fn end(&self, stage: Option<&str>, t: Micros, error: Option<&str>) -> Vec<u8> {
        let run = RunId::from(self.run.run.as_str());
        let of_run = TraceContext::of_run(&run);
        let mut span = Message::default();
        let start = match stage {
            Some(stage) => {
                ids(&mut span, &TraceContext::of_stage(&run, &StageName::from(stage)));
                span.bytes(4, &of_run.span_id().to_be_bytes());
                self.stages.get(stage).map_or(Micros(0), |(_, start)| *start)
            }
            None => {
                ids(&mut span, &of_run);
                Micros(0)
            }
        };
        span.text(5, &stage.map_or_else(|| format!("run {}", self.run.run), str::to_owned));
        span.uint(6, INTERNAL);
        span.fixed64(7, self.nanos(start));
        span.fixed64(8, self.nanos(t));
        text(&mut span, "falco.run", &self.run.run);
        text(&mut span, "falco.stage", stage.unwrap_or_default());
        if let Some(error) = error {
            status(&mut span, error);
        }
        span.into_bytes()
    }
}

/// A request of spans, as `ExportTraceServiceRequest` has it.
pub(super) fn request(spans: &[Vec<u8>]) -> Vec<u8> {
    let mut request = Message::default();
    request.message(1, |of_resource| {
        of_resource.message(1, |resource| {
            text_in(resource, 1, "service.name", "falco");
            text_in(resource, 1, "telemetry.sdk.name", "falco-trace");
            text_in(resource, 1, "telemetry.sdk.version", env!("CARGO_PKG_VERSION"));
        });
        of_resource.message(2, |of_scope| {
            of_scope.message(1, |scope| scope.text(1, "falco"));
            for span in spans {
                of_scope.bytes(2, span);
            }
        });
    });
    request.into_bytes()
}

fn ids(to: &mut Message, context: &TraceContext) {
    to.bytes(1, &context.trace_id().to_be_bytes());
    to.bytes(2, &context.span_id().to_be_bytes());
}

fn status(span: &mut Message, message: &str) {
    span.message(15, |status| {
        status.text(2, message);
        status.uint(3, ERROR);
    });
}

fn attribute(span: &mut Message, name: &str, value: impl FnOnce(&mut Message)) {
    span.message(9, |pair| {
        pair.text(1, name);
        pair.message(2, value);
    });
}

fn text(span: &mut Message, name: &str, value: &str) {
    if !value.is_empty() {
        text_in(span, 9, name, value);
    }
}

fn text_in(to: &mut Message, field: u64, name: &str, value: &str) {
    to.message(field, |pair| {
        pair.text(1, name);
        pair.message(2, |any| any.text(1, value));
    });
}

fn int(span: &mut Message, name: &str, number: i64) {
    attribute(span, name, |value| value.int(3, number));
}
