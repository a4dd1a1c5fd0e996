//! A trace of a run that never was, the same each time: three stages, cold starts, stragglers, throttling and failures.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use falco_trace::{
    Call, CallError, CallOutcome, EndRecord, FunctionRecord, GateRecord, LogRecord, LogText,
    Micros, Picodollars, PlannedStage, Record, RunRecord, StageRecord, Why,
};

/// The error of a function that wants to be a page of its own.
pub(crate) const HOSTILE: &str = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">";

/// A random number generator for samples.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / (1_u64 << 31) as f64
    }
}

fn planned(stage: &str, after: &[&str]) -> PlannedStage {
    let mut planned = PlannedStage::default();
    planned.stage = stage.to_owned();
    planned.after = after.iter().map(|stage| (*stage).to_owned()).collect();
    planned.function = format!("wordcount-{stage}");
    planned
}

fn stage(name: &str, t: i64, n: Option<u64>) -> StageRecord {
    let mut record = StageRecord::default();
    (record.s, record.t, record.n) = (name.to_owned(), Micros(t), n);
    record
}

fn end(stage: Option<&str>, t: Micros, error: Option<&str>) -> EndRecord {
    let mut record = EndRecord::default();
    record.s = stage.map(str::to_owned);
    record.t = t;
    record.error = error.map(str::to_owned);
    record
}

/// The records of a run with `calls` invocations in its largest stage. Without its end, it is still going on.
pub(crate) fn records(calls: u64, is_over: bool) -> Vec<Record<'static>> {
    let mut run = RunRecord::default();
    (run.v, run.run, run.at) = (1, "6741d8f0-00c0ffee".to_owned(), Micros(1_732_365_552_000_000));
    (run.falco, run.host) = ("0.1.0".to_owned(), "workstation".to_owned());
    run.plan = vec![planned("split", &[]), planned("map", &["split"]), planned("reduce", &["map"])];
    let mut all = vec![Record::Run(run)];
    for name in ["split", "map", "reduce"] {
        let mut function = FunctionRecord::default();
        function.name = format!("wordcount-{name}-6741d8f0");
        function.platform = "aws".to_owned();
        function.runtime = "python:3.12".to_owned();
        (function.mem, function.t) = (Some(1_024), Micros(900_000));
        all.push(Record::Deployed(function));
    }
    let mut random = Random::new(7);
    let mut ended = Micros(1_000_000);
    for (name, count, width, base) in [
        ("split", 4, 4, 400_000.0),
        ("map", calls, 96, 180_000.0),
        ("reduce", calls / 40, 24, 700_000.0),
    ] {
        let begin = ended;
        all.push(Record::Stage(stage(name, begin.0, None)));
        all.push(Record::Sized(stage(name, begin.0, Some(count))));
        ended = calls_of(&mut all, &mut random, name, count, width, base, begin);
        if is_over || name != "reduce" {
            let failed = (name == "map" && calls > 40).then_some("12 invocations failed");
            all.push(Record::End(end(Some(name), ended, failed)));
        }
    }
    gates(&mut all, ended);
    if is_over {
        let failed = (calls > 40).then_some("stage \"map\": 12 invocations failed");
        all.push(Record::End(end(None, Micros(ended.0 + 300_000), failed)));
    }
    all
}

fn calls_of(
    all: &mut Vec<Record<'static>>,
    random: &mut Random,
    name: &str,
    count: u64,
    width: usize,
    base: f64,
    begin: Micros,
) -> Micros {
    let mut slots = vec![(begin.0, false); width];
    let mut ended: Vec<Record<'static>> = Vec::new();
    for n in 0..count {
        let slot = (0..width).min_by_key(|slot| slots[*slot].0).unwrap();
        let at = slots[slot].0;
        let limit = if n < width as u64 { n as i64 * 9_000 } else { 0 };
        let cold = !slots[slot].1;
        let queue = (4_000.0 + random.next() * 9_000.0) as i64;
        let init = if cold { (240_000.0 + random.next() * 160_000.0) as i64 } else { 0 };
        let mut ran = base * (0.6 + random.next()) * (1.0 + (n as f64 / 900.0).sin() * 0.25);
        if random.next() > 0.985 {
            ran *= 4.0;
        }
        let (ran, sent) = (ran as i64, at + limit);
        let done = sent + queue + init + ran + 11_000;
        let fails = name == "map" && n % 97 == 41 && n < 1_200;
        let outcome = if fails { CallOutcome::Function } else { CallOutcome::Ok };
        let id = format!("{n:08}");
        if name == "map" && random.next() > 0.97 {
            let mut refused = Call::new(
                name.to_owned(),
                id.clone(),
                Micros(at),
                Micros(sent + 9_000),
                CallOutcome::Platform,
            );
            let mut error = CallError::default();
            error.kind = "throttled".to_owned();
            error.message = "aws: invoke wordcount-map: throttled: Rate Exceeded".to_owned();
            refused.error = Some(error);
            ended.push(Record::Call(Box::new(refused)));
        }
        let mut call = Call::new(name.to_owned(), id, Micros(at), Micros(done), outcome);
        call.sent = (limit > 0).then_some(Micros(sent));
        call.activation = Some(format!("{name}-{n}").into());
        (call.queue, call.ran) = (Some(Micros(queue)), Some(Micros(ran)));
        call.init = cold.then_some(Micros(init));
        call.started = Some(Micros(sent + queue));
        call.stopped = Some(Micros(done - 5_000));
        call.booted = cold.then_some(Micros(sent + queue));
        (call.cold, call.memory_mib) = (Some(cold), Some(1_024));
        call.container = Some(format!("{name}/2024/11/23/[$LATEST]{slot:04x}").into());
        call.region = Some("eu-central-1".into());
        call.cost = Some(Picodollars(ran * 17));
        call.last = true;
        if n % 211 == 7 {
            (call.attempt, call.why) = (2, Some(Why::Copy));
        }
        if fails {
            call.error = Some(failure(n));
        }
        let failed = fails.then(|| log(name, n));
        ended.push(Record::Call(Box::new(call)));
        ended.extend(failed.map(Record::Log));
        slots[slot] = (done + 1_000, true);
    }
    let time = |record: &Record<'_>| match record {
        Record::Call(call) => call.done,
        _ => Micros(i64::MAX),
    };
    ended.sort_by_key(time);
    all.append(&mut ended);
    Micros(slots.iter().map(|slot| slot.0).max().unwrap())
}

fn failure(n: u64) -> CallError {
    let mut error = CallError::default();
    error.kind = "function error".to_owned();
    error.error_type = Some("UnicodeDecodeError".to_owned());
    error.message = match n == 41 {
        true => HOSTILE.to_owned(),
        false => {
            "'utf-8' codec can't decode byte 0xff in position 17: invalid start byte".to_owned()
        }
    };
    error.trace = Some(
        "Traceback (most recent call last):\n  File \"map.py\", line 12, in main\n    \
         text = chunk.decode(\"utf-8\")\nUnicodeDecodeError: 'utf-8' codec can't decode byte 0xff"
            .to_owned(),
    );
    error
}

fn log(stage: &str, n: u64) -> LogRecord {
    let mut log = LogRecord::default();
    (log.s, log.id) = (stage.to_owned(), format!("{stage}-{n}"));
    log.lines = vec![
        LogText(None, "out".to_owned(), format!("reading chunk {n}")),
        LogText(None, "err".to_owned(), "warning: 1 line is not text".to_owned()),
    ];
    log
}

fn gates(all: &mut Vec<Record<'static>>, end: Micros) {
    let calls: Vec<(i64, i64)> = all
        .iter()
        .filter_map(|record| match record {
            Record::Call(call) if call.last => Some((call.at.0, call.done.0)),
            _ => None,
        })
        .collect();
    let step = (end.0 / 120).max(100_000);
    for at in (0..=end.0).step_by(step as usize) {
        let fly = calls.iter().filter(|(from, to)| *from <= at && at < *to).count() as u64;
        let mut gate = GateRecord::default();
        (gate.t, gate.fly, gate.wait) = (Micros(at), fly, fly / 30);
        all.push(Record::Gate(gate.clone()));
        gate.name = "aws".to_owned();
        (gate.window, gate.refused) = (Some(100), Some(at as u64 / 2_000_000));
        gate.rate = Some(250 + (at / 1_000_000 % 7) as u32 * 20);
        all.push(Record::Gate(gate));
    }
    // In the order in which a recorder writes them; what has no time of its own stays where it is.
    let mut latest = Micros(0);
    let mut timed: Vec<(Micros, Record<'static>)> = Vec::new();
    for record in all.drain(..) {
        latest = match &record {
            Record::Call(call) => call.done,
            Record::Gate(gate) => gate.t,
            Record::Stage(stage) | Record::Sized(stage) => stage.t,
            Record::End(end) => end.t,
            _ => latest,
        };
        timed.push((latest, record));
    }
    timed.sort_by_key(|(time, _)| *time);
    all.extend(timed.into_iter().map(|(_, record)| record));
}

/// Writes the records into a file of `folder`.
pub(crate) fn write(folder: &Path, records: &[Record<'_>]) -> PathBuf {
    let path = folder.join("trace.jsonl");
    std::fs::File::create(&path).unwrap();
    append(&path, records);
    path
}

/// Writes records behind those that a file has, as a run that goes on does.
pub(crate) fn append(path: &Path, records: &[Record<'_>]) {
    let mut text = Vec::new();
    records.iter().for_each(|record| record.write_to(&mut text));
    let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(&text).unwrap();
}
