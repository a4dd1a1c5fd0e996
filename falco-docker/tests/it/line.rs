//! A line to the daemon that a test cuts, mends, or lets hang: what a driver sees of a daemon that ends, is started again, or
//! answers no more. The daemon itself goes on for the other tests.

use std::path::{Path, PathBuf};

use falco_testkit::Line;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// A socket in front of that of a daemon. Dropped, it ends.
pub(crate) struct Proxy {
    folder: tempfile::TempDir,
    line: watch::Sender<Line>,
    serving: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy in front of the daemon at `unix://PATH`; its line is up.
    pub(crate) fn start(host: &str) -> Self {
        let daemon = host.strip_prefix("unix://").expect("the tests' daemon has a socket").into();
        let folder = tempfile::tempdir().unwrap();
        let line = watch::Sender::new(Line::Up);
        let listener = UnixListener::bind(folder.path().join("sock")).unwrap();
        let at = folder.path().join("sock");
        let serving = tokio::spawn(serve(listener, at, daemon, line.subscribe()));
        Self { folder, line, serving }
    }

    /// The address to use instead of the daemon's.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.folder.path().join("sock").display())
    }

    pub(crate) fn set(&self, line: Line) {
        self.line.send_replace(line);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(
    listener: UnixListener,
    at: PathBuf,
    daemon: PathBuf,
    mut line: watch::Receiver<Line>,
) {
    let mut listener = Some(listener);
    while let Some(accepting) = listener.take() {
        // Dropped with the set, connections end when the line is cut.
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                cut = line.wait_for(|line| *line == Line::Cut) => match cut {
                    Ok(_) => break,
                    Err(_) => return,
                },
                accepted = accepting.accept() => accepted,
            };
            let (near, _) = accepted.unwrap();
            connections.spawn(connect(near, daemon.clone(), line.clone()));
        }
        drop((accepting, connections));
        std::fs::remove_file(&at).unwrap();
        if line.wait_for(|line| *line != Line::Cut).await.is_err() {
            return;
        }
        listener = Some(UnixListener::bind(&at).unwrap());
    }
}

async fn connect(near: UnixStream, daemon: impl AsRef<Path>, line: watch::Receiver<Line>) {
    let Ok(far) = UnixStream::connect(daemon).await else { return };
    let (near_reads, near_writes) = near.into_split();
    let (far_reads, far_writes) = far.into_split();
    let there = pass_on(near_reads, far_writes, line.clone());
    let back = pass_on(far_reads, near_writes, line);
    tokio::join!(there, back);
}

/// Passes bytes on while the line is up.
async fn pass_on(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut line: watch::Receiver<Line>,
) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        if line.wait_for(|line| *line == Line::Up).await.is_err()
            || to.write_all(&bytes[..length]).await.is_err()
        {
            return;
        }
    }
    let _ = to.shutdown().await;
}
