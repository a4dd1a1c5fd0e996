//! FACT and Perfetto: read by decoders that know nothing of what wrote them.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use falco_trace::{
    Call, CallOutcome, EndRecord, FactCollector, FactConsole, FactCsv, FunctionRecord, GateRecord,
    LogRecord, LogText, Micros, Perfetto, Picodollars, Record, RunRecord, Sink, StageRecord,
};
use serde_json::Value;

/// Reads the wire form of any protobuf message: `{"field": [value, ..]}` with messages as nested objects where `schema` names
/// them, and texts elsewhere. Python's standard library only.
const DECODER: &str = r#"
import json, struct, sys
def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]; at += 1
        value |= (byte & 0x7f) << shift; shift += 7
        if byte < 0x80: return value, at
def read(data, schema):
    fields, at = {}, 0
    while at < len(data):
        key, at = varint(data, at)
        field, kind = str(key >> 3), key & 7
        if kind == 0: value, at = varint(data, at)
        elif kind == 1: value, at = struct.unpack("<Q", data[at:at + 8])[0], at + 8
        elif kind == 5: value, at = round(struct.unpack("<f", data[at:at + 4])[0], 12), at + 4
        elif kind == 2:
            length, at = varint(data, at)
            raw, at = data[at:at + length], at + length
            assert len(raw) == length
            if field in schema: value = read(raw, schema[field])
            else:
                try: value = raw.decode()
                except UnicodeDecodeError: value = raw.hex()
        else: raise ValueError(kind)
        fields.setdefault(field, []).append(value)
    return fields
"#;

fn python(program: &str, input: &[u8], arguments: &[&str]) -> Value {
    let mut child = Command::new("python3")
        .args(["-c", &format!("{DECODER}\n{program}")])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

pub(crate) fn decode(message: &[u8], schema: &str) -> Value {
    python(
        "print(json.dumps(read(sys.stdin.buffer.read(), json.loads(sys.argv[1]))))",
        message,
        &[schema],
    )
}

/// A run of two calls on Lambda: one succeeds, one fails and has a log.
pub(crate) fn records() -> Vec<Record<'static>> {
    let mut run = RunRecord::default();
    (run.v, run.run, run.at) = (1, "run-1".to_owned(), Micros(1_700_000_000_000_000));
    let mut function = FunctionRecord::default();
    (function.name, function.platform) = ("map-run-1".to_owned(), "aws".to_owned());
    (function.runtime, function.mem) = ("python:3.12".to_owned(), Some(1_024));
    function.timeout = Some(Micros(60_000_000));
    let mut stage = StageRecord::default();
    (stage.s, stage.t, stage.name) = ("map".to_owned(), Micros(0), Some("map-run-1".to_owned()));
    let mut call = Call::new("map", "1", Micros(1_000), Micros(151_000), CallOutcome::Ok);
    call.activation = Some("a-1".into());
    (call.queue, call.init, call.ran) =
        (Some(Micros(5_000)), Some(Micros(40_000)), Some(Micros(80_500)));
    (call.started, call.stopped) = (Some(Micros(9_000)), Some(Micros(130_000)));
    (call.booted, call.cold) = (Some(Micros(8_000)), Some(true));
    call.container = Some("c-1".into());
    call.runtime = Some("Linux 6.1 python 3.12.4".into());
    call.region = Some("eu-central-1".into());
    call.cost = Some(Picodollars(2_500_000));
    call.attributes.insert("path".to_owned(), "guest/map".to_owned());
    call.last = true;
    let mut failed =
        Call::new("map", "2, \"two\"", Micros(1_000), Micros(31_000), CallOutcome::Function);
    failed.activation = Some("a-2".into());
    failed.error = Some(falco_trace::CallError::default());
    failed.last = true;
    let mut log = LogRecord::default();
    (log.s, log.id) = ("map".to_owned(), "a-2".to_owned());
    log.lines = vec![
        LogText(Some(Micros(2_000)), "out".to_owned(), "one".to_owned()),
        LogText(Some(Micros(3_000)), "err".to_owned(), "two".to_owned()),
    ];
    let mut gate = GateRecord::default();
    (gate.t, gate.fly) = (Micros(1_000), 2);
    let mut control = gate.clone();
    control.name = "aws".to_owned();
    (control.window, control.refused) = (Some(64), Some(3));
    let mut end = EndRecord::default();
    (end.s, end.t) = (Some("map".to_owned()), Micros(160_000));
    let mut all = EndRecord::default();
    all.t = Micros(170_000);
    vec![
        Record::Run(run),
        Record::Deployed(function),
        Record::Stage(stage),
        Record::Gate(gate),
        Record::Gate(control),
        Record::Call(Box::new(call)),
        Record::Call(Box::new(failed)),
        Record::Log(log),
        Record::End(end),
        Record::End(all),
    ]
}

const TIMES: &str = r#"{"3":{},"6":{},"8":{},"10":{},"15":{},"17":{},"18":{},"20":{},"21":{},"22":{},"23":{},"24":{}}"#;

/// Bytes as text, 32 in a line.
fn hex(bytes: &[u8]) -> String {
    let line =
        |line: &[u8]| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    bytes.chunks(32).map(line).collect()
}

pub(crate) fn golden(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// The messages that a collector of FACT receives, in their order.
fn received(records: &[Record<'_>], count: usize) -> Vec<Vec<u8>> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let collector = FactCollector::new(listener.local_addr().unwrap());
    let reading = std::thread::spawn(move || {
        (0..count)
            .map(|_| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut message = Vec::new();
                std::io::Read::read_to_end(&mut stream, &mut message).unwrap();
                message
            })
            .collect::<Vec<_>>()
    });
    records.iter().for_each(|record| collector.take(record));
    collector.finish();
    assert_eq!(collector.dropped(), 0);
    reading.join().unwrap()
}

#[test]
fn what_a_collector_of_fact_receives_stays_the_same_to_the_byte() {
    let messages = received(&records(), 4);
    let text: Vec<String> = messages.iter().map(|message| hex(message)).collect();
    falco_testkit::assert_golden(golden("fact.hex"), text.join("\n"));
    let mut csv = FactCsv::with_attributes(Vec::new(), ["path".to_owned()]).unwrap();
    records().iter().for_each(|record| csv.take(record).unwrap());
    falco_testkit::assert_golden(golden("fact.csv"), csv.into_inner());
    let mut console = FactConsole::new(Vec::new());
    records().iter().for_each(|record| console.take(record).unwrap());
    falco_testkit::assert_golden(golden("fact.jsonl"), console.into_inner());
}

#[test]
fn a_collector_of_fact_reads_every_field_over_tcp() {
    let messages = received(&records(), 4);
    let traces: Vec<Value> = messages.iter().map(|message| decode(message, TIMES)).collect();
    let [call, failed, stage, run] = &traces[..] else { panic!("{traces:#?}") };
    let text = |field: &str| call[field][0].as_str().unwrap().to_owned();
    let seconds = |field: &str| {
        let time = &call[field][0];
        let part = |at: &str| time[at].as_array().map_or(0, |value| value[0].as_u64().unwrap());
        (part("1"), part("2"))
    };
    assert_eq!(
        (text("4"), text("11"), text("12")),
        ("c-1".into(), "AWS".into(), "eu-central-1".into())
    );
    assert_eq!(text("13"), "Linux 6.1 python 3.12.4");
    assert_eq!(text("26"), "mem=1024,timeout=60");
    assert_eq!((call["9"][0].as_u64(), call["14"][0].as_u64()), (Some(200), Some(1_024)));
    assert!((call["7"][0].as_f64().unwrap() - 2.5e-6).abs() < 1e-11);
    assert_eq!(seconds("3"), (1_700_000_000, 151_000_000));
    assert_eq!(seconds("6"), (1_700_000_000, 8_000_000));
    assert_eq!(seconds("8"), (1_700_000_000, 49_000_000));
    assert_eq!(seconds("10"), (1_700_000_000, 130_000_000));
    assert_eq!(seconds("15"), (0, 80_500_000));
    assert_eq!(seconds("20"), (0, 150_000_000));
    assert_eq!(seconds("21"), (1_700_000_000, 1_000_000));
    assert_eq!(seconds("22"), (1_700_000_000, 151_000_000));
    // Delay and transport are what execution leaves of the way there and back.
    assert_eq!((seconds("23"), seconds("24")), ((0, 45_000_000), (0, 24_500_000)));
    assert!(call["16"].is_null() && call["19"].is_null(), "no environment and no arguments");
    let tags: Vec<(String, String)> = call["17"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| {
            (tag["1"][0].as_str().unwrap().to_owned(), tag["2"][0].as_str().unwrap().to_owned())
        })
        .collect();
    assert!(tags.contains(&("falco.clock".to_owned(), "told".to_owned())), "{tags:?}");
    assert!(tags.contains(&("falco.invocation".to_owned(), "1".to_owned())));
    assert!(
        tags.contains(&("path".to_owned(), "guest/map".to_owned())),
        "the platform's own words"
    );
    // A call follows its stage, and that follows its run.
    assert_eq!((&call["2"], &failed["2"], &stage["2"]), (&stage["1"], &stage["1"], &run["1"]));
    assert_eq!(failed["9"][0], 500);
    assert_eq!(failed["18"][0]["2"][0], "one\ntwo");
    for id in [&call["1"][0], &failed["1"][0], &stage["1"][0], &run["1"][0]] {
        let id = id.as_str().unwrap();
        assert!(
            id.len() == 36 && id.as_bytes()[14] == b'8' && b"89ab".contains(&id.as_bytes()[19]),
            "{id}"
        );
    }
}

#[test]
fn a_collector_that_is_not_there_costs_its_traces_and_they_are_counted() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let collector = Arc::new(FactCollector::new(address));
    let recorder = falco_trace::Recorder::new().with_sink(collector.clone());
    records().iter().for_each(|record| collector.take(record));
    recorder.flush();
    assert_eq!(collector.dropped(), 4);
    assert!(recorder.view().notes[0].text.contains("4 records could not be exported"));
}

#[test]
fn facts_csv_has_its_columns_and_is_read_by_others() {
    let mut csv = FactCsv::new(Vec::new()).unwrap();
    records().iter().for_each(|record| csv.take(record).unwrap());
    let text = csv.into_inner();
    let rows = python(
        "import csv, io\nprint(json.dumps(list(csv.DictReader(io.StringIO(sys.stdin.read(), newline='')))))",
        &text,
        &[],
    );
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[0]["Timestamp"], "1700000000.151000000");
    assert_eq!((&rows[0]["ELat"], &rows[0]["ECode"]), (&"0.080500000".into(), &"200".into()));
    assert_eq!(rows[0]["ECost"], "0.000002500000");
    assert_eq!(rows[1]["T_falco.invocation"], "2, \"two\"");
    let header = String::from_utf8(text).unwrap();
    let columns = "ID,ChildOf,Timestamp,CId,HId,CStart,ECost,RStart,EStart,ECode,EEnd,REnd,Version,CVersion,\
                   Provider,Region,COs,CMem,ELat,RLat,DLat,TLat,T_falco.run";
    assert!(header.starts_with(columns), "{header:.250}");
}

#[test]
fn facts_console_lines_are_the_struct_as_go_writes_it() {
    let mut console = FactConsole::new(Vec::new());
    records().iter().for_each(|record| console.take(record).unwrap());
    let text = String::from_utf8(console.into_inner()).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(
        lines[0]["BootTime"],
        serde_json::json!({"seconds": 1_700_000_000, "nanos": 8_000_000})
    );
    assert_eq!(lines[0]["ExecutionLatency"], serde_json::json!({"nanos": 80_500_000}));
    assert_eq!(lines[1]["Logs"], serde_json::json!({"1700000000": "one\ntwo"}));
    assert!(lines[0].get("HostID").is_none() && lines[0].get("Env").is_none());
}

#[test]
fn perfetto_gets_a_slice_for_each_call_and_counters() {
    let mut perfetto = Perfetto::new(Vec::new());
    records().iter().for_each(|record| perfetto.take(record).unwrap());
    let bytes = perfetto.into_inner();
    falco_testkit::assert_golden(golden("perfetto.hex"), hex(&bytes));
    let trace = decode(&bytes, r#"{"1":{"11":{"4":{}},"12":{"2":{}},"60":{"3":{},"8":{}}}}"#);
    let packets = trace["1"].as_array().unwrap();
    assert_eq!(packets[0]["13"][0], 3, "the first packet clears what came before");
    assert!(packets[1..].iter().all(|packet| packet["13"][0] == 2 && packet["10"][0] == 1));
    let tracks: Vec<&str> =
        packets.iter().filter_map(|packet| packet["60"][0]["2"][0].as_str()).collect();
    assert_eq!(
        tracks,
        [
            "run run-1",
            "in flight",
            "waiting",
            "aws: in flight",
            "aws: waiting",
            "aws: window",
            "aws: refused",
            "map",
            "slot 1",
            "slot 2"
        ]
    );
    let events = |kind: u64| packets.iter().filter(move |packet| packet["11"][0]["9"][0] == kind);
    assert_eq!((events(1).count(), events(2).count(), events(4).count()), (2, 2, 6));
    let begin = events(1).next().unwrap();
    assert_eq!(begin["8"][0].as_u64(), Some(1_700_000_000_001_000_000));
    assert_eq!(begin["12"][0]["2"][0]["2"][0], "cold start");
    assert_eq!(begin["11"][0]["4"][0]["6"][0], "1");
}

#[test]
fn perfetto_connects_the_calls_of_an_invocation_that_has_several() {
    let mut refused = Call::new("map", "7", Micros(0), Micros(10), CallOutcome::Platform);
    let mut repeated = Call::new("map", "7", Micros(0), Micros(30), CallOutcome::Ok);
    (repeated.call, repeated.last) = (2, true);
    let mut copied = Call::new("map", "8", Micros(0), Micros(20), CallOutcome::Abandoned);
    copied.attempt = 2;
    let mut first = Call::new("map", "8", Micros(0), Micros(25), CallOutcome::Ok);
    first.last = true;
    let mut alone = Call::new("map", "9", Micros(0), Micros(25), CallOutcome::Ok);
    alone.last = true;
    refused.begun = Some(Micros(1));
    let mut perfetto = Perfetto::new(Vec::new());
    for call in [refused, repeated, copied, first, alone] {
        perfetto.take(&Record::Call(Box::new(call))).unwrap();
    }
    let trace = decode(&perfetto.into_inner(), r#"{"1":{"11":{"4":{}},"12":{},"60":{}}}"#);
    let packets = trace["1"].as_array().unwrap();
    let begins = packets.iter().filter(|packet| packet["11"][0]["9"][0] == 1);
    let flows: Vec<_> = begins.map(|packet| packet["11"][0]["47"][0].as_u64()).collect();
    assert!(flows[0].is_some() && flows[0] == flows[1], "{flows:?}");
    assert!(flows[2].is_some() && flows[2] == flows[3] && flows[2] != flows[0], "{flows:?}");
    assert_eq!(flows[4], None);
}
