//! A scripted Runtime API: what it serves, and what it was sent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use serde::{Deserialize, Serialize};

use super::*;
use crate::Functions;

#[derive(Serialize, Deserialize)]
struct Text {
    text: String,
}

fn functions() -> Functions {
    let mut functions = Functions::new();
    functions.add("upper", |Text { text }| match text.as_str() {
        "fail" => Err("failed as asked"),
        _ => Ok(Text { text: text.to_uppercase() }),
    });
    functions.add_with("broken", || Err("no model"), |(): &mut (), text: Text| Ok(text));
    functions
}

/// A request that the API received.
#[derive(Debug)]
struct Request {
    line: String,
    error_type: Option<String>,
    body: String,
}

/// Serves the function `name` while the API gives these replies, one a request, and then closes; returns how the worker
/// ended and what it sent.
fn served(name: &str, replies: &[&str]) -> (End, Vec<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let replies: Vec<String> = replies.iter().map(|reply| (*reply).to_owned()).collect();
    let api = thread::spawn(move || {
        let mut replies = replies.into_iter().peekable();
        let mut requests = Vec::new();
        while replies.peek().is_some() {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while let Some(request) = read(&mut reader) {
                requests.push(request);
                let Some(reply) = replies.next() else { break };
                write(&stream, &reply);
                if replies.peek().is_none() {
                    break;
                }
            }
        }
        requests
    });
    let end = serve(&address, functions().start_of(name));
    (end, api.join().unwrap())
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let (mut length, mut error_type) = (0, None);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "lambda-runtime-function-error-type" => error_type = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        line: line.trim_end().to_owned(),
        error_type,
        body: String::from_utf8(body).unwrap(),
    })
}

fn write(mut stream: &TcpStream, reply: &str) {
    stream.write_all(reply.as_bytes()).unwrap();
}

fn event(id: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: {id}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

fn status(status: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n{{}}")
}

#[test]
fn events_are_answered_with_result_and_times() {
    let chunked = "HTTP/1.1 200 OK\r\nlambda-runtime-aws-request-id: 2\r\nTransfer-Encoding: chunked\r\n\r\n\
                   8\r\n{\"text\":\r\n7\r\n\"fail\"}\r\n0\r\n\r\n";
    let accepted = status("202 Accepted");
    let (end, requests) =
        served("upper", &[&event("1", r#"{"text":"a"}"#), &accepted, chunked, &accepted]);
    assert!(matches!(end, End::Broken(_)));
    let lines: Vec<_> = requests.iter().map(|request| request.line.as_str()).collect();
    let next = "GET /2018-06-01/runtime/invocation/next HTTP/1.1";
    assert_eq!(lines[0], next);
    assert_eq!(lines[1], "POST /2018-06-01/runtime/invocation/1/response HTTP/1.1");
    assert_eq!(lines[2], next);
    assert_eq!(lines[3], "POST /2018-06-01/runtime/invocation/2/response HTTP/1.1");
    let answer: serde_json::Value = serde_json::from_str(&requests[1].body).unwrap();
    assert_eq!(answer["result"], serde_json::json!({"text": "A"}));
    assert!(answer["falco:ran"]["ms"].is_number() && answer["falco:ran"]["init_ms"].is_number());
    let answer: serde_json::Value = serde_json::from_str(&requests[3].body).unwrap();
    assert_eq!(answer["result"]["error"]["message"], "failed as asked");
    assert!(answer["falco:ran"]["init_ms"].is_null());
}

#[test]
fn a_result_that_is_too_large_becomes_an_error_of_the_call_and_the_next_event_is_taken() {
    let (end, requests) = served(
        "upper",
        &[
            &event("1", r#"{"text":"a"}"#),
            &status("413 Too Large"),
            &status("202 Accepted"),
            &status("410 Gone"),
        ],
    );
    assert!(matches!(end, End::Broken(reason) if reason.contains("410")));
    assert_eq!(requests[2].line, "POST /2018-06-01/runtime/invocation/1/error HTTP/1.1");
    assert_eq!(requests[2].error_type.as_deref(), Some("Function.ResponseSizeTooLarge"));
}

#[test]
fn an_answer_that_is_refused_ends_the_environment() {
    let (end, _) = served("upper", &[&event("1", r#"{"text":"a"}"#), &status("403 Forbidden")]);
    assert!(matches!(end, End::Broken(reason) if reason.contains("403")));
}

#[test]
fn a_function_that_does_not_start_reports_it_and_takes_no_event() {
    for (name, words) in [("broken", "no model"), ("lower", "no function \\\"lower\\\"")] {
        let (end, requests) = served(name, &[&status("202 Accepted")]);
        assert!(matches!(end, End::NotStarted(_)));
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].line, "POST /2018-06-01/runtime/init/error HTTP/1.1");
        assert_eq!(requests[0].error_type.as_deref(), Some(INITIALIZATION));
        assert!(requests[0].body.contains(words), "{}", requests[0].body);
    }
}

#[test]
fn an_event_without_an_id_or_a_connection_that_closes_ends_the_worker_with_the_reason() {
    let (end, _) = served("upper", &[&status("200 OK")]);
    assert!(matches!(end, End::Broken(reason) if reason.contains("no request id")));
    let (end, _) = served(
        "upper",
        &["HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: 1\r\nContent-Length: 90\r\n\r\n{"],
    );
    assert!(matches!(end, End::Broken(reason) if reason.contains("cannot take the next event")));
}
