//! HTTP to a container: one connection, which is kept.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use falco_core::{Error, ErrorKind, Result};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, Response, StatusCode, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// How long a container that does not listen yet is left alone before it is asked again.
const PAUSE: Duration = Duration::from_millis(10);

/// The connection to a container's port. Dropped, it is closed.
#[derive(Debug)]
pub(crate) struct Connection {
    address: SocketAddr,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The outcome of a request.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The status, whether a header says that the function failed, and the body.
    Answered(StatusCode, bool, Bytes),
    /// The body is longer than it may be.
    TooLong,
    /// Nobody took the request.
    NotDelivered,
    /// The connection ended before the answer did.
    Broken,
}

/// The header by which Lambda says that a function failed.
const FUNCTION_ERROR: &str = "x-amz-function-error";

impl Connection {
    pub(crate) fn new(host: IpAddr, port: u16) -> Self {
        Self { address: SocketAddr::new(host, port), open: None }
    }

    /// Sends a request, and reads an answer of up to `limit` bytes.
    pub(crate) async fn post(&mut self, path: &str, body: Bytes, limit: usize) -> Result<Reply> {
        let mut open = match self.open.take() {
            Some(open) if !open.sender.is_closed() => open,
            _ => match connect(self.address).await {
                Ok(open) => open,
                Err(_) => return Ok(Reply::NotDelivered),
            },
        };
        let request = Request::post(path)
            .header(HOST, self.address.to_string())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| {
                Error::new(ErrorKind::Protocol, "a request cannot be built").with_source(&error)
            })?;
        if open.sender.ready().await.is_err() {
            return Ok(Reply::NotDelivered);
        }
        let reply = match open.sender.send_request(request).await {
            Ok(response) => read(response, limit).await,
            // A proxy of the daemon takes connections before the container listens, and closes them.
            Err(_) => Reply::Broken,
        };
        if matches!(reply, Reply::Answered(..)) {
            self.open = Some(open);
        }
        Ok(reply)
    }

    /// As [`post`](Self::post), again and again until there is an answer. The caller sets the limit.
    pub(crate) async fn post_until_answered(
        &mut self,
        path: &str,
        body: Bytes,
        limit: usize,
    ) -> Result<Reply> {
        loop {
            match self.post(path, body.clone(), limit).await? {
                Reply::NotDelivered | Reply::Broken => tokio::time::sleep(PAUSE).await,
                reply => return Ok(reply),
            }
        }
    }
}

async fn connect(address: SocketAddr) -> std::io::Result<Open> {
    let stream = TcpStream::connect(address).await?;
    // A request is one write, and waits for its answer.
    stream.set_nodelay(true)?;
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
    let task = tokio::spawn(async move {
        // It ends with the container, or when it is dropped here.
        let _ = connection.await;
    });
    Ok(Open { sender, task })
}

async fn read(response: Response<Incoming>, limit: usize) -> Reply {
    let (head, mut body) = response.into_parts();
    let has_failed = head.headers.contains_key(FUNCTION_ERROR);
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Reply::Broken };
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > limit {
            return Reply::TooLong;
        }
        whole.extend_from_slice(&data);
    }
    Reply::Answered(head.status, has_failed, whole.freeze())
}
