//! Answers of a store that functions in Rust do not take for their object.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::thread;

use falco_function::data::{Input, Output};
use serde_json::json;

/// Calls a function with the URL of an object, behind a server that answers one request.
fn answering<T>(status: &str, header: &str, body: &str, function: impl FnOnce(&str) -> T) -> T {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/bucket/a.txt?Signature=secret", listener.local_addr().unwrap());
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} Answer\r\ncontent-length: {length}\r\nconnection: close\r\n{header}\r\n{body}"
    );
    thread::scope(|scope| {
        scope.spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut request = BufReader::new(socket.try_clone().unwrap());
            let (mut line, mut length) = (String::new(), 0);
            while request.read_line(&mut line).unwrap() > 2 {
                if let Some(bytes) = line.to_lowercase().strip_prefix("content-length: ") {
                    length = bytes.trim().parse().unwrap();
                }
                line.clear();
            }
            request.read_exact(&mut vec![0; length]).unwrap();
            socket.write_all(answer.as_bytes()).unwrap();
        });
        function(&url)
    })
}

fn read(url: &str) -> Result<Vec<u8>, String> {
    let object =
        json!({"falco:object": {"url": "s3://bucket/a.txt", "get": url, "etag": "\"1a\""}});
    let input: Input = serde_json::from_value(object).unwrap();
    input.read().map_err(|error| error.to_string())
}

fn write(url: &str) -> Result<(), String> {
    let sink = json!({"falco:sink": {"url": "s3://bucket/a.txt", "put": url}});
    let mut out: Output = serde_json::from_value(sink).unwrap();
    let written = out.write(b"x").and_then(|()| out.close().map(drop));
    written.map_err(|error| error.to_string())
}

#[test]
fn a_refusal_names_the_object_the_reason_and_what_to_do() {
    for (status, code, writes, text) in [
        ("404", "NoSuchBucket", true, "StoreRefused: PUT http"),
        ("404", "NoSuchBucket", true, "create the bucket"),
        ("404", "NoSuchBucket", false, "create the bucket"),
        ("404", "NoSuchKey", false, "ObjectMissing: "),
        ("301", "PermanentRedirect", false, "set the region"),
        ("400", "AuthorizationHeaderMalformed", true, "set the region"),
        ("403", "AccessDenied", false, "allow the account that signs"),
        ("400", "EntityTooLarge", true, "write more and smaller ones"),
        ("403", "ExpiredToken", false, "UrlExpired: "),
    ] {
        let body = format!("<Error><Code>{code}</Code></Error>");
        let error = answering(status, "", &body, |url| match writes {
            true => write(url).unwrap_err(),
            false => read(url).unwrap_err(),
        });
        assert!(error.contains(text), "{status} {code}: {error}");
        assert!(error.contains("/bucket/a.txt") && !error.contains("secret"), "{error}");
    }
}

#[test]
fn an_object_that_changed_is_not_read_from_a_store_that_does_not_heed_if_match() {
    for (etag, is_read) in [("\"1a\"", true), ("W/\"1a\"", true), ("1a", true), ("\"1b\"", false)] {
        let header = format!("etag: {etag}\r\n");
        let read = answering("200", &header, "hello", read);
        match read {
            Ok(bytes) => assert!(is_read && bytes == b"hello", "{etag}: {bytes:?}"),
            Err(error) => {
                assert!(!is_read && error.starts_with("ObjectChanged: "), "{etag}: {error}");
            }
        }
    }
}
