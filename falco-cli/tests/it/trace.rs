//! `--trace`, `--report`, `--meter`, and the commands that look at traces.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use serde_json::Value;

use crate::packages::python;
use crate::program::{Machine, Printed, has, json_lines, read};
use crate::remote::Remote;

/// Prints what it does, and raises for 13.
const NOISY: &str = "
def main(args):
    n = int(args['line'])
    print('looking at', n)
    if n == 13:
        raise ValueError('thirteen')
    return {'n': n}
";

#[test]
fn a_newcomer_whose_function_raises_sees_the_traceback_and_what_it_printed() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let function = machine.file("noisy.py", NOISY);
    let printed = machine.run_with("12\n13\n14\n", &["map", "--text", "-f", &function]);
    assert_eq!(printed.code, Some(1));
    assert!(printed.stderr.contains("    raise ValueError('thirteen')"), "{}", printed.stderr);
    assert!(printed.stderr.contains(" printed:\n    looking at 13"), "{}", printed.stderr);
    machine.assert_clean();
}

#[test]
fn a_run_leaves_a_trace_a_report_and_what_other_tools_read() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let function = machine.file("noisy.py", NOISY);
    let text = |name: &str| machine.path(name).to_str().unwrap().to_owned();
    let (trace, report) = (text("run.jsonl"), text("run.html"));
    let inputs: String = (0..40).map(|n| format!("{n}\n")).collect();
    let arguments =
        ["map", "--text", "-f", &function, "--trace", &trace, "--report", &report, "--meter"];
    let printed = machine.run_with(&inputs, &arguments);
    assert_eq!(printed.code, Some(1));
    assert!(printed.stderr.contains("meter: http://127.0.0.1:"), "{}", printed.stderr);
    assert!(printed.stderr.contains("report: "), "{}", printed.stderr);
    let lines = json_lines(&read(machine.path("run.jsonl")));
    let calls: Vec<&Value> = lines.iter().filter(|line| line["e"] == "call").collect();
    assert_eq!(calls.len(), 40);
    assert!(calls.iter().all(|call| call["last"] == true && call["ran"].is_number()));
    // The shim reports where and since when it runs, and what with.
    assert!(calls.iter().all(|call| call["c"].is_string() && call["h"].is_string()));
    assert!(calls.iter().any(|call| call["boot"].is_number()), "{}", calls[0]);
    assert!(calls.iter().any(|call| call["rt"].as_str().is_some_and(|rt| rt.contains("ython"))));
    assert!(lines.iter().any(|line| line["e"] == "log" && line["lines"][0][2] == "looking at 13"));
    assert!(!read(machine.path("run.jsonl")).contains("\"line\""), "a payload is in the trace");
    let html = read(machine.path("run.html"));
    assert!(html.contains("looking at 13") && html.contains("default-src 'none'"));

    let again = text("again.html");
    let written = machine.run(&["report", &trace, "--output", &again, "--json"]).ok();
    assert_eq!(json_lines(&written)[0]["written"][0], again.as_str());
    assert_eq!(machine.run(&["report", &trace, "--output", &again, "-q"]).ok(), "");
    assert!(read(machine.path("again.html")).len() > html.len() / 2);
    let printed = machine.run(&["plot", &trace]).ok();
    // Five, and two of congestion control.
    assert_eq!(printed.lines().count(), 14);
    assert!(machine.path("run/latency.svg").exists());
    let window = read(machine.path("run/window.csv"));
    assert!(
        window.starts_with("gate,seconds,in_flight,waiting,window,paused\nlocal,"),
        "{window:.200}"
    );
    let (csv, perfetto) = (text("fact.csv"), text("run.pftrace"));
    machine.run(&["export", &trace, "--fact-csv", &csv, "--perfetto", &perfetto]).ok();
    // The header, the calls, the stage and the run.
    assert_eq!(read(machine.path("fact.csv")).lines().count(), 43);
    assert!(std::fs::metadata(perfetto).unwrap().len() > 1_000);
    assert!(machine.run(&["export", &trace]).code == Some(2), "it has to be told what to write");
    let missing = machine.run(&["report", &text("none.jsonl")]);
    assert!(missing.error().contains("none.jsonl"));
    machine.assert_clean();
}

#[test]
fn a_report_without_a_trace_leaves_only_the_report() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let function = machine.file("noisy.py", NOISY);
    let report = machine.path("run.html");
    let report = report.to_str().unwrap();
    machine.run_with("1\n", &["map", "--text", "-qf", &function, "--report", report]).ok();
    let folder = machine.path("run.html");
    let names: Vec<_> = std::fs::read_dir(folder.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("run"))
        .collect();
    assert_eq!(names, ["run.html"]);
}

#[test]
fn a_trace_is_viewed_until_ctrl_c() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let function = machine.file("noisy.py", NOISY);
    let trace = machine.path("run.jsonl.gz");
    let trace = trace.to_str().unwrap();
    let map = ["map", "--text", "-qf", &function, "--trace", trace];
    assert_eq!(machine.run_with("1\n13\n", &map).code, Some(1));
    let mut command = machine.command(&["view", "--json", trace]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut printed = BufReader::new(child.stdout.take().unwrap()).lines();
    let shown = json_lines(&printed.next().unwrap().unwrap());
    let url = shown[0]["url"].as_str().unwrap().strip_prefix("http://").unwrap();
    let (address, key) = url.split_once("/#").unwrap();
    let get = |path: &str| {
        let mut peer = TcpStream::connect(address).unwrap();
        let about = format!("host: {address}\r\nauthorization: Bearer {key}\r\nconnection: close");
        write!(peer, "GET {path} HTTP/1.1\r\n{about}\r\n\r\n").unwrap();
        let mut answer = String::new();
        peer.read_to_string(&mut answer).unwrap();
        answer
    };
    let state = get("/api/v1/state");
    assert!(state.starts_with("HTTP/1.1 200 ") && state.contains("\"seq\":2"), "{state}");
    let details = get("/api/v1/details");
    assert!(details.contains("looking at 13"), "the log of what failed: {details}");
    let kill = format!("kill -INT {}", child.id());
    assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    let ended = Printed::of(child.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_meter_whose_port_is_in_use_costs_a_warning() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let function = machine.file("noisy.py", NOISY);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let meter = format!("--meter={}", taken.local_addr().unwrap());
    let printed = machine.run_with("1\n", &["map", "--text", "-f", &function, &meter]);
    assert_eq!(printed.code, Some(0), "{}", printed.stderr);
    assert!(printed.stderr.contains("warning: there is no meter: "), "{}", printed.stderr);
    let nowhere = machine.run_with("1\n", &["map", "-f", &function, "--trace", "/none/t.jsonl"]);
    assert!(nowhere.error().contains("cannot write the trace file /none/t.jsonl"));
    let nobody = machine.run_with("1\n", &["map", "-f", &function, "--otlp"]);
    assert!(nobody.error().contains("OTEL_EXPORTER_OTLP_ENDPOINT"));
}

#[test]
fn functions_see_the_ids_under_which_their_calls_are_exported() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let source = "import os\ndef main(args): return {'seen': os.environ.get('TRACEPARENT')}";
    let function = machine.file("context.py", source);
    let trace = machine.path("run.jsonl");
    let trace = trace.to_str().unwrap();
    let printed =
        machine.run_with("1\n2\n3\n", &["map", "--text", "-f", &function, "--trace", trace]);
    let mut seen: Vec<String> = json_lines(&printed.ok())
        .iter()
        .map(|result| result["seen"].as_str().unwrap()[..52].to_owned())
        .collect();
    let mut run = String::new();
    let mut exported = Vec::new();
    falco_trace::read_file(trace, |record| match record {
        falco_trace::Record::Run(record) => run = record.run,
        falco_trace::Record::Call(call) => {
            exported.push(call.trace_context(&run).to_string()[..52].to_owned());
        }
        _ => {}
    })
    .unwrap();
    seen.sort();
    exported.sort();
    assert_eq!(seen, exported);
    assert_eq!(seen.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn instance_boot_time_and_runtime_are_in_the_trace_on_every_platform() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let function = machine.file("noisy.py", NOISY);
    let inputs = machine.file("inputs.txt", "1\n2\n3\n13\n");
    let python = python();
    for remote in Remote::all() {
        let platform = remote.platform;
        let trace = machine.path(&format!("{platform}.jsonl"));
        let arguments = ["map", "--text", "-q", "-f", &function, "--runtime", &python];
        let more = ["--trace", trace.to_str().unwrap(), &inputs];
        let printed = remote.run(&machine, &[&arguments[..], &more].concat()).await;
        assert_eq!(printed.code, Some(1), "{platform}: 13 raises: {}", printed.stderr);
        let lines = json_lines(&read(trace));
        let calls: Vec<&Value> = lines.iter().filter(|line| line["e"] == "call").collect();
        assert!(calls.len() >= 4, "{platform}: {lines:?}");
        for call in calls.iter().filter(|call| call["o"] == "ok") {
            assert!(call["c"].is_string(), "{platform}: {call}");
            assert!(call["ran"].is_number() && call["cold"].is_boolean(), "{platform}: {call}");
        }
        // The first call of an instance reports since when it runs, and its runtime.
        let says = |key: &str| calls.iter().any(|call| !call[key].is_null());
        assert!(says("boot") && says("rt"), "{platform}: {calls:?}");
        let has_attributes = lines.iter().any(|line| line["attr"]["path"].is_string());
        assert_eq!(has_attributes, platform == "openwhisk", "{lines:?}");
        let logs: Vec<&Value> = lines.iter().filter(|line| line["e"] == "log").collect();
        let text = serde_json::to_string(&logs).unwrap();
        assert!(text.contains("looking at 13"), "{platform}: the log of what failed: {lines:?}");
        // FACT's region: of AWS and Google their own, of OpenWhisk the host of its API.
        let (trace, csv) = (machine.path(&format!("{platform}.jsonl")), machine.path("fact.csv"));
        let (trace, csv) = (trace.to_str().unwrap(), csv.to_str().unwrap());
        machine.run(&["export", "-q", trace, "--fact-csv", csv]).ok();
        let mut rows = csv::Reader::from_path(csv).unwrap();
        let column = rows.headers().unwrap().iter().position(|name| name == "Region").unwrap();
        let regions: Vec<String> =
            rows.records().map(|row| row.unwrap()[column].to_owned()).collect();
        let wanted = match platform {
            "aws" => "eu-central-1",
            "gcp" => falco_fakes::gcp::LOCATION,
            _ => "127.0.0.1",
        };
        let calls = regions.iter().filter(|region| **region == wanted).count();
        // The traces of the stage and of the run have none.
        assert_eq!(calls, regions.len() - 2, "{platform}: {regions:?}");
    }
}
