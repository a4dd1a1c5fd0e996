//! The floor: this very program, started by hand, which answers lines on bare pipes and does nothing else.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

/// Set in the processes that answer on bare pipes.
const BARE: &str = "FALCO_BENCH_PIPES";

/// Answers each line with `{}` until there are no more, and ends, if this process was started for that.
pub(crate) fn serve_if_asked() {
    if std::env::var_os(BARE).is_none() {
        return;
    }
    let mut line = Vec::new();
    let (mut lines, mut answers) = (std::io::stdin().lock(), std::io::stdout().lock());
    loop {
        line.clear();
        let read = lines.read_until(b'\n', &mut line);
        let answered = answers.write_all(b"{}\n").and_then(|()| answers.flush());
        if !read.is_ok_and(|read| read > 0) || answered.is_err() {
            std::process::exit(0);
        }
    }
}

struct Worker {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    answer: String,
}

impl Worker {
    fn start() -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .env(BARE, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let requests = child.stdin.take().context("no pipe to the worker")?;
        let answers = child.stdout.take().context("no pipe from the worker")?;
        Ok(Self { child, requests, answers: BufReader::new(answers), answer: String::new() })
    }

    fn call(&mut self) -> anyhow::Result<()> {
        self.requests.write_all(b"{\"value\":{}}\n")?;
        self.answer.clear();
        self.answers.read_line(&mut self.answer)?;
        ensure!(self.answer == "{}\n", "the worker answered {:?}", self.answer);
        Ok(())
    }

    fn end(mut self) -> anyhow::Result<()> {
        drop(self.requests);
        self.child.wait()?;
        Ok(())
    }
}

/// Calls a second by `threads` threads, each in lock-step with a worker of its own.
pub(crate) fn calls_per_second(threads: usize, calls: usize) -> anyhow::Result<f64> {
    let drive = move || -> anyhow::Result<Duration> {
        let mut worker = Worker::start()?;
        worker.call()?;
        let begun = Instant::now();
        for _ in 0..calls {
            worker.call()?;
        }
        let took = begun.elapsed();
        worker.end()?;
        Ok(took)
    };
    let workers: Vec<_> = (0..threads).map(|_| std::thread::spawn(drive)).collect();
    let mut slowest = Duration::ZERO;
    for worker in workers {
        slowest = slowest.max(worker.join().ok().context("a thread panicked")??);
    }
    Ok((threads * calls) as f64 / slowest.as_secs_f64())
}

/// The time from a start to the first answer.
pub(crate) fn first_answer() -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let mut worker = Worker::start()?;
    worker.call()?;
    let took = begun.elapsed();
    worker.end()?;
    Ok(took)
}
