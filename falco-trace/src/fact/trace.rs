//! From records to FACT's traces.

use std::collections::{BTreeMap, HashMap, VecDeque};

use falco_core::{RunId, StageName, TraceContext};

use crate::call::{Call, CallError, CallOutcome};
use crate::proto::Message;
use crate::record::{FunctionRecord, LogRecord, Record, RunRecord};
use crate::units::Micros;

/// Instances of which the clock and the boot time are remembered.
const CONTAINERS: usize = 10_000;

/// One trace, as FACT's `Trace` has it. Times are microseconds since the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FactTrace {
    pub(crate) id: String,
    pub(crate) child_of: String,
    pub(crate) timestamp: Option<Micros>,
    pub(crate) container: String,
    pub(crate) host: String,
    pub(crate) boot: Option<Micros>,
    pub(crate) cost: f32,
    pub(crate) start: Option<Micros>,
    pub(crate) status: i32,
    pub(crate) end: Option<Micros>,
    pub(crate) platform: String,
    pub(crate) region: String,
    pub(crate) runtime: String,
    pub(crate) memory: i32,
    pub(crate) execution: Option<Micros>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) logs: BTreeMap<u64, String>,
    pub(crate) round_trip: Option<Micros>,
    pub(crate) request_start: Option<Micros>,
    pub(crate) request_end: Option<Micros>,
    pub(crate) delay: Option<Micros>,
    pub(crate) transport: Option<Micros>,
    pub(crate) code_version: String,
    pub(crate) config_version: String,
}

impl FactTrace {
    /// The message, as FACT's clients send it.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut to = Message::default();
        to.text(1, &self.id);
        to.text(2, &self.child_of);
        time(&mut to, 3, self.timestamp);
        to.text(4, &self.container);
        to.text(5, &self.host);
        time(&mut to, 6, self.boot);
        to.float(7, self.cost);
        time(&mut to, 8, self.start);
        to.int(9, self.status.into());
        time(&mut to, 10, self.end);
        to.text(11, &self.platform);
        to.text(12, &self.region);
        to.text(13, &self.runtime);
        to.int(14, self.memory.into());
        time(&mut to, 15, self.execution);
        for (key, value) in &self.tags {
            to.message(17, |entry| {
                entry.text(1, key);
                entry.text(2, value);
            });
        }
        for (second, text) in &self.logs {
            to.message(18, |entry| {
                entry.uint(1, *second);
                entry.text(2, text);
            });
        }
        time(&mut to, 20, self.round_trip);
        time(&mut to, 21, self.request_start);
        time(&mut to, 22, self.request_end);
        time(&mut to, 23, self.delay);
        time(&mut to, 24, self.transport);
        to.text(25, &self.code_version);
        to.text(26, &self.config_version);
        to.into_bytes()
    }
}

/// A `Timestamp` or a `Duration`: seconds and nanoseconds.
fn time(to: &mut Message, field: u64, time: Option<Micros>) {
    if let Some(time) = time {
        let (seconds, nanos) = split(time);
        to.message(field, |inner| {
            inner.int(1, seconds);
            inner.int(2, nanos);
        });
    }
}

/// Whole seconds, and the nanoseconds after them.
pub(crate) fn split(time: Micros) -> (i64, i64) {
    (time.0.div_euclid(1_000_000), time.0.rem_euclid(1_000_000) * 1_000)
}

/// Makes traces out of the records of a run, one after the other.
#[derive(Debug, Default)]
pub(crate) struct FactTraces {
    run: RunRecord,
    functions: HashMap<String, FunctionRecord>,
    /// The function of each stage.
    stages: HashMap<String, String>,
    containers: HashMap<String, Instance>,
    order: VecDeque<String>,
    /// The failed calls whose log may follow, by the activation.
    failed: HashMap<String, FactTrace>,
}

/// The facts that are known of an instance.
#[derive(Clone, Copy, Debug, Default)]
struct Instance {
    boot: Option<Micros>,
    /// The shortest time on the way there and back, and by how much its clock is then ahead of the driver's.
    quickest: Option<(Micros, Micros)>,
}

impl FactTraces {
    /// The traces that follow from a record: none, one, or for the end of the run those that waited for their logs.
    pub(crate) fn of(&mut self, record: &Record<'_>) -> Vec<FactTrace> {
        match record {
            Record::Run(run) => {
                if self.run != *run {
                    *self = Self { run: run.clone(), ..Self::default() };
                }
                Vec::new()
            }
            Record::Deployed(function) => {
                self.functions.insert(function.name.clone(), function.clone());
                Vec::new()
            }
            Record::Stage(stage) => {
                if let Some(function) = &stage.name {
                    self.stages.insert(stage.s.clone(), function.clone());
                }
                Vec::new()
            }
            Record::Call(call) => {
                let trace = self.call(call);
                match (&call.activation, call.outcome.is_failure()) {
                    // Its log may come; it is sent with it, or at the end.
                    (Some(activation), true) if self.failed.len() < CONTAINERS => {
                        self.failed.insert(activation.to_string(), trace);
                        Vec::new()
                    }
                    _ => vec![trace],
                }
            }
            Record::Log(log) => {
                let Some(mut trace) = self.failed.remove(&log.id) else { return Vec::new() };
                trace.logs = logs(log, self.run.at, trace.end.or(trace.timestamp));
                vec![trace]
            }
            Record::End(end) => {
                let mut traces = Vec::new();
                if end.s.is_none() {
                    let mut waiting: Vec<FactTrace> = self.failed.drain().map(|it| it.1).collect();
                    waiting.sort_by(|left, right| left.id.cmp(&right.id));
                    traces = waiting;
                }
                traces.push(self.end(end.s.as_deref(), end.t, end.error.as_deref()));
                traces
            }
            _ => Vec::new(),
        }
    }

    fn unix(&self, time: Micros) -> Micros {
        Micros(self.run.at.0 + time.0)
    }

    /// The trace of a stage or of the run, which holds those of its calls together.
    fn end(&self, stage: Option<&str>, t: Micros, error: Option<&str>) -> FactTrace {
        let run = RunId::from(self.run.run.as_str());
        let of_run = TraceContext::of_run(&run);
        let (id, child_of) = match stage {
            Some(stage) => {
                (uuid(&TraceContext::of_stage(&run, &StageName::from(stage))), uuid(&of_run))
            }
            None => (uuid(&of_run), String::new()),
        };
        let mut tags = BTreeMap::from([("falco.run".to_owned(), self.run.run.clone())]);
        if let Some(stage) = stage {
            tags.insert("falco.stage".to_owned(), stage.to_owned());
        }
        FactTrace {
            id,
            child_of,
            timestamp: Some(self.unix(t)),
            status: if error.is_some() { 500 } else { 200 },
            tags,
            ..FactTrace::default()
        }
    }

    fn call(&mut self, call: &Call<'_>) -> FactTrace {
        let run = RunId::from(self.run.run.as_str());
        let of_stage = TraceContext::of_stage(&run, &StageName::from(&*call.stage));
        let function = self.stages.get(&*call.stage).and_then(|name| self.functions.get(name));
        let platform = function.map(|function| function.platform.clone()).unwrap_or_default();
        let mut config = Vec::new();
        if let Some(function) = function {
            config.extend(function.mem.map(|mem| format!("mem={mem}")));
            let seconds = |timeout: Micros| format!("timeout={}", timeout.as_secs());
            config.extend(function.timeout.map(seconds));
            config.extend(function.conc.map(|conc| format!("conc={conc}")));
        }
        let runtime = call.runtime.as_deref();
        let runtime = runtime.or(function.map(|function| function.runtime.as_str()));
        let region = call.region.as_deref();
        let region = region.or(function.and_then(|function| function.region.as_deref()));
        let memory = call.memory_mib.or(function.and_then(|function| function.mem));
        let mut trace = FactTrace {
            id: uuid(&call.trace_context(&self.run.run)),
            child_of: uuid(&of_stage),
            timestamp: Some(self.unix(call.done)),
            container: call.container.as_deref().unwrap_or_default().to_owned(),
            host: call.host.as_deref().unwrap_or_default().to_owned(),
            cost: call.cost.map_or(0.0, |cost| cost.as_dollars() as f32),
            status: status(call.outcome, call.error.as_ref()),
            platform: platform_code(&platform),
            region: region.unwrap_or_default().to_owned(),
            runtime: runtime.unwrap_or_default().to_owned(),
            memory: memory.and_then(|memory| i32::try_from(memory).ok()).unwrap_or_default(),
            execution: call.ran,
            round_trip: Some(call.done.since(call.sent_at())),
            request_start: Some(self.unix(call.sent_at())),
            request_end: Some(self.unix(call.done)),
            code_version: call.code_version.as_deref().unwrap_or_default().to_owned(),
            config_version: config.join(","),
            ..FactTrace::default()
        };
        let clock = self.add_clock(call, &platform, &mut trace);
        trace.tags = self.tags(call, clock);
        trace
    }

    fn tags(&self, call: &Call<'_>, clock: &str) -> BTreeMap<String, String> {
        let mut tags: BTreeMap<String, String> = [
            ("falco.run", self.run.run.clone()),
            ("falco.stage", call.stage.to_string()),
            ("falco.invocation", call.invocation.to_string()),
            ("falco.attempt", call.attempt.to_string()),
            ("falco.outcome", call.outcome.as_str().to_owned()),
            ("falco.clock", clock.to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        if let Some(cold) = call.cold {
            tags.insert("falco.cold".to_owned(), cold.to_string());
        }
        if let Some(request) = &call.request {
            tags.insert("rid".to_owned(), request.to_string());
        }
        for (name, value) in &call.attributes {
            tags.entry(name.clone()).or_insert_with(|| value.clone());
        }
        tags
    }

    /// Adds what needs the clocks of driver and provider to be compared, and says how that was done.
    fn add_clock(
        &mut self,
        call: &Call<'_>,
        platform: &str,
        trace: &mut FactTrace,
    ) -> &'static str {
        let instance = call.container.as_deref().map(|name| self.instance(name, call));
        let known = instance.unwrap_or_default();
        let offset = match platform {
            "local" => Micros(0),
            _ => known.quickest.map_or(Micros(0), |(_, offset)| offset),
        };
        let ours = |time: Micros| Micros(time.0 - offset.0);
        let started = call.started.map(|start| Micros(start.0 + call.init.unwrap_or_default().0));
        trace.start = started.map(|start| self.unix(ours(start)));
        trace.end = call.stopped.map(|stop| self.unix(ours(stop)));
        trace.boot = known.boot.map(|boot| self.unix(ours(boot)));
        let Some(ran) = call.ran else { return "unknown" };
        let rest = call.done.since(call.sent_at()).since(ran);
        let delay = match (call.queue, started) {
            (Some(queue), _) => Micros(queue.0 + call.init.unwrap_or_default().0),
            (None, Some(start)) if platform == "local" || known.quickest.is_some() => {
                ours(start).since(call.sent_at())
            }
            _ => return "unknown",
        };
        let delay = delay.min(rest);
        trace.delay = Some(delay);
        trace.transport = Some(rest.since(delay));
        match (platform, call.queue) {
            ("local", _) => "same",
            (_, Some(_)) => "told",
            (_, None) => "estimated",
        }
    }

    fn instance(&mut self, name: &str, call: &Call<'_>) -> Instance {
        if !self.containers.contains_key(name) {
            if self.containers.len() == CONTAINERS
                && let Some(oldest) = self.order.pop_front()
            {
                self.containers.remove(&oldest);
            }
            self.order.push_back(name.to_owned());
        }
        let instance = self.containers.entry(name.to_owned()).or_default();
        // The provider's word, or else the start of its first call.
        let cold = call.started.filter(|_| call.cold == Some(true));
        instance.boot = call.booted.or(instance.boot).or(cold);
        if let (Some(start), Some(stop), Some(true)) =
            (call.started, call.stopped, call.cold.map(|cold| !cold))
        {
            let way = call.done.since(call.sent_at()).since(stop.since(start));
            if instance.quickest.is_none_or(|(quickest, _)| way < quickest) {
                // Both halves of the way are taken as equal, as in NTP.
                let arrived = call.sent_at().0 + way.0 / 2;
                instance.quickest = Some((way, Micros(start.0 - arrived)));
            }
        }
        *instance
    }
}

fn logs(log: &LogRecord, run: Micros, end: Option<Micros>) -> BTreeMap<u64, String> {
    let mut logs = BTreeMap::<u64, String>::new();
    for line in &log.lines {
        let at = line.0.map(|at| Micros(run.0 + at.0)).or(end).unwrap_or(run);
        let text = logs.entry(u64::try_from(at.0 / 1_000_000).unwrap_or_default()).or_default();
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&line.2);
    }
    logs
}

/// FACT's word for a platform: two to four capitals.
fn platform_code(platform: &str) -> String {
    match platform {
        "aws" => "AWS".to_owned(),
        "gcp" => "GCF".to_owned(),
        "openwhisk" => "OW".to_owned(),
        "openfaas" => "OF".to_owned(),
        "docker" => "DOC".to_owned(),
        "local" => "LOC".to_owned(),
        // A platform of somebody else's, by the beginning of its name.
        other => {
            let letters = other.chars().filter(char::is_ascii_alphabetic);
            letters.take(4).map(|letter| letter.to_ascii_uppercase()).collect()
        }
    }
}

/// The ids of a span, folded into a UUID of version 8.
fn uuid(context: &TraceContext) -> String {
    let folded = context.trace_id() ^ u128::from(context.span_id()).rotate_left(40);
    let versioned = folded & !(0xf << 76) | 0x8 << 76;
    let id = versioned & !(0x3 << 62) | 0x2 << 62;
    let hex = format!("{id:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// The status code of HTTP that says the same.
fn status(outcome: CallOutcome, error: Option<&CallError>) -> i32 {
    let kind = error.map(|error| error.kind.as_str()).unwrap_or_default();
    match (outcome, kind) {
        (CallOutcome::Ok, _) => 200,
        (CallOutcome::Cancelled | CallOutcome::Abandoned, _) => 499,
        (CallOutcome::Deadline, _) => 504,
        (_, "bad result") => 502,
        (_, "function timed out" | "lost") => 504,
        (_, "invalid input") => 400,
        (_, "unauthorized") => 401,
        (_, "forbidden") => 403,
        (_, "not found") => 404,
        (_, "timeout") => 408,
        (_, "conflict") => 409,
        (_, "payload too large") => 413,
        (_, "throttled") => 429,
        (_, "cancelled") => 499,
        (_, "unsupported") => 501,
        (_, "unavailable") => 503,
        _ => 500,
    }
}
