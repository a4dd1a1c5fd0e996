//! A fake Docker daemon: it gives the answers that a test sets, for refusals that a real daemon cannot be made to give.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// An answer: the method, a part of the path, the status and the body. The first that fits counts.
pub(crate) type Answer = (&'static str, &'static str, u16, Value);

/// Starts a daemon on `amd64` that gives these answers before those that every test needs. Returns its address.
pub(crate) async fn daemon(answers: Vec<Answer>) -> String {
    daemon_behind(answers, async |stream| Some(stream)).await
}

/// As [`daemon`], behind something that makes of a connection another one, or ends it.
pub(crate) async fn daemon_behind<S>(
    mut all: Vec<Answer>,
    accept: impl AsyncFn(TcpStream) -> Option<S> + Clone + Send + 'static,
) -> String
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    all.extend([
        (
            "GET",
            "/version",
            200,
            json!({"ApiVersion": "1.41", "MinAPIVersion": "1.12", "Arch": "amd64"}),
        ),
        ("GET", "/containers/json", 200, json!([])),
        ("GET", "/images/", 404, json!({"message": "No such image"})),
    ]);
    let all = Arc::new(all);
    // A thread of its own, so that what `accept` does need not be sent between threads.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let (all, accept) = (all.clone(), accept.clone());
                tokio::task::spawn_local(async move {
                    let stream = accept(stream).await?;
                    serve(stream, &all).await
                });
            }
        });
    });
    format!("tcp://localhost:{}", address.port())
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, answers: &[Answer]) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut first = String::new();
        if stream.read_line(&mut first).await.ok()? == 0 {
            return None;
        }
        let (mut length, mut is_chunked) = (0, false);
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).await.ok()?;
            let header = header.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            is_chunked |= header.starts_with("transfer-encoding:");
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        assert!(!is_chunked, "the fake takes no body in chunks: {first}");
        let mut words = first.split_whitespace();
        let (method, path) = (words.next()?, words.next()?);
        if path.contains("/events") {
            // Nothing ever happens.
            std::future::pending::<()>().await;
        }
        let found = answers.iter().find(|(m, part, ..)| *m == method && path.contains(part));
        let (status, body) = match found {
            Some((_, _, status, body)) => (*status, body.to_string()),
            None => {
                (501, json!({"message": format!("the fake has no {method} {path}")}).to_string())
            }
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.ok()?;
    }
}
