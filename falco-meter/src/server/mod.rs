//! The live page: a server for one user, of one run, that changes nothing.

mod accept;
mod calls;
mod guard;
mod routes;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use falco_core::{Error, ErrorKind, Result};
use falco_trace::Recorder;
use tokio::net::TcpListener;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;

use self::guard::Guard;
use self::routes::Routes;
use crate::source::Source;

/// The settings of a live page.
///
/// # Security
///
/// The page listens on this machine only, unless an address is given. All data needs a key of 128 random bits, which is in
/// [`MeterServer::url`] and changes with each run. Requests for another host name are refused, so that no page in a
/// browser can read it by changing its own address (DNS rebinding). No route changes anything.
#[derive(Clone, Debug)]
pub struct MeterSettings {
    address: SocketAddr,
    hosts: Vec<String>,
}

impl Default for MeterSettings {
    fn default() -> Self {
        Self { address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0), hosts: Vec::new() }
    }
}

impl MeterSettings {
    /// Listens on `address`. Port 0 takes any free port. Anyone who reaches the address and has the key sees the run.
    #[must_use]
    pub fn with_address(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// Answers requests for this host name, too, such as that of a proxy. It may be called more than once.
    #[must_use]
    pub fn with_host(mut self, host: impl Into<String>) -> Self {
        self.hosts.push(host.into());
        self
    }
}

/// A live page that is served until this is dropped.
///
/// # Examples
///
/// ```
/// use falco_meter::{MeterServer, MeterSettings};
/// use falco_trace::Recorder;
/// use std::sync::Arc;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> falco_core::Result<()> {
/// let recorder = Arc::new(Recorder::new());
/// let server = MeterServer::of_run(recorder, None, MeterSettings::default()).await?;
/// assert!(server.url().starts_with("http://127.0.0.1:"));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct MeterServer {
    url: String,
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl MeterServer {
    /// Serves the numbers of a run of this process. Its calls are listed out of `trace`, if the recorder writes that file.
    ///
    /// # Errors
    ///
    /// `Unavailable` when nothing can listen on the address.
    pub async fn of_run(
        recorder: Arc<Recorder>,
        trace: Option<PathBuf>,
        settings: MeterSettings,
    ) -> Result<Self> {
        Self::start(Source::Live { recorder, file: trace }, settings).await
    }

    /// Serves a trace file, and follows it while it grows.
    ///
    /// # Errors
    ///
    /// As [`of_run`](Self::of_run), and those of [`falco_trace::read_file`].
    pub async fn of_file(path: impl Into<PathBuf>, settings: MeterSettings) -> Result<Self> {
        let path = path.into();
        let reading = tokio::task::spawn_blocking(move || Source::follow(&path));
        let source = reading.await.map_err(|error| {
            Error::new(ErrorKind::Panicked, "reading the trace failed").with_source(&error)
        })??;
        Self::start(source, settings).await
    }

    async fn start(source: Source, settings: MeterSettings) -> Result<Self> {
        let cannot = |error: std::io::Error| {
            let message = format!("the meter cannot listen on {}", settings.address);
            Error::new(ErrorKind::Unavailable, message).with_source(&error)
        };
        let listener = TcpListener::bind(settings.address).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let guard = Guard::new(settings.hosts.clone()).map_err(cannot)?;
        let url = format!("http://{}/#{}", reachable(address), guard.key());
        let routes =
            Arc::new(Routes { source, guard, index: Arc::default(), timeline: OnceCell::new() });
        let task = tokio::spawn(accept::serve(listener, routes));
        Ok(Self { url, address, task })
    }

    /// The address of the page, with its key. Its holder sees the run: show it to the run's owner only.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for MeterServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An address that a browser on this machine can open.
fn reachable(address: SocketAddr) -> SocketAddr {
    let mut address = address;
    if address.ip().is_unspecified() {
        let localhost: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        address.set_ip(localhost);
    }
    address
}
