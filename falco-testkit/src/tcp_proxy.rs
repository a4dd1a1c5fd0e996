//! A TCP proxy whose line a test cuts and mends.

use std::io;
use std::net::{AddrParseError, SocketAddr};
#[cfg(unix)]
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use crate::Line;

/// A TCP proxy in front of a server on loopback or at a Unix socket.
///
/// While its line is [cut](Line::Cut), connections are reset and new ones refused; while it is [hung](Line::Hung),
/// connections are taken and no byte passes. Dropped, it ends.
///
/// # Examples
///
/// ```
/// use falco_testkit::{Line, RawPeer, Script, TcpProxy};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let server = RawPeer::start([Script::json("200 OK", "{}")]).await?;
/// let proxy = TcpProxy::start(server.url()).await?;
/// proxy.set(Line::Cut);
/// // .. nobody answers at proxy.url() ..
/// proxy.set(Line::Up);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TcpProxy {
    address: SocketAddr,
    line: watch::Sender<Line>,
    serving: JoinHandle<()>,
}

impl TcpProxy {
    /// Starts a proxy in front of the server at `url`, such as `http://127.0.0.1:8080` or `unix:///run/docker.sock`; its
    /// line is up.
    ///
    /// # Errors
    ///
    /// When `url` names no address with a port and no socket, or no port is free.
    pub async fn start(url: impl AsRef<str>) -> io::Result<Self> {
        let upstream = Upstream::at(url.as_ref())?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let line = watch::Sender::new(Line::Up);
        let serving = tokio::spawn(serve(listener, address, upstream, line.subscribe()));
        Ok(Self { address, line, serving })
    }

    /// Where to connect to instead of the server.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Cuts the line, or mends it.
    pub fn set(&self, line: Line) {
        self.line.send_replace(line);
    }
}

impl TcpProxy {
    /// Ends it. When this returns, connections to it are refused.
    pub async fn end(mut self) {
        self.serving.abort();
        let _ = (&mut self.serving).await;
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The server behind a proxy.
#[derive(Clone, Debug)]
enum Upstream {
    Tcp(SocketAddr),
    #[cfg(unix)]
    Unix(PathBuf),
}

impl Upstream {
    fn at(url: &str) -> io::Result<Self> {
        if let Some(path) = url.strip_prefix("unix://") {
            return Self::socket(path);
        }
        let authority = url.split_once("://").map_or(url, |(_, rest)| rest).trim_end_matches('/');
        let invalid = |error: AddrParseError| {
            let use_such = "use http://127.0.0.1:PORT or unix:///PATH";
            let message = format!("invalid address {url:?}: {use_such} ({error})");
            io::Error::new(io::ErrorKind::InvalidInput, message)
        };
        Ok(Self::Tcp(authority.parse().map_err(invalid)?))
    }

    #[cfg(unix)]
    fn socket(path: &str) -> io::Result<Self> {
        Ok(Self::Unix(path.into()))
    }

    #[cfg(not(unix))]
    fn socket(path: &str) -> io::Result<Self> {
        let message = format!("{path} is a Unix socket, which this system does not have");
        Err(io::Error::new(io::ErrorKind::Unsupported, message))
    }

    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                let _ = stream.set_nodelay(true);
                Box::new(stream)
            }
            #[cfg(unix)]
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
        })
    }
}

/// A TCP or Unix connection.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn serve(
    listener: TcpListener,
    address: SocketAddr,
    upstream: Upstream,
    mut line: watch::Receiver<Line>,
) {
    let mut listener = Some(listener);
    loop {
        // Dropped with the set, connections end when the line is cut.
        let mut connections = JoinSet::new();
        let Some(accepting) = listener.take() else { return };
        loop {
            let accepted = tokio::select! {
                biased;
                cut = line.wait_for(|line| *line == Line::Cut) => match cut {
                    Ok(_) => break,
                    Err(_) => return,
                },
                accepted = accepting.accept() => accepted,
            };
            if let Ok((stream, _)) = accepted {
                connections.spawn(connect(stream, upstream.clone(), line.clone()));
            }
        }
        drop((accepting, connections));
        let reserved = reserve(address).await;
        if line.wait_for(|line| *line != Line::Cut).await.is_err() {
            return;
        }
        listener = reserved.listen(1024).ok();
    }
}

/// Keeps the port from others, without listening: connections are refused.
async fn reserve(address: SocketAddr) -> TcpSocket {
    loop {
        let bound = TcpSocket::new_v4().and_then(|socket| {
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok(socket)
        });
        match bound {
            Ok(socket) => return socket,
            Err(_) => sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Passes bytes on both ways. Dropped, both sides see a reset.
async fn connect(mut near: TcpStream, upstream: Upstream, line: watch::Receiver<Line>) {
    // Without it, the client would see an orderly end.
    let _ = (near.set_zero_linger(), near.set_nodelay(true));
    let Ok(far) = upstream.connect().await else { return };
    // Owned halves would end the stream in an orderly way before it is reset.
    let (near_reads, near_writes) = near.split();
    let (far_reads, far_writes) = tokio::io::split(far);
    let there = pass_on(near_reads, far_writes, line.clone());
    let back = pass_on(far_reads, near_writes, line);
    let _ = tokio::try_join!(there, back);
}

async fn pass_on(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut line: watch::Receiver<Line>,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let length = from.read(&mut buffer).await?;
        match line.wait_for(|line| *line != Line::Hung).await.map(|line| *line) {
            // On a busy machine `serve` notices the cut later; nothing may pass until then.
            Ok(Line::Cut) | Err(_) => return Err(io::ErrorKind::ConnectionReset.into()),
            Ok(Line::Up | Line::Hung) => {}
        }
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..length]).await?;
    }
}
