//! The floor of the local platform: threads that each talk to one worker, line by line, and do nothing else.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

/// The least that a worker has to do: read a line, parse it, call the function, write a line.
const WORKER: &str = "
import json, sys

def main(args):
    return args

read, write, flush = sys.stdin.readline, sys.stdout.write, sys.stdout.flush
while line := read():
    write(json.dumps(main(json.loads(line)['value'])))
    write('\\n')
    flush()
";

/// Calls a second by `threads` threads, each in lock-step with a Python worker of its own.
pub(crate) fn calls_per_second(threads: usize, calls: usize) -> anyhow::Result<f64> {
    let workers: Vec<_> = (0..threads).map(|_| std::thread::spawn(move || drive(calls))).collect();
    let mut slowest = Duration::ZERO;
    for worker in workers {
        slowest = slowest.max(worker.join().ok().context("a thread panicked")??);
    }
    Ok((threads * calls) as f64 / slowest.as_secs_f64())
}

fn drive(calls: usize) -> anyhow::Result<Duration> {
    let mut worker = Command::new("python3")
        .args(["-c", WORKER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut to = worker.stdin.take().context("no pipe to the worker")?;
    let mut from = BufReader::new(worker.stdout.take().context("no pipe from the worker")?);
    let mut answer = String::new();
    let mut call = |answer: &mut String| -> anyhow::Result<()> {
        to.write_all(b"{\"value\":{}}\n")?;
        answer.clear();
        from.read_line(answer)?;
        ensure!(answer == "{}\n", "the worker answered {answer:?}");
        Ok(())
    };
    // The first answer comes once the interpreter has started, which is not what is measured here.
    call(&mut answer)?;
    let start = Instant::now();
    for _ in 0..calls {
        call(&mut answer)?;
    }
    let elapsed = start.elapsed();
    drop(to);
    worker.wait()?;
    Ok(elapsed)
}
