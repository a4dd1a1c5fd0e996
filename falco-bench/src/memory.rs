//! The memory of a process, or of a tree of processes, and the processor time of this one.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use anyhow::Context;

/// The largest resident size that this process had so far, in bytes.
pub(crate) fn peak() -> anyhow::Result<f64> {
    status_kib("self", "VmHWM:").map(|kib| kib * 1024.0)
}

/// Forgets the largest resident size so far: what follows is measured by itself.
pub(crate) fn reset_peak() -> anyhow::Result<()> {
    // proc_pid_clear_refs(5): writing 5 resets the peak resident set size.
    fs::write("/proc/self/clear_refs", "5").context("the peak memory cannot be reset")
}

/// The resident size of this process now, in bytes.
pub(crate) fn resident() -> anyhow::Result<f64> {
    status_kib("self", "VmRSS:").map(|kib| kib * 1024.0)
}

/// The processor time of this process so far, of all its threads.
pub(crate) fn cpu() -> anyhow::Result<Duration> {
    let mut nanos = 0;
    for task in fs::read_dir("/proc/self/task")? {
        // A thread may end while it is looked at.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        let own = text.split_whitespace().next().and_then(|text| text.parse::<u64>().ok());
        nanos += own.context("/proc has no schedstat")?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// Samples the proportional set size of this process and its descendants until dropped.
#[derive(Debug)]
pub(crate) struct TreeSampler {
    stop: std::sync::mpsc::Sender<()>,
    thread: std::thread::JoinHandle<f64>,
}

impl TreeSampler {
    /// Begins to sample.
    pub(crate) fn start() -> Self {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let mut peak = 0.0_f64;
            while stopped.recv_timeout(Duration::from_millis(50))
                == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
            {
                peak = peak.max(tree_pss());
            }
            peak
        });
        Self { stop, thread }
    }

    /// The largest sum seen, in bytes.
    pub(crate) fn finish(self) -> anyhow::Result<f64> {
        drop(self.stop);
        self.thread.join().ok().context("the memory sampler panicked")
    }
}

/// Processes that end while they are looked at count nothing.
fn tree_pss() -> f64 {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        if let Ok(parent) = status_kib(&id.to_string(), "PPid:") {
            children.entry(parent as u32).or_default().push(id);
        }
    }
    let mut sum = 0.0;
    let mut open = vec![std::process::id()];
    while let Some(process) = open.pop() {
        sum += pss(process).unwrap_or_default();
        open.extend(children.remove(&process).unwrap_or_default());
    }
    sum
}

/// The proportional set size of a process, in bytes: what it shares counts in parts.
pub(crate) fn pss(process: u32) -> anyhow::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    field(&text, "Pss:").map(|kib| kib * 1024.0)
}

fn status_kib(process: &str, name: &str) -> anyhow::Result<f64> {
    field(&fs::read_to_string(format!("/proc/{process}/status"))?, name)
}

fn field(text: &str, name: &str) -> anyhow::Result<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.split_whitespace().next());
    Ok(value.with_context(|| format!("/proc has no {name}"))?.parse()?)
}
