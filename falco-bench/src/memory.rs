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
    thread: std::thread::JoinHandle<Sampled>,
}

/// The largest sizes that were seen, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sampled {
    /// The sum of all proportional set sizes.
    pub(crate) sum: f64,
    /// The peak resident size of a descendant that runs another executable.
    pub(crate) largest_child: f64,
}

impl TreeSampler {
    /// Begins to sample.
    pub(crate) fn start() -> Self {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let mut peak = Sampled::default();
            while stopped.recv_timeout(Duration::from_millis(50))
                == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
            {
                let now = sample();
                peak.sum = peak.sum.max(now.sum);
                peak.largest_child = peak.largest_child.max(now.largest_child);
            }
            peak
        });
        Self { stop, thread }
    }

    /// The largest sum seen, in bytes.
    pub(crate) fn finish(self) -> anyhow::Result<f64> {
        self.finish_with_children().map(|sampled| sampled.sum)
    }

    /// The largest sizes seen, that of a single descendant among them.
    pub(crate) fn finish_with_children(self) -> anyhow::Result<Sampled> {
        drop(self.stop);
        self.thread.join().ok().context("the memory sampler panicked")
    }
}

/// Processes that end while they are looked at count nothing.
fn sample() -> Sampled {
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
    // Between fork and exec a child still runs this executable, and its peak is this process's.
    let executable = |process: u32| fs::read_link(format!("/proc/{process}/exe")).ok();
    let own = executable(std::process::id());
    let mut sampled = Sampled::default();
    let mut open = vec![std::process::id()];
    while let Some(process) = open.pop() {
        sampled.sum += pss(process).unwrap_or_default();
        if executable(process) != own {
            let kib = status_kib(&process.to_string(), "VmHWM:").unwrap_or_default();
            sampled.largest_child = sampled.largest_child.max(kib * 1024.0);
        }
        open.extend(children.remove(&process).unwrap_or_default());
    }
    sampled
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
