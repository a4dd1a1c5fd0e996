//! A daemon whose disk a test may fill, and which it may end.

#![expect(clippy::print_stderr, reason = "what is skipped is named")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::daemon;

/// How long a daemon may take to answer, and to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// The size of the daemon's disk. It is memory.
const DISK: &str = "size=96m";

/// A daemon of its own, with a small disk. Dropped, both are gone.
pub(crate) struct OwnDaemon {
    folder: tempfile::TempDir,
    /// Holds the namespace in which the disk is mounted; it ends with its input, and so with this process.
    disk: Child,
    daemon: Option<Child>,
}

impl OwnDaemon {
    /// Starts a daemon; none where the tests have none either, or programs for it are missing.
    pub(crate) fn start() -> Option<Self> {
        daemon::host()?;
        for program in ["dockerd", "unshare", "nsenter", "setpriv"] {
            let found = Command::new(program).arg("--version").output();
            if found.is_err() {
                assert!(std::env::var("CI").map_or(true, |ci| ci != "true"), "CI needs {program}");
                eprintln!("skipped: there is no {program}, with which a daemon is started");
                return None;
            }
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        let mount = format!("mount -t tmpfs -o {DISK} tmpfs \"$0\" && echo mounted && read end");
        let mut disk = Command::new("unshare")
            .args(["--mount", "sh", "-c", &mount])
            .arg(folder.path().join("data"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(disk.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said.trim(), "mounted", "a disk in memory cannot be mounted");
        let mut own = Self { folder, disk, daemon: None };
        own.begin();
        Some(own)
    }

    /// The daemon's address.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// The daemon's disk, seen from outside of its namespace.
    pub(crate) fn disk(&self) -> PathBuf {
        let data = self.folder.path().join("data");
        let root = format!("/proc/{}/root", self.disk.id());
        PathBuf::from(root).join(data.strip_prefix("/").unwrap())
    }

    /// Sends the daemon a signal by its name, and waits for its end.
    pub(crate) fn end(&mut self, signal: &str) {
        let Some(mut daemon) = self.daemon.take() else { return };
        let _ = Command::new("kill").args(["-s", signal, &daemon.id().to_string()]).status();
        let started = Instant::now();
        while daemon.try_wait().is_ok_and(|status| status.is_none()) {
            if started.elapsed() > PATIENCE {
                let _ = daemon.kill();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Starts the daemon, for the first time or again, and waits until it answers.
    pub(crate) fn begin(&mut self) {
        let at = |name: &str| self.folder.path().join(name);
        // A daemon that was killed has left the number of its containerd. Where nobody asks for the outcome of such a process, the
        // number stays taken, and the next daemon would wait for it.
        let _ = std::fs::remove_file(at("exec/containerd/containerd.pid"));
        // It ends with the thread that has started it, which is that of the test.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "nsenter", "--mount", "--target"]);
        command.arg(self.disk.id().to_string()).arg("dockerd");
        command.arg("--data-root").arg(at("data")).arg("--exec-root").arg(at("exec"));
        command.arg("--pidfile").arg(at("pid")).arg("-H").arg(self.host());
        command.args(["--bridge=none", "--iptables=false"]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut daemon = command.stderr(std::fs::File::create(at("log")).unwrap()).spawn().unwrap();
        let started = Instant::now();
        while !answers(&self.socket()) {
            let log = || std::fs::read_to_string(at("log")).unwrap_or_default();
            assert!(daemon.try_wait().unwrap().is_none(), "dockerd ended: {}", log());
            assert!(started.elapsed() < PATIENCE, "dockerd is not ready: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        self.daemon = Some(daemon);
    }
}

/// Whether a daemon answers at a socket. It takes connections before it is ready.
fn answers(socket: &Path) -> bool {
    let ask = || {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /_ping HTTP/1.0\r\n\r\n")?;
        stream.read(&mut [0; 16])
    };
    ask().is_ok_and(|length| length > 0)
}

impl Drop for OwnDaemon {
    fn drop(&mut self) {
        // Asked to end, it ends its containers, too.
        self.end("TERM");
        drop(self.disk.stdin.take());
        let _ = self.disk.wait();
    }
}
