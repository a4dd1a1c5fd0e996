//! One contender doing one piece of work, in processes of its own.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use super::processes;

/// The beginning of the lines that are meant for the bench; libraries print others.
pub(super) const PREFIX: &str = "@bench ";

/// Between two looks at the memory at least.
const PAUSE: Duration = Duration::from_millis(100);

/// A contender's answer, and what it took.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    /// From the call to the combined answer; for a cold start from the start of the process to the first result.
    pub(super) seconds: f64,
    /// From the start of the pool until it is warm.
    pub(super) ready: Option<f64>,
    /// The largest sum of the proportional set sizes that was seen, in bytes.
    pub(super) memory: f64,
    /// The answer.
    pub(super) answer: Value,
    /// The text that the contender printed to standard error.
    pub(super) log: String,
}

/// A running contender, which is ended with all its processes when dropped.
#[derive(Debug)]
pub(super) struct Contender {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    folder: PathBuf,
    log: PathBuf,
    began: Instant,
    deadline: Instant,
    memory: f64,
}

impl Contender {
    /// Starts a contender, which has so long for everything.
    pub(super) fn start(
        mut command: Command,
        folder: &Path,
        scratch: &Path,
        limit: Duration,
    ) -> anyhow::Result<Self> {
        let log = scratch.join("stderr");
        command.env(processes::MARK, folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(File::create(&log)?);
        let began = Instant::now();
        let mut child = command.spawn().with_context(|| format!("{command:?} does not start"))?;
        let input = child.stdin.take().context("no pipe to the contender")?;
        let output = child.stdout.take().context("no pipe from the contender")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let meant = |line: String| line.strip_prefix(PREFIX).map(str::to_owned);
            // Ends with the pipe: a contender may print what is not text.
            for line in BufReader::new(output).lines().map_while(Result::ok).filter_map(meant) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let folder = folder.to_owned();
        let deadline = began + limit;
        Ok(Self { child, input, lines, folder, log, began, deadline, memory: 0.0 })
    }

    /// Hands over the task and waits for the answer.
    pub(super) fn measure(mut self, task: &Value) -> anyhow::Result<Measured> {
        writeln!(self.input, "{task}")?;
        let is_cold = task["cold"] == Value::Bool(true);
        let ready = if is_cold {
            None
        } else {
            let said = self.said()?;
            // The pool is warm now, and what it took to become so does not count.
            self.memory = 0.0;
            writeln!(self.input, "go")?;
            said["ready"].as_f64()
        };
        let mut done = self.said()?;
        let since_start = self.began.elapsed().as_secs_f64();
        self.look();
        let seconds = if is_cold { Some(since_start) } else { done["seconds"].as_f64() };
        // It ends by itself, where it can.
        let _ = writeln!(self.input, "end");
        let end = Instant::now() + Duration::from_secs(10);
        while self.child.try_wait()?.is_none() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Measured {
            seconds: seconds.context("the contender says no time")?,
            ready,
            memory: self.memory,
            answer: done["answer"].take(),
            log: self.log(),
        })
    }

    /// The next line of the contender; looks at its memory meanwhile.
    fn said(&mut self) -> anyhow::Result<Value> {
        let mut pause = PAUSE;
        loop {
            match self.lines.recv_timeout(pause) {
                Ok(line) => return Ok(serde_json::from_str(&line)?),
                Err(RecvTimeoutError::Disconnected) => {
                    let log = self.log();
                    let last = log.lines().rev().find(|line| !line.trim().is_empty());
                    bail!("it ended early: {}", last.unwrap_or("it printed nothing"));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            let limit = self.deadline - self.began;
            if Instant::now() > self.deadline {
                bail!("not done in {} s", limit.as_secs());
            }
            // Looking at 64 processes takes a while, and must not slow down what is measured.
            pause = PAUSE.max(self.look() * 25);
        }
    }

    /// Looks at the memory, and returns how long that took.
    fn look(&mut self) -> Duration {
        let began = Instant::now();
        let now = processes::memory(&processes::tree(Some(self.child.id()), &self.folder));
        self.memory = self.memory.max(now);
        began.elapsed()
    }

    fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        // Those without the mark are known only as long as their parents live. The id of a process that has ended may belong to
        // another one by now.
        let root = matches!(self.child.try_wait(), Ok(None)).then(|| self.child.id());
        processes::end(&processes::tree(root, &self.folder));
        let _ = self.child.wait();
        processes::end_all(&self.folder);
    }
}
