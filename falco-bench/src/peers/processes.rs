//! The processes of a contender: its descendants, and those that carry its mark though their parents have ended.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::memory;

/// Set in all contenders, to the folder of the bench: processes that lost their parents are known by it.
pub(super) const MARK: &str = "FALCO_BENCH_PEERS";

/// The process and its descendants, and those that carry the mark.
pub(super) fn tree(root: Option<u32>, folder: &Path) -> BTreeSet<u32> {
    let mark = format!("{MARK}={}", folder.display());
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let mut open: Vec<u32> = root.into_iter().collect();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        if let Some(parent) = parent(id) {
            children.entry(parent).or_default().push(id);
        }
        if id != std::process::id() && carries(id, &mark) {
            open.push(id);
        }
    }
    let mut found = BTreeSet::new();
    while let Some(process) = open.pop() {
        if found.insert(process) {
            open.extend(children.remove(&process).unwrap_or_default());
        }
    }
    found
}

/// The sum of their proportional set sizes, in bytes. Processes that end while they are looked at count nothing.
pub(super) fn memory(processes: &BTreeSet<u32>) -> f64 {
    processes.iter().map(|process| memory::pss(*process).unwrap_or_default()).sum()
}

/// Ends every process that carries the mark, with its descendants.
pub(super) fn end_all(folder: &Path) {
    end(&tree(None, folder));
    // Those that were just being started.
    for _ in 0..10 {
        let left = tree(None, folder);
        if left.is_empty() {
            return;
        }
        end(&left);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Ends these processes. Some may have ended already.
pub(super) fn end(processes: &BTreeSet<u32>) {
    if processes.is_empty() {
        return;
    }
    let ids: Vec<String> = processes.iter().map(u32::to_string).collect();
    let command = format!("kill -9 {} 2>/dev/null", ids.join(" "));
    // Nothing is left to do where it fails: the next run ends what is left.
    let _ = Command::new("sh").args(["-c", &command]).status();
}

fn parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    parent_in(&stat)
}

/// The parent in proc_pid_stat(5), where the name in parentheses may hold anything.
fn parent_in(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

fn carries(process: u32, mark: &str) -> bool {
    let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_behind_a_name_with_blanks_and_parentheses() {
        assert_eq!(parent_in("12 (a (b) 7 c) S 34 12 0"), Some(34));
        assert_eq!(parent_in("12"), None);
    }
}
