//! Looking after a running activation: is it wanted still, how much memory does it hold, and where does it run.

use std::fmt;
use std::time::SystemTime;

use falco_core::{FunctionError, FunctionErrorKind};
use falco_workers::Job;
use rustix::process::Pid;

use crate::memory;
use crate::process::Process;

const MIB: u64 = 1024 * 1024;

/// Without a memory limit, the memory is only recorded, and looked at less often.
const LOOKS_PER_SAMPLE: u32 = 8;

/// A process, distinguished from others that had the same id before it or get it later.
#[derive(Clone, Copy)]
pub(crate) struct Container {
    group: Pid,
    pub(crate) booted_at: SystemTime,
}

impl Container {
    pub(crate) fn of(process: &Process) -> Self {
        Self { group: process.group(), booted_at: process.booted_at() }
    }
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let booted = self.booted_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        write!(f, "{}@{}", self.group.as_raw_pid(), booted.as_millis())
    }
}

/// Looks after a running activation.
pub(crate) struct Watch<'a> {
    job: Option<&'a Job>,
    memory_mib: Option<u32>,
    looks: u32,
    pub(crate) peak: u64,
    over: Option<u64>,
    pub(crate) container: Option<Container>,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(job: Option<&'a Job>, memory_mib: Option<u32>) -> Self {
        Self { job, memory_mib, looks: 0, peak: 0, over: None, container: None }
    }

    /// Whether the activation may go on.
    pub(crate) fn look(&mut self, group: Pid) -> bool {
        if self.job.is_some_and(Job::is_unwanted) {
            return false;
        }
        let is_due = self.memory_mib.is_some() || self.looks.is_multiple_of(LOOKS_PER_SAMPLE);
        self.looks = self.looks.wrapping_add(1);
        if !is_due {
            return true;
        }
        let pid = group.as_raw_pid();
        let mut held = memory::resident(pid);
        let limit = self.memory_mib.map(|mib| u64::from(mib) * MIB);
        if limit.is_some_and(|limit| held > limit) {
            // Forked children share most of their pages with their parent: a closer look before it is ended.
            held = memory::proportional(pid);
            self.over = limit.filter(|limit| held > *limit).map(|_| held);
        }
        self.peak = self.peak.max(held);
        self.over.is_none()
    }

    pub(crate) fn out_of_memory(&self) -> Option<FunctionError> {
        let held = self.over?.div_ceil(MIB);
        let granted = self.memory_mib?;
        Some(FunctionError::new(
            FunctionErrorKind::OutOfMemory,
            format!("it held {held} MiB, and {granted} MiB are granted by memory_mib"),
        ))
    }
}
