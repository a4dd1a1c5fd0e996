//! OpenTelemetry: what a collector receives.

use std::io::{BufRead, BufReader, Read, Write};
use std::sync::Arc;

use falco_trace::{Call, CallOutcome, Micros, OtlpExporter, Record, Recorder, Sink};

use crate::exports::{decode, golden, records};

#[test]
fn a_collector_of_opentelemetry_gets_a_trace_for_each_invocation() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let reading = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream);
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        (head, body)
    });
    let exporter = OtlpExporter::new(format!("http://{address}/v1/traces")).unwrap();
    records().iter().for_each(|record| exporter.take(record));
    exporter.finish();
    assert_eq!((exporter.dropped(), exporter.left_out()), (0, 0));
    let (head, body) = reading.join().unwrap();
    assert!(head.starts_with("POST /v1/traces HTTP/1.1"), "{head}");
    assert!(head.to_lowercase().contains("content-type: application/x-protobuf"));
    let schema = r#"{"1":{"1":{"1":{"2":{}}},"2":{"1":{},"2":{"9":{"2":{}},"13":{},"15":{}}}}}"#;
    let request = decode(&body, schema);
    let text = serde_json::to_string_pretty(&request).unwrap() + "\n";
    let text = text.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    falco_testkit::assert_golden(golden("otlp.json"), text);
    let spans = request["1"][0]["2"][0]["2"].as_array().unwrap();
    let [call, failed, stage, run] = &spans[..] else { panic!("{spans:#?}") };
    assert_ne!(call["1"], failed["1"], "each invocation is a trace of its own");
    assert_eq!((&call["13"][0]["1"], &call["13"][0]["2"]), (&stage["1"], &stage["2"]));
    assert_eq!((&stage["1"], &stage["4"]), (&run["1"], &run["2"]));
    assert_eq!((call["6"][0].as_u64(), stage["6"][0].as_u64()), (Some(3), Some(1)));
    assert_eq!(call["7"][0].as_u64(), Some(1_700_000_000_001_000_000));
    let attribute = |name: &str| {
        let all = call["9"].as_array().unwrap();
        all.iter().find(|pair| pair["1"][0] == name).map(|pair| pair["2"][0].clone()).unwrap()
    };
    assert_eq!(attribute("faas.invoked_name")["1"][0], "map-run-1");
    assert_eq!(attribute("faas.coldstart")["2"][0], 1);
    assert_eq!((&failed["15"][0]["3"][0], call["15"].is_null()), (&2.into(), true));
    assert!(OtlpExporter::new("localhost:4318").is_err());
}

#[test]
fn what_is_left_out_of_a_sample_is_noted_once() {
    let exporter = Arc::new(OtlpExporter::new("http://127.0.0.1:1/v1/traces").unwrap());
    let recorder = Recorder::new().with_sink(exporter.clone());
    for n in 0..12_000_i64 {
        let mut call = Call::new("map", n.to_string(), Micros(n), Micros(n + 5), CallOutcome::Ok);
        call.last = true;
        exporter.take(&Record::Call(Box::new(call)));
    }
    recorder.flush();
    recorder.flush();
    let left_out = exporter.left_out();
    assert!((1_900..2_000).contains(&left_out), "{left_out}");
    let notes = recorder.view().notes;
    let notes = notes.iter().filter(|note| note.text.contains("were not sent to the collector"));
    assert_eq!(notes.count(), 1);
}
