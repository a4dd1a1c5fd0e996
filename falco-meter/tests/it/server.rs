//! The live page over HTTP: who gets what, and who gets nothing.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use falco_core::{ErrorKind, Event, Monitor, RunId};
use falco_meter::{MeterServer, MeterSettings};
use falco_trace::Recorder;
use serde_json::Value;

use crate::sample::{records, write};

async fn serve(calls: u64) -> (MeterServer, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let trace = write(folder.path(), &records(calls, true));
    let settings = MeterSettings::default().with_host("meter.example");
    (MeterServer::of_file(trace, settings).await.unwrap(), folder)
}

fn key(server: &MeterServer) -> String {
    server.url().split('#').nth(1).unwrap().to_owned()
}

async fn get(server: &MeterServer, path: &str) -> reqwest::Response {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}{path}", server.address());
    client.get(url).bearer_auth(key(server)).send().await.unwrap()
}

/// Sends a request by hand, and returns the whole answer.
async fn raw(server: &MeterServer, request: String) -> String {
    let address = server.address();
    tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    })
    .await
    .unwrap()
}

fn request(method: &str, path: &str, host: &str, more: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{more}Connection: close\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_key_there_is_the_empty_page_and_nothing_else() {
    let (server, _folder) = serve(50).await;
    let host = server.address().to_string();
    for path in ["/", "/app.js", "/app.css"] {
        let answer = raw(&server, request("GET", path, &host, "")).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{path}: {answer:.200}");
        assert!(!answer.contains("6741d8f0"), "{path} holds data");
    }
    let wrong = format!("Authorization: Bearer {}\r\n", "0".repeat(32));
    for path in ["/api/v1/state", "/api/v1/details", "/api/v1/calls", "/metrics", "/none"] {
        for header in ["", &wrong, "Authorization: Bearer \r\n"] {
            let answer = raw(&server, request("GET", path, &host, header)).await;
            assert!(answer.starts_with("HTTP/1.1 401 "), "{path}: {answer:.200}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_names_are_refused_and_so_is_everything_that_could_change_something() {
    let (server, _folder) = serve(50).await;
    let auth = format!("Authorization: Bearer {}\r\n", key(&server));
    for host in ["evil.example", "127.0.0.1.evil.example:80", ""] {
        let answer = raw(&server, request("GET", "/api/v1/state", host, &auth)).await;
        assert!(answer.starts_with("HTTP/1.1 421 "), "{host}: {answer:.200}");
    }
    for host in ["localhost:1234", "[::1]:80", "METER.example", "127.0.0.1"] {
        let answer = raw(&server, request("GET", "/api/v1/state", host, &auth)).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer:.200}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = raw(&server, request(method, "/api/v1/state", "localhost", &auth)).await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{method}: {answer:.200}");
        assert!(!answer.to_lowercase().contains("access-control"), "{answer}");
    }
    let answer = raw(&server, request("HEAD", "/api/v1/state", "localhost", &auth)).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && body.is_empty());
    for header in [
        "content-security-policy: default-src 'none'; script-src 'self'",
        "x-content-type-options: nosniff",
        "cache-control: no-store",
        "referrer-policy: no-referrer",
        "cross-origin-resource-policy: same-origin",
    ] {
        assert!(head.contains(header), "{header} is missing in {head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_head_and_a_crowd_do_not_hold_the_page_up() {
    let (server, _folder) = serve(50).await;
    let mut crowd = Vec::new();
    for _ in 0..64 {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(b"GET / HTT").unwrap();
        crowd.push(stream);
    }
    // The 65th waits until the heads of the others have taken too long.
    let auth = format!("Authorization: Bearer {}\r\n", key(&server));
    let answer = raw(&server, request("GET", "/api/v1/state", "localhost", &auth)).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:.200}");
    let mut rest = String::new();
    crowd[0].set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let _ = crowd[0].read_to_string(&mut rest);
    assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 408"), "{rest}");
    let huge = request("GET", "/", "localhost", &format!("X-Huge: {}\r\n", "x".repeat(40_000)));
    let answer = raw(&server, huge).await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer:.200}");
    for stream in crowd {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_an_error_that_names_it() {
    let (server, folder) = serve(50).await;
    let trace = folder.path().join("trace.jsonl");
    let settings = MeterSettings::default().with_address(server.address());
    let error = MeterServer::of_file(trace, settings).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains(&server.address().to_string()), "{error}");
    assert!(!format!("{server:?}").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_follows_gets_little_each_time() {
    let (server, _folder) = serve(5_000).await;
    let first = get(&server, "/api/v1/state").await.bytes().await.unwrap();
    assert!(first.len() < 128 * 1024, "{} bytes", first.len());
    let state: Value = serde_json::from_slice(&first).unwrap();
    let last = state["gates"].as_array().unwrap().last().unwrap()["t"].as_f64().unwrap();
    let seq = state["seq"].as_u64().unwrap();
    let path = format!("/api/v1/state?since={seq}&t={last}");
    let next = get(&server, &path).await.bytes().await.unwrap();
    assert!(next.len() < 16 * 1024, "{} bytes", next.len());
    let next: Value = serde_json::from_slice(&next).unwrap();
    let samples = |value: &Value| value.as_array().unwrap().len();
    assert_eq!((samples(&next["gates"]), samples(&next["controls"][0]["samples"])), (0, 0));
    let details = get(&server, "/api/v1/details?stage=map").await.bytes().await.unwrap();
    let details: Value = serde_json::from_slice(&details).unwrap();
    assert_eq!(details["failures"].as_array().unwrap().len(), 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_listed_a_hundred_at_a_time_until_all_are_seen() {
    let (server, _folder) = serve(1_000).await;
    let (mut after, mut seen, mut pages) = (0, 0, 0);
    loop {
        let path = format!("/api/v1/calls?stage=map&after={after}");
        let page: Value = get(&server, &path).await.json().await.unwrap();
        seen += page["calls"].as_array().unwrap().len();
        pages += 1;
        match page["next"].as_u64() {
            Some(next) => after = next,
            None => break,
        }
    }
    let listed = records(1_000, true)
        .into_iter()
        .filter(|it| matches!(it, falco_trace::Record::Call(call) if call.stage == "map"));
    assert_eq!(seen, listed.count());
    assert!(pages > 10);
    let failed: Value =
        get(&server, "/api/v1/calls?o=failed&stage=map").await.json().await.unwrap();
    let calls = failed["calls"].as_array().unwrap();
    assert!(calls.iter().any(|call| call["error"]["type"] == "UnicodeDecodeError"));
    // What comes late is found without the pages before it.
    let late: Value =
        get(&server, "/api/v1/calls?stage=reduce&min_ms=1").await.json().await.unwrap();
    assert_eq!(late["calls"].as_array().unwrap().len(), 25);
    assert!(late["next"].is_null());
    let unknown = get(&server, "/api/v1/calls?o=bad").await;
    assert!(unknown.text().await.unwrap().contains("invalid o \"bad\": use failed"));
    let wrong = get(&server, "/api/v1/calls?from=soon").await;
    assert_eq!(wrong.status().as_u16(), 400);
    assert!(wrong.text().await.unwrap().contains("invalid from \"soon\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_calls_are_there_once_the_run_has_ended() {
    let (server, folder) = serve(1_000).await;
    let timeline: Value = get(&server, "/api/v1/timeline").await.json().await.unwrap();
    let calls = records(1_000, true);
    let calls = calls.iter().filter(|it| matches!(it, falco_trace::Record::Call(_))).count();
    assert_eq!(timeline["calls"], calls);
    assert!(timeline["columns"].as_str().unwrap().len() > 1_000);
    let going_on = write(folder.path(), &records(100, false));
    let server = MeterServer::of_file(going_on, MeterSettings::default()).await.unwrap();
    assert_eq!(get(&server, "/api/v1/timeline").await.status().as_u16(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_hold_every_call_and_no_id() {
    let (server, _folder) = serve(400).await;
    let answer = get(&server, "/metrics").await;
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = answer.text().await.unwrap();
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/metrics.txt");
    falco_testkit::assert_golden(golden, &text);
    for line in [
        "# TYPE falco_invocations_total counter",
        "falco_invocations_total{stage=\"map\",outcome=\"succeeded\"} 396",
        "falco_invocations_total{stage=\"map\",outcome=\"function failed\"} 4",
        "falco_stage_size{stage=\"reduce\"} 10",
        "falco_invocation_duration_seconds_bucket{stage=\"split\",le=\"+Inf\"} 4",
        "falco_invocation_duration_seconds_count{stage=\"map\"} 400",
        "falco_window{gate=\"aws\"} 100",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("00000041") && !text.contains("map-41"), "an id is a label");
    // Every line is a comment, or a name with labels and a number.
    for line in text.lines().filter(|line| !line.starts_with("# ")) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("falco_") && value.parse::<f64>().is_ok(), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_this_process_is_shown_while_it_goes_on() {
    let recorder = Arc::new(Recorder::new());
    let run = RunId::from("run-live");
    let _ = recorder.event(&Event::RunStarted { run: &run, plan: None });
    let invocation =
        falco_core::Invocation::new("run-live", "map", "1", falco_core::Payload::empty())
            .with_monitor(recorder.clone());
    invocation.report(&Event::Admitted { invocation: &invocation });
    let server = MeterServer::of_run(recorder, None, MeterSettings::default()).await.unwrap();
    let state: Value = get(&server, "/api/v1/state").await.json().await.unwrap();
    assert_eq!((&state["run"], &state["in_flight"]), (&"run-live".into(), &1.into()));
    assert!(state["ended"].is_null());
    let calls = get(&server, "/api/v1/calls").await;
    assert_eq!(calls.status().as_u16(), 404);
    assert!(calls.text().await.unwrap().contains("trace file"));
}
