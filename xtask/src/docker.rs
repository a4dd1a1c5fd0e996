//! A Docker daemon of the tests' own, where one can be started.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::metadata::target_directory;
use crate::shell::{check, program_exists, version};

/// Names the daemon to the tests.
pub(crate) const VARIABLE: &str = "FALCO_TEST_DOCKER";

/// How long a daemon may take to answer, and to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where Linux keeps files in memory.
const MEMORY: &str = "/dev/shm";

/// The memory in KiB that has to be available for images and containers to be kept in it. They take less than a quarter of it.
const PLENTY: u64 = 12 << 20;

/// A daemon; dropped, it is ended, and what it kept is deleted.
pub(crate) struct Daemon {
    process: Child,
    folder: PathBuf,
    data: PathBuf,
    socket: PathBuf,
}

impl Daemon {
    /// Starts a daemon, from a thread that outlives its use, unless the variable names one already or none can be started: the tests then say that they are
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
        for data in [folder.join("data"), in_memory(&folder)] {
            remove_leftovers(&folder, &data)?;
        }
        delete(&folder)?;
        fs::create_dir_all(&folder)?;
        // A daemon waits for the disk with each image and each container. Nobody needs them after a crash.
        let data = if has_plenty_of_memory() { in_memory(&folder) } else { folder.join("data") };
        // Not below the target directory: the path of a socket has at most 107 bytes.
        let name = format!("falco-docker-{}.sock", std::process::id());
        let socket = std::env::temp_dir().join(name);
        let log = fs::File::create(folder.join("log"))?;
        let process = dockerd()
            .arg("--data-root")
            .arg(&data)
            .arg("--exec-root")
            .arg(folder.join("exec"))
            .arg("--pidfile")
            .arg(folder.join("pid"))
            .arg("-H")
            .arg(format!("unix://{}", socket.display()))
            // Containers of the tests have no network, and the machine's own is left alone.
            .args(["--bridge=none", "--iptables=false"])
            // The daemon starts itself again for each layer and each network. Half of such a short life would be the collection
            // of garbage, which is postponed: to 16 MiB in those processes, and to five times what is in use in the daemon.
            .env("GOGC", "400")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("dockerd does not start")?;
        let mut daemon = Self { process, folder, data, socket };
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
        if let Err(error) = self.end() {
            println!("dockerd does not end: {error:#}");
        }
        for folder in [&self.data, &self.folder] {
            if let Err(error) = delete(folder) {
                println!("{error:#}");
            }
        }
        // The daemon has deleted the socket itself, if it ended as asked.
        let _ = fs::remove_file(&self.socket);
    }
}

impl Daemon {
    /// Ends the daemon and waits for its end, without which its folder stays busy.
    fn end(&mut self) -> anyhow::Result<()> {
        let ended = ask_to_end(self.process.id(), || Ok(self.process.try_wait()?.is_some()))?;
        if !ended {
            self.process.kill()?;
            self.process.wait()?;
        }
        Ok(())
    }
}

/// The command of a daemon that ends with the thread that starts it, where the system can see to that: a test run that
/// is killed would otherwise leave a daemon and its mounts.
fn dockerd() -> Command {
    if !program_exists("setpriv") {
        return Command::new("dockerd");
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "dockerd"]);
    command
}

/// Asks a process to end, and waits until it has: a daemon then ends its containers and unmounts their file systems.
/// Killed, it would leave both.
fn ask_to_end(pid: u32, mut ended: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<bool> {
    let asked = Command::new("kill").args(["-TERM", &pid.to_string()]).status()?;
    let started = Instant::now();
    while !ended()? {
        if !asked.success() || started.elapsed() > PATIENCE {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(true)
}

/// Ends the daemon that an earlier run has left in this folder, and deletes what it kept in `data`.
fn remove_leftovers(folder: &Path, data: &Path) -> anyhow::Result<()> {
    let pid = fs::read_to_string(folder.join("pid")).unwrap_or_default();
    if let Ok(pid) = pid.trim().parse::<u32>()
        && is_daemon_of(pid, data)
    {
        println!("an earlier run has left a dockerd, process {pid}: it is ended");
        let ended = ask_to_end(pid, || Ok(!is_daemon_of(pid, data)))?;
        ensure!(ended, "process {pid}, a dockerd in {}, does not end", data.display());
    }
    delete(data)
}

/// The place in memory for the data of the daemon of this folder.
fn in_memory(folder: &Path) -> PathBuf {
    let name = folder.to_string_lossy().replace('/', "-");
    Path::new(MEMORY).join(format!("falco{name}"))
}

/// Whether there is memory for a daemon's data, and room for files in it, which is limited by itself.
fn has_plenty_of_memory() -> bool {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let room = Command::new("df").args(["-Pk", MEMORY]).output();
    let room = room.map(|room| String::from_utf8_lossy(&room.stdout).into_owned());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let has_room = room_in(&room.unwrap_or_default()) > PLENTY;
    available(&memory) > PLENTY && has_room && runs_programs(&mounts)
}

/// Whether programs may be started from files in memory: a container often forbids it.
fn runs_programs(mounts: &str) -> bool {
    let mut lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let options =
        lines.find(|words| words.get(1) == Some(&MEMORY)).and_then(|words| words.get(3).copied());
    options.is_some_and(|options| options.split(',').all(|option| option != "noexec"))
}

/// The KiB of memory that are available by this text of `/proc/meminfo`.
fn available(memory: &str) -> u64 {
    let line = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or_default()
}

/// The free KiB of a file system in memory by this text of `df`; none of one that is not in memory.
fn room_in(df: &str) -> u64 {
    let last = df.lines().last().unwrap_or_default();
    let words: Vec<&str> = last.split_whitespace().collect();
    match words[..] {
        ["tmpfs", _, _, free, ..] => free.parse().unwrap_or_default(),
        _ => 0,
    }
}

/// Whether this process is a daemon that keeps its data there: numbers of processes are used again.
fn is_daemon_of(pid: u32, data: &Path) -> bool {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut arguments = command.split(|&byte| byte == 0);
    arguments.next().is_some_and(|program| program.ends_with(b"dockerd"))
        && arguments.any(|argument| argument == data.as_os_str().as_encoded_bytes())
}

/// Deletes a folder, if it is there, and unmounts first what is mounted in it.
fn delete(folder: &Path) -> anyhow::Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for mount in mounts_below(&mounts, folder) {
        // A mount that somebody still uses leaves the tree at once, and ends with its last user.
        let _ = Command::new("umount").arg("--lazy").arg(mount).status();
    }
    fs::remove_dir_all(folder).with_context(|| format!("{} stays", folder.display()))
}

/// The folders below `folder` on which something is mounted, the innermost first.
fn mounts_below(mounts: &str, folder: &Path) -> Vec<PathBuf> {
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    // The kernel writes a space as an octal number.
    let points = points.map(|point| PathBuf::from(point.replace("\\040", " ")));
    let mut below: Vec<PathBuf> = points.filter(|point| point.starts_with(folder)).collect();
    below.sort_by_key(|point| std::cmp::Reverse(point.components().count()));
    below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_in_the_folder_are_found_with_the_innermost_first() {
        let mounts = "proc /proc proc rw 0 0\n\
            overlay /work/target/docker/data/overlay2/a\\040b/merged overlay rw 0 0\n\
            nsfs /work/target/docker/exec/netns/default nsfs rw 0 0\n\
            tmpfs /work/target/docker/data/overlay2/a\\040b/merged/dev/shm tmpfs rw 0 0\n\
            tmpfs /work/target/docker-of-another tmpfs rw 0 0\n";
        let data = "/work/target/docker/data/overlay2/a b/merged";
        assert_eq!(
            mounts_below(mounts, Path::new("/work/target/docker")),
            [&format!("{data}/dev/shm"), data, "/work/target/docker/exec/netns/default",]
                .map(PathBuf::from)
        );
    }

    #[test]
    fn a_daemon_that_an_earlier_run_has_left_is_ended_and_awaited() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("docker");
        let data = folder.join("data");
        fs::create_dir_all(&data).unwrap();
        // Stands for a daemon: a shell of that name and with that argument, which waits for input.
        let mut daemon = Command::new("bash")
            .args(["-c", "exec -a dockerd bash -c read \"$0\""])
            .arg(&data)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let input = daemon.stdin.take();
        fs::write(folder.join("pid"), daemon.id().to_string()).unwrap();
        let started = Instant::now();
        while !is_daemon_of(daemon.id(), &data) && started.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(is_daemon_of(daemon.id(), &data), "it does not start");
        assert!(!is_daemon_of(daemon.id(), Path::new("/elsewhere")), "a daemon of somebody else");
        // Its parent takes its status, as init does for a daemon whose parent has ended.
        let reaped = std::thread::spawn(move || daemon.wait().unwrap());
        remove_leftovers(&folder, &data).unwrap();
        assert!(!reaped.join().unwrap().success());
        drop(input);
        assert!(!data.exists());
        remove_leftovers(&folder, &data).unwrap();
    }

    #[test]
    fn a_process_that_took_the_number_of_a_daemon_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("docker");
        let data = folder.join("data");
        fs::create_dir_all(&data).unwrap();
        fs::write(folder.join("pid"), std::process::id().to_string()).unwrap();
        remove_leftovers(&folder, &data).unwrap();
        assert!(!data.exists());
    }

    #[test]
    fn data_is_kept_in_memory_where_there_is_plenty_of_it_and_room_for_files() {
        let memory = "MemTotal:       24684092 kB\nMemAvailable:   23033144 kB\n";
        assert_eq!((available(memory), available("")), (23_033_144, 0));
        let df = |kind: &str| {
            format!(
                "Filesystem     1024-blocks      Used Available Capacity Mounted on\n\
                 {kind}  24684092  104  24683988  1% /dev/shm\n"
            )
        };
        assert_eq!((room_in(&df("tmpfs")), room_in(&df("/dev/vda"))), (24_683_988, 0));
        assert!(runs_programs("tmpfs /dev/shm tmpfs rw,relatime,size=24684092k 0 0\n"));
        assert!(!runs_programs("shm /dev/shm tmpfs rw,nosuid,nodev,noexec,size=64m 0 0\n"));
        assert!(!runs_programs("proc /proc proc rw 0 0\n"));
        let place = in_memory(Path::new("/work/target/docker"));
        assert_eq!(place, Path::new("/dev/shm/falco-work-target-docker"));
    }
}
