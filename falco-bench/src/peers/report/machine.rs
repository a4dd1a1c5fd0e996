//! The machine that a report is about.

use std::fs;
use std::process::Command;

use serde::Serialize;

/// The facts that a reader needs to compare figures.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Machine {
    pub(super) processor: String,
    pub(super) processors: usize,
    pub(super) memory_gb: f64,
    pub(super) kernel: String,
    pub(super) date: String,
    /// Whether Falco was built for speed.
    pub(super) is_release: bool,
}

impl Machine {
    /// This machine, now.
    pub(super) fn here() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let date = Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]).output();
        let date = date.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        Self {
            processor: value(&read("/proc/cpuinfo"), "model name").unwrap_or("unknown").to_owned(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gb: kib(&read("/proc/meminfo")) * 1024.0 / 1e9,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            date: date.unwrap_or_default(),
            is_release: !cfg!(debug_assertions),
        }
    }

    /// One sentence.
    pub(super) fn sentence(&self) -> String {
        let Self { processor, processors, memory_gb, kernel, date, is_release } = self;
        let build =
            if *is_release { "" } else { "; Falco in the dev profile, whose figures do not count" };
        format!("{date}: {processors} x {processor}, {memory_gb:.0} GB, Linux {kernel}{build}.")
    }
}

fn kib(meminfo: &str) -> f64 {
    let total = value(meminfo, "MemTotal").and_then(|text| text.split_whitespace().next());
    total.and_then(|kib| kib.parse().ok()).unwrap_or_default()
}

/// The value of the first line `name : value`.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_proc_are_read() {
        let text = "processor\t: 0\nmodel name\t: A processor: 2 GHz\nMemTotal:  2048 kB\n";
        assert_eq!(value(text, "model name"), Some("A processor: 2 GHz"));
        assert_eq!(kib(text), 2048.0);
        assert_eq!(kib(""), 0.0);
    }
}
