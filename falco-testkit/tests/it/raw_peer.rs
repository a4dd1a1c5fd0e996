//! The peer that breaks off, as the other side sees it.

use std::io::ErrorKind;
use std::time::Duration;

use falco_testkit::{RawPeer, Script};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

async fn ask(peer: &RawPeer) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(peer.address()).await?;
    stream.write_all(b"POST /x HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn a_reset_is_a_reset_before_and_after_reading() {
    let scripts = [Script::reset_before_reading(), Script::reset_after_reading()];
    let peer = RawPeer::start(scripts).await.unwrap();
    for requests in [0, 1, 2] {
        let error = ask(&peer).await.unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
            "{error}"
        );
        assert_eq!(peer.requests().len(), requests, "the last script repeats");
    }
    assert_eq!(peer.connections(), 3);
}

#[tokio::test]
async fn a_truncated_body_is_shorter_than_its_length() {
    let peer = RawPeer::start([Script::truncated_body()]).await.unwrap();
    let answer = ask(&peer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("Content-Length: 20") && body.len() < 20, "{answer}");
    assert!(peer.requests()[0].ends_with("\r\n\r\n{}"), "requests are kept with their bodies");
}

#[tokio::test]
async fn a_stall_keeps_the_connection_open() {
    let peer = RawPeer::start([Script::headers_then_stall()]).await.unwrap();
    timeout(Duration::from_millis(100), ask(&peer)).await.unwrap_err();
    assert_eq!(peer.requests().len(), 1);
}

#[tokio::test]
async fn a_peer_that_never_accepts_takes_a_connection_and_reads_nothing() {
    let peer = RawPeer::never_accept().await.unwrap();
    timeout(Duration::from_millis(100), ask(&peer)).await.unwrap_err();
    assert_eq!((peer.connections(), peer.requests().len()), (0, 0));
}

#[tokio::test]
async fn every_platform_takes_the_shims() {
    let address = RawPeer::nobody().await.unwrap();
    let error = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_dropped_peer_closes_what_is_open() {
    let peer = RawPeer::start([Script::never_answer()]).await.unwrap();
    let mut stream = TcpStream::connect(peer.address()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    drop(peer);
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await.unwrap();
    assert!(read.is_err() || answer.is_empty());
}
