//! A peer on loopback that says over TCP what no HTTP fake can say.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

const JSON: (&str, &str) = ("Content-Type", "application/json");

/// One step of what a peer does with a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Reads one HTTP request, body included. A peer that goes away meanwhile ends the script.
    Read,
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Waits, in real time.
    Wait(Duration),
    /// Resets the connection: the other side sees `ECONNRESET`.
    Reset,
    /// Keeps the connection open and does nothing more.
    Stall,
}

/// The script of a peer for one connection, step by step; after the last it closes the connection.
///
/// # Examples
///
/// ```
/// use falco_testkit::{Script, Step};
/// use std::time::Duration;
///
/// let slow = Script::new([Step::Read, Step::Wait(Duration::from_millis(50))])
///     .then(Step::Send(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()));
/// assert_ne!(slow, Script::reset_after_reading());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script(Vec<Step>);

impl Script {
    /// These steps.
    pub fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self(steps.into_iter().collect())
    }

    /// And this step.
    #[must_use]
    pub fn then(mut self, step: Step) -> Self {
        self.0.push(step);
        self
    }

    /// Resets the connection before reading: nothing can have run.
    pub fn reset_before_reading() -> Self {
        Self::new([Step::Reset])
    }

    /// Reads the request and resets the connection: it may have run.
    pub fn reset_after_reading() -> Self {
        Self::new([Step::Read, Step::Reset])
    }

    /// Reads the request and closes the connection without a word: it may have run.
    pub fn close_after_reading() -> Self {
        Self::new([Step::Read])
    }

    /// Reads the request and never answers.
    pub fn never_answer() -> Self {
        Self::new([Step::Read, Step::Stall])
    }

    /// Sends half a status line and closes.
    pub fn half_a_status_line() -> Self {
        Self::new([Step::Read, Step::Send(b"HTTP/1.1 20".to_vec())])
    }

    /// Sends the head of an answer and never its body.
    pub fn headers_then_stall() -> Self {
        Self::new([Step::Read, Step::Send(head("200 OK", [JSON], 20)), Step::Stall])
    }

    /// Sends less of a body than it has promised, and closes.
    pub fn truncated_body() -> Self {
        let mut half = head("200 OK", [JSON], 20);
        half.extend(b"{\"result\":");
        Self::new([Step::Read, Step::Send(half)])
    }

    /// Answers what is not HTTP at all.
    pub fn garbage() -> Self {
        Self::new([Step::Read, Step::Send(b"\x16\x03\x01 this is not HTTP\r\n\r\n".to_vec())])
    }

    /// Answers as a proxy on the way does: with a page in HTML, such as for `502 Bad Gateway`.
    pub fn proxied_html(status: &str) -> Self {
        let page = format!("<html><head><title>{status}</title></head><body>nginx</body></html>\n");
        Self::reply(status, [("Content-Type", "text/html")], page.as_bytes())
    }

    /// Answers in good order, and closes.
    pub fn json(status: &str, body: &str) -> Self {
        Self::reply(status, [JSON], body.as_bytes())
    }

    /// Answers in good order with headers of the caller's besides `Content-Length`, and closes.
    pub fn reply<'a>(
        status: &str,
        headers: impl IntoIterator<Item = (&'a str, &'a str)>,
        body: &[u8],
    ) -> Self {
        let mut reply = head(status, headers, body.len());
        reply.extend(body);
        Self::new([Step::Read, Step::Send(reply)])
    }
}

/// A peer on loopback that plays a script for each connection. It ends when it is dropped.
///
/// It lives in real time: sockets and paused time do not mix.
///
/// # Examples
///
/// ```
/// use falco_testkit::{RawPeer, Script};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let peer = RawPeer::start([Script::half_a_status_line()]).await?;
/// let mut stream = tokio::net::TcpStream::connect(peer.address()).await?;
/// stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await?;
/// let mut answer = String::new();
/// stream.read_to_string(&mut answer).await?;
/// assert_eq!(answer, "HTTP/1.1 20");
/// assert_eq!((peer.connections(), peer.requests().len()), (1, 1));
/// # Ok(())
/// # }
/// ```
pub struct RawPeer {
    address: SocketAddr,
    seen: Arc<Seen>,
    /// Aborted on drop, and with it every connection.
    tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Seen {
    connections: AtomicU64,
    requests: Mutex<Vec<String>>,
}

impl Seen {
    fn note(&self, request: &[u8]) {
        let request = String::from_utf8_lossy(request).into_owned();
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    }
}

impl RawPeer {
    /// Plays these scripts, one for each connection in turn; the last one for all that follow.
    ///
    /// # Errors
    ///
    /// When no port can be bound.
    pub async fn start(scripts: impl IntoIterator<Item = Script>) -> std::io::Result<Self> {
        let (listener, mut peer) = Self::bind().await?;
        let scripts: Vec<Script> = scripts.into_iter().collect();
        peer.tasks.spawn(accept(listener, scripts, Arc::clone(&peer.seen)));
        Ok(peer)
    }

    /// Reads a request on each connection, and plays the script that `answer` gives for it. The script's own reading
    /// of that request is left out.
    ///
    /// # Errors
    ///
    /// When no port can be bound.
    ///
    /// # Examples
    ///
    /// A peer that resets every other connection, after it has read the request:
    ///
    /// ```
    /// use falco_testkit::{RawPeer, Script};
    /// use std::sync::atomic::{AtomicUsize, Ordering};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let seen = AtomicUsize::new(0);
    /// let peer = RawPeer::answering(move |_request| {
    ///     let is_even = seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
    ///     let script = if is_even { Script::json("200 OK", "{}") } else { Script::reset_after_reading() };
    ///     async move { script }
    /// })
    /// .await?;
    /// # drop(peer);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn answering<F, A>(answer: F) -> std::io::Result<Self>
    where
        F: Fn(Vec<u8>) -> A + Send + Sync + 'static,
        A: Future<Output = Script> + Send + 'static,
    {
        let (listener, mut peer) = Self::bind().await?;
        peer.tasks.spawn(accept_and_answer(listener, Arc::new(answer), Arc::clone(&peer.seen)));
        Ok(peer)
    }

    /// Listens and never accepts. The operating system still completes the first connections; nobody reads from them.
    ///
    /// # Errors
    ///
    /// When no port can be bound.
    pub async fn never_accept() -> std::io::Result<Self> {
        let (listener, mut peer) = Self::bind().await?;
        peer.tasks.spawn(async move {
            let _listening = listener;
            std::future::pending().await
        });
        Ok(peer)
    }

    async fn bind() -> std::io::Result<(TcpListener, Self)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        Ok((listener, Self { address, seen: Arc::default(), tasks: JoinSet::new() }))
    }

    /// An address where nobody listens: connecting is refused.
    ///
    /// # Errors
    ///
    /// When no port can be bound.
    pub async fn nobody() -> std::io::Result<SocketAddr> {
        TcpListener::bind("127.0.0.1:0").await?.local_addr()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> u64 {
        self.seen.connections.load(Ordering::Acquire)
    }

    /// The requests that it has read whole, head and body as text, in the order of their ends.
    pub fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for RawPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawPeer")
            .field("address", &self.address)
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}

async fn accept(listener: TcpListener, scripts: Vec<Script>, seen: Arc<Seen>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let number = seen.connections.fetch_add(1, Ordering::AcqRel) as usize;
        if let Some(script) = scripts.get(number).or(scripts.last()) {
            connections.spawn(play(stream, script.0.clone(), Arc::clone(&seen)));
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn accept_and_answer<F, A>(listener: TcpListener, answer: Arc<F>, seen: Arc<Seen>)
where
    F: Fn(Vec<u8>) -> A + Send + Sync + 'static,
    A: Future<Output = Script> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { continue };
        seen.connections.fetch_add(1, Ordering::AcqRel);
        let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
        connections.spawn(async move {
            let Some(request) = read_request(&mut stream).await else { return };
            seen.note(&request);
            let mut steps = answer(request).await.0;
            if steps.first() == Some(&Step::Read) {
                steps.remove(0);
            }
            play(stream, steps, seen).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn play(mut stream: TcpStream, steps: Vec<Step>, seen: Arc<Seen>) {
    for step in steps {
        match step {
            Step::Read => {
                let Some(request) = read_request(&mut stream).await else { return };
                seen.note(&request);
            }
            Step::Send(bytes) => {
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Step::Wait(duration) => sleep(duration).await,
            Step::Reset => {
                // Closing with nothing to linger for sends a reset.
                let _ = stream.set_zero_linger();
                return;
            }
            Step::Stall => std::future::pending().await,
        }
    }
    let _ = stream.shutdown().await;
}

/// One request by its `Content-Length`; `None` when the other side goes away before its end.
async fn read_request(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut read = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length = length.and_then(|length| length.trim().parse::<usize>().ok());
            if read.len() >= end + 4 + length.unwrap_or_default() {
                return Some(read);
            }
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => read.extend(&buffer[..n]),
        }
    }
}

fn head<'a>(
    status: &str,
    headers: impl IntoIterator<Item = (&'a str, &'a str)>,
    length: usize,
) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status}\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("Content-Length: {length}\r\nConnection: close\r\n\r\n");
    head.into_bytes()
}
