//! How much memory a worker and the processes that it started hold.
//!
//! A limit of the address space would be the simpler way, and Node.js does not start under one: it reserves far more
//! than it uses.

use std::fs;
use std::path::Path;

/// Resident memory of a process and its descendants, in bytes. Pages that they share count for each of them.
pub(crate) fn resident(pid: i32) -> u64 {
    let page = rustix::param::page_size() as u64;
    family(pid).iter().map(|pid| resident_pages(*pid).unwrap_or(0) * page).sum()
}

/// The same with shared pages divided among those that share them. Slower: the kernel walks all pages.
pub(crate) fn proportional(pid: i32) -> u64 {
    family(pid).iter().map(|pid| proportional_bytes(*pid).unwrap_or(0)).sum()
}

fn family(pid: i32) -> Vec<i32> {
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(pid) = family.get(next) {
        family.extend(children(*pid));
        next += 1;
    }
    family
}

/// A child is listed under the thread that started it.
fn children(pid: i32) -> Vec<i32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = threads.flatten().filter_map(|thread| read(&thread.path().join("children")));
    lists
        .flat_map(|list| list.split_whitespace().flat_map(str::parse).collect::<Vec<_>>())
        .collect()
}

fn resident_pages(pid: i32) -> Option<u64> {
    let statm = read(format!("/proc/{pid}/statm").as_ref())?;
    statm.split_whitespace().nth(1)?.parse().ok()
}

fn proportional_bytes(pid: i32) -> Option<u64> {
    let rollup = read(format!("/proc/{pid}/smaps_rollup").as_ref())?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

/// A process that ends meanwhile holds nothing.
fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_is_counted_with_its_children() {
        let me = i32::try_from(std::process::id()).unwrap();
        assert!(resident(me) > 0 && proportional(me) > 0);

        let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        assert!(family(me).contains(&i32::try_from(child.id()).unwrap()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
