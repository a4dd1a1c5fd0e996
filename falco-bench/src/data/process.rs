//! Processes: their output and their processor time.

use std::fs;
use std::process::Command;

use anyhow::{Context, ensure};

/// The output of a program; an error when it fails.
pub(super) fn output(
    program: &str,
    with: impl FnOnce(&mut Command) -> &mut Command,
) -> anyhow::Result<String> {
    let mut command = Command::new(program);
    let output =
        with(&mut command).output().with_context(|| format!("{program} does not start"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} failed: {errors}");
    Ok(String::from_utf8(output.stdout)?)
}

/// Processor time of the processes that have ended and were waited for, in seconds.
pub(crate) fn children() -> anyhow::Result<f64> {
    stat(15..17)
}

/// Processor time of this process, in seconds.
pub(super) fn own() -> anyhow::Result<f64> {
    stat(13..15)
}

fn stat(fields: std::ops::Range<usize>) -> anyhow::Result<f64> {
    // proc_pid_stat(5); the name in parentheses may hold blanks.
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, rest) = stat.rsplit_once(')').context("/proc/self/stat has a name")?;
    let times = rest.split_whitespace().skip(fields.start - 2).take(fields.len());
    let ticks: f64 = times.map(|ticks| ticks.parse::<f64>().unwrap_or(0.0)).sum();
    Ok(ticks / 100.0)
}

/// Processor time of this process without that of the fake store's threads, in seconds.
pub(crate) fn own_without_store() -> anyhow::Result<f64> {
    let mut nanos = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        // A thread may end while it is looked at.
        let (Ok(name), Ok(text)) =
            (fs::read_to_string(task.join("comm")), fs::read_to_string(task.join("schedstat")))
        else {
            continue;
        };
        if name.trim() == falco_fakes::s3::THREAD {
            let own = text.split_whitespace().next().and_then(|text| text.parse::<u64>().ok());
            nanos += own.context("/proc has no schedstat")?;
        }
    }
    Ok(own()? - nanos as f64 / 1e9)
}
