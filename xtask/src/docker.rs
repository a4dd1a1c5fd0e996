//! A Docker daemon of the tests' own, where one can be started.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::metadata::target_directory;
use crate::shell::{check, version};

/// Names the daemon to the tests.
pub(crate) const VARIABLE: &str = "FALCO_TEST_DOCKER";

/// How long a daemon may take to answer, and to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon; dropped, it is ended, and what it kept is deleted.
pub(crate) struct Daemon {
    process: Child,
    folder: PathBuf,
    socket: PathBuf,
}

impl Daemon {
    /// Starts a daemon, unless the variable names one already or none can be started: the tests then say that they are
    /// skipped, and fail in CI.
    pub(crate) fn start() -> anyhow::Result<Option<Self>> {
        if std::env::var_os(VARIABLE).is_some() {
            return Ok(None);
        }
        if version("dockerd").is_none() {
            println!("no dockerd, so tests of containers are skipped");
            return Ok(None);
        }
        let mut started = None;
        check("start dockerd", || {
            started = Some(Self::launch()?);
            Ok(())
        })?;
        Ok(started)
    }

    /// The address of the daemon.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    fn launch() -> anyhow::Result<Self> {
        let folder = target_directory()?.join("docker");
        fs::create_dir_all(&folder)?;
        // Not below the target directory: the path of a socket has at most 107 bytes.
        let name = format!("falco-docker-{}.sock", std::process::id());
        let socket = std::env::temp_dir().join(name);
        let log = fs::File::create(folder.join("log"))?;
        let process = Command::new("dockerd")
            .arg("--data-root")
            .arg(folder.join("data"))
            .arg("--exec-root")
            .arg(folder.join("exec"))
            .arg("--pidfile")
            .arg(folder.join("pid"))
            .arg("-H")
            .arg(format!("unix://{}", socket.display()))
            // Containers of the tests have no network, and the machine's own is left alone.
            .args(["--bridge=none", "--iptables=false"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("dockerd does not start")?;
        let mut daemon = Self { process, folder, socket };
        daemon.wait_until_ready()?;
        Ok(daemon)
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        while UnixStream::connect(&self.socket).is_err() {
            let log = self.folder.join("log");
            let ended = self.process.try_wait()?;
            ensure!(ended.is_none(), "dockerd ended, see {}", log.display());
            ensure!(started.elapsed() < PATIENCE, "dockerd is not ready, see {}", log.display());
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Asked to, it ends its containers and unmounts their file systems; killed, it would leave both.
        let pid = self.process.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status();
        let started = Instant::now();
        let ended = |process: &mut Child| process.try_wait().is_ok_and(|status| status.is_some());
        while asked.is_ok() && !ended(&mut self.process) && started.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(100));
        }
        delete(&self.folder);
        // It has deleted the socket itself, if it ended as asked.
        let _ = fs::remove_file(&self.socket);
    }
}

fn delete(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder) {
        println!("{} stays: {error}", folder.display());
    }
}
