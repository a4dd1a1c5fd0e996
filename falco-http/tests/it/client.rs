use std::time::Duration;

use falco_core::ErrorKind;
use falco_http::reqwest::{Method, StatusCode};
use falco_http::{BodyEnd, Client, ClientConfig, JsonApi, Secret};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use wiremock::matchers::{body_string, header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

fn client() -> Client {
    ClientConfig::new("falco-test/1.2.3").with_plain_http_only(true).build().unwrap()
}

async fn server(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(header("user-agent", "falco-test/1.2.3"))
        .respond_with(answer)
        .expect(1)
        .mount(&server)
        .await;
    server
}

async fn get(server: &MockServer, limit: u64) -> falco_http::Reply {
    let request = client().request(Method::GET, server.uri().parse().unwrap());
    client().send(request, limit).await.unwrap()
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_whole() {
    let server = server(ResponseTemplate::new(200).set_body_string("0123456789")).await;
    let reply = get(&server, 10).await;
    assert_eq!(reply.whole_body().unwrap(), "0123456789");
}

#[tokio::test]
async fn a_body_over_the_limit_is_cut_there_and_says_so() {
    let server = server(ResponseTemplate::new(200).set_body_string("0123456789")).await;
    let reply = get(&server, 9).await;
    assert_eq!(reply.body, "012345678");
    assert!(matches!(reply.end, BodyEnd::OverLimit(9)), "{:?}", reply.end);
    let error = reply.whole_body().unwrap_err();
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::PayloadTooLarge, true));
}

#[tokio::test]
async fn the_page_of_a_proxy_becomes_one_readable_line() {
    let page = "<html><body><h1>504 Gateway Time-out</h1></body></html>";
    let server = server(ResponseTemplate::new(504).set_body_raw(page, "text/html")).await;
    let reply = get(&server, 1000).await;
    let error = reply.json::<serde_json::Value>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(error.message().ends_with("504 Gateway Timeout: 504 Gateway Time-out"), "{error}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let elsewhere = MockServer::start().await;
    let answer = ResponseTemplate::new(308).insert_header("location", elsewhere.uri());
    let server = server(answer).await;
    assert_eq!(get(&server, 100).await.status, StatusCode::PERMANENT_REDIRECT);
    assert!(elsewhere.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_wait_that_the_server_asks_for_is_read() {
    let server = server(ResponseTemplate::new(429).insert_header("retry-after", "7")).await;
    assert_eq!(get(&server, 100).await.retry_after(), Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn an_injected_client_is_used_and_still_sends_the_user_agent() {
    let answer = ResponseTemplate::new(200).set_body_string("{}");
    let server = server(answer).await;
    let own = falco_http::reqwest::Client::builder();
    // Without CA certificates on the machine the client of a build with TLS could not be made.
    #[cfg(feature = "rustls")]
    let own = own.tls_certs_only([]);
    let own = own.build().unwrap();
    let client = ClientConfig::new("falco-test/1.2.3").with_client(own).build().unwrap();
    let request = falco_http::reqwest::Request::new(Method::GET, server.uri().parse().unwrap());
    assert_eq!(client.execute(request, 10).await.unwrap().body, "{}");
}

#[cfg(feature = "rustls")]
#[test]
fn a_wrong_setting_is_named_and_never_shows_a_secret() {
    let config = || ClientConfig::new("falco-test/1");
    for (config, named) in [
        (config().with_client_certificate("marked-key"), "client certificate"),
        (config().with_ca_certificates("marked-ca"), "CA certificates"),
        (config().with_proxy("http://user:marked-password@:bad:"), "proxy"),
        (ClientConfig::new("bad\nagent"), "user agent"),
    ] {
        let error = config.clone().build().unwrap_err();
        let shown = format!("{error} {error:?} {config:?}");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(shown.contains(named), "{shown}");
        assert!(!shown.contains("marked-key") && !shown.contains("marked-password"), "{shown}");
    }
}

#[tokio::test]
async fn a_dropped_request_is_finished_and_its_connection_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (taken, was_taken) = oneshot::channel();
    let (answer, may_answer) = oneshot::channel::<()>();
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        read_request(&mut socket).await;
        taken.send(()).unwrap();
        may_answer.await.unwrap();
        let closed = socket.try_read(&mut [0; 1]);
        assert!(closed.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
        for _ in 0..2 {
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
            read_request(&mut socket).await;
        }
    });
    let client = client();
    let request = || client.request(Method::GET, url.parse().unwrap());
    let dropped = client.send(request(), 10);
    tokio::select! {
        _ = dropped => panic!("nothing was answered"),
        taken = was_taken => taken.unwrap(),
    }
    // The server would see the end of the connection by then.
    tokio::time::sleep(Duration::from_millis(50)).await;
    answer.send(()).unwrap();
    // Until the answer has been read, and the connection is free.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let reply = tokio::time::timeout(Duration::from_secs(10), client.send(request(), 10)).await;
    assert_eq!(reply.unwrap().unwrap().whole_body().unwrap(), "{}");
    server.abort();
}

async fn read_request(socket: &mut TcpStream) {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        match socket.read_u8().await {
            Ok(byte) => text.push(byte),
            Err(_) => return,
        }
    }
}

#[tokio::test]
async fn an_api_escapes_names_and_sends_credentials_and_json() {
    let server = MockServer::start().await;
    Mock::given(method("PUT"))
        .and(path("/prefix/functions/..%2Fother"))
        .and(header("authorization", "Bearer marked-token"))
        .and(header("content-type", "application/json"))
        .and(body_string(r#"{"a":1}"#))
        .respond_with(ResponseTemplate::new(409).set_body_string("0123456789"))
        .expect(1)
        .mount(&server)
        .await;
    let url = format!("{}/prefix", server.uri()).parse().unwrap();
    let api = JsonApi::new(client(), url).with_longest_reply(4);
    let api = api.with_authorization("Bearer ", &Secret::from("marked-token")).unwrap();
    assert!(!format!("{api:?}").contains("marked"), "{api:?}");
    let body = serde_json::json!({"a": 1});
    let reply = api.send_json(Method::PUT, &["functions", "../other"], &body).await.unwrap();
    assert_eq!((reply.status, &*reply.body), (StatusCode::CONFLICT, &b"0123"[..]));
    let unwritable = std::collections::BTreeMap::from([([1], 1)]);
    let error = api.send_json(Method::PUT, &["functions"], &unwritable).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let wrong = JsonApi::new(client(), server.uri().parse().unwrap())
        .with_authorization("Bearer ", &Secret::from("marked\ntoken"));
    assert_eq!(wrong.unwrap_err().kind(), ErrorKind::InvalidInput);
}
