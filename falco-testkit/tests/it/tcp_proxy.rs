//! The proxy whose line is cut and mended, as the client sees it.

use std::io::ErrorKind;
use std::time::Duration;

use falco_testkit::{Line, RawPeer, Script, TcpProxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(30);

async fn connect(proxy: &TcpProxy) -> std::io::Result<TcpStream> {
    TcpStream::connect(proxy.url().trim_start_matches("http://")).await
}

async fn ask(proxy: &TcpProxy) -> std::io::Result<String> {
    let mut stream = connect(proxy).await?;
    stream.write_all(b"GET /x HTTP/1.1\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

async fn proxied(script: Script) -> (RawPeer, TcpProxy) {
    let server = RawPeer::start([script]).await.unwrap();
    let proxy = TcpProxy::start(server.url()).await.unwrap();
    (server, proxy)
}

#[tokio::test]
async fn a_proxy_whose_line_is_up_passes_requests_and_answers_on() {
    let (server, proxy) = proxied(Script::json("200 OK", "{}")).await;
    let answer = timeout(PATIENCE, ask(&proxy)).await.unwrap().unwrap();
    assert!(answer.ends_with("{}"), "{answer}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_proxy_whose_line_is_cut_resets_and_refuses_until_it_is_mended() {
    let (_server, proxy) = proxied(Script::json("200 OK", "{}")).await;
    let mut open = connect(&proxy).await.unwrap();
    // The proxy has taken the connection when a request on another one is answered.
    timeout(PATIENCE, ask(&proxy)).await.unwrap().unwrap();
    proxy.set(Line::Cut);
    let error = timeout(PATIENCE, open.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    let error = connect(&proxy).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
    proxy.set(Line::Up);
    let mended = async {
        while ask(&proxy).await.is_err() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, mended).await.unwrap();
}

#[tokio::test]
async fn a_proxy_whose_line_is_hung_takes_connections_and_answers_when_it_is_mended() {
    let (server, proxy) = proxied(Script::json("200 OK", "{}")).await;
    proxy.set(Line::Hung);
    let mut asking = std::pin::pin!(ask(&proxy));
    timeout(Duration::from_millis(100), asking.as_mut()).await.unwrap_err();
    assert_eq!(server.requests().len(), 0);
    proxy.set(Line::Up);
    assert!(timeout(PATIENCE, asking).await.unwrap().unwrap().ends_with("{}"));
}
