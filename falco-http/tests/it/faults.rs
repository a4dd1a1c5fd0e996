//! Tests with a raw socket, for answers that an HTTP fake cannot give.

use std::future::Future;
use std::time::Duration;

use falco_core::{Error, ErrorKind};
use falco_http::reqwest::{Method, Url};
use falco_http::{BodyEnd, Client, ClientConfig, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A server that does `behave` with each connection. It ends with the test's runtime.
async fn peer<F>(behave: impl Fn(TcpStream) -> F + Send + 'static) -> Url
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/path?key=marked-secret", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(behave(stream));
        }
    });
    url.parse().unwrap()
}

async fn read_request(stream: &mut TcpStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await.unwrap() == 0 {
            return;
        }
    }
}

async fn call(url: Url) -> Result<Reply, Error> {
    let client = ClientConfig::new("falco-test/1")
        .with_plain_http_only(true)
        .with_connect_timeout(Duration::from_secs(5))
        .with_read_timeout(Duration::from_secs(1))
        .build()
        .unwrap();
    client.send(client.request(Method::POST, url), 1000).await
}

/// Takes a request of 1 MiB in more time than any timeout of the test, and answers it.
async fn take_slowly(mut stream: TcpStream) {
    const BODY: usize = 1 << 20;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let mut part = vec![0; BODY / 4];
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        stream.read_exact(&mut part).await.unwrap();
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
}

#[tokio::test]
async fn a_long_request_may_take_longer_to_send_than_an_answer_may_to_come() {
    let url = peer(take_slowly).await;
    let short = Duration::from_millis(100);
    let config = || ClientConfig::new("falco-test/1").with_plain_http_only(true);
    let reading = config().with_read_timeout(short).build().unwrap();
    let own = config().build().unwrap();
    let put = |client: &Client| client.request(Method::PUT, url.clone()).body(vec![b'x'; 1 << 20]);
    assert_eq!(reading.send(put(&reading), 10).await.unwrap().body, "{}");
    assert_eq!(own.send(put(&own).timeout(short), 10).await.unwrap().body, "{}");
}

/// Kind, retryable, may have run, unreachable; and no error shows what stands behind the origin of the URL.
fn verdict(error: &Error) -> (ErrorKind, bool, bool, bool) {
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("marked-secret") && !shown.contains("/path"), "{shown}");
    (error.kind(), error.is_retryable(), error.may_have_run(), error.is_unreachable())
}

#[tokio::test]
async fn a_refused_connection_means_that_nothing_ran() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/path?key=marked-secret", listener.local_addr().unwrap());
    drop(listener);
    let error = call(url.parse().unwrap()).await.unwrap_err();
    assert_eq!(verdict(&error), (ErrorKind::Unavailable, true, false, true), "{error}");
    assert!(error.message().contains("http://127.0.0.1:"), "{error}");
}

#[cfg(feature = "rustls")]
#[tokio::test]
async fn a_peer_without_tls_means_that_nothing_ran() {
    let mut url = peer(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        // Closed with the greeting unread, it would be a reset.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    url.set_scheme("https").unwrap();
    let error = call(url).await.unwrap_err();
    assert_eq!(verdict(&error), (ErrorKind::Unavailable, true, false, true), "{error}");
}

#[tokio::test]
async fn a_reset_after_the_request_was_taken_may_have_run() {
    let url = peer(|mut stream| async move {
        read_request(&mut stream).await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    let error = call(url).await.unwrap_err();
    assert_eq!(verdict(&error), (ErrorKind::Unavailable, true, true, true), "{error}");
}

#[tokio::test]
async fn half_a_status_line_may_have_run() {
    let url = peer(|mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 20").await.unwrap();
    })
    .await;
    let error = call(url).await.unwrap_err();
    assert_eq!(verdict(&error), (ErrorKind::Unavailable, true, true, true), "{error}");
}

#[tokio::test]
async fn a_peer_that_accepts_and_never_answers_is_a_timeout_that_may_have_run() {
    let url = peer(|mut stream| async move {
        read_request(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let error = call(url).await.unwrap_err();
    assert_eq!(verdict(&error), (ErrorKind::Timeout, true, true, false), "{error}");
}

#[tokio::test]
async fn a_truncated_body_keeps_its_headers_and_differs_from_one_that_is_too_long() {
    let url = peer(|mut stream| async move {
        read_request(&mut stream).await;
        let answer =
            b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\nx-activation: a-1\r\n\r\n{\"half\":";
        stream.write_all(answer).await.unwrap();
    })
    .await;
    let reply = call(url).await.unwrap();
    assert_eq!(reply.header("x-activation"), Some("a-1"));
    assert_eq!(reply.body, "{\"half\":");
    assert!(matches!(reply.end, BodyEnd::Broken(_)), "{:?}", reply.end);
    assert_eq!(
        verdict(&reply.whole_body().unwrap_err()),
        (ErrorKind::Unavailable, true, true, true)
    );
}

#[tokio::test]
async fn a_body_that_stalls_is_a_timeout_and_keeps_what_came() {
    let url = peer(|mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhalf").await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let reply = call(url).await.unwrap();
    assert_eq!(reply.body, "half");
    assert_eq!(verdict(&reply.whole_body().unwrap_err()), (ErrorKind::Timeout, true, true, false));
}

#[tokio::test]
async fn an_endless_body_takes_bounded_memory() {
    let url = peer(|mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    })
    .await;
    let reply = call(url).await.unwrap();
    assert_eq!(reply.body.len(), 1000);
    assert!(matches!(reply.end, BodyEnd::OverLimit(1000)), "{:?}", reply.end);
}

/// The kernel's word for the timer of the connection to `port`: 2 is keepalive.
#[cfg(target_os = "linux")]
fn timer_of_connection_to(port: u16) -> Option<u8> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let remote = format!(":{port:04X}");
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_ours = fields.get(2)?.ends_with(&remote);
        let timer = fields.get(5)?.split(':').next()?;
        is_ours.then(|| u8::from_str_radix(timer, 16).unwrap())
    })
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_connection_on_which_nothing_arrives_is_probed() {
    let (taken, was_taken) = tokio::sync::oneshot::channel();
    let taken = std::sync::Mutex::new(Some(taken));
    let url = peer(move |mut stream| {
        let taken = taken.lock().unwrap().take();
        async move {
            read_request(&mut stream).await;
            let _ = taken.unwrap().send(());
            std::future::pending::<()>().await;
        }
    })
    .await;
    let port = url.port().unwrap();
    let client = ClientConfig::new("falco-test/1").with_plain_http_only(true).build().unwrap();
    let request = client.request(Method::GET, url);
    let call = tokio::spawn(async move { client.send(request, 1000).await });
    was_taken.await.unwrap();
    // The request itself may wait for its acknowledgement for a moment.
    for _ in 0..1_200 {
        if timer_of_connection_to(port) == Some(2) {
            call.abort();
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no keepalive: timer {:?}", timer_of_connection_to(port));
}
