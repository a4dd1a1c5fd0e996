//! The owner that deployments carry: the user, the host, and the process that is to remove them.

use std::fs;

use crate::derivation::stable_hash;

/// Digits of the hash that stands for the machine.
const MACHINE_DIGITS: usize = 8;

/// The owner that deployments carry unless [`RunOptions::with_owner`](crate::RunOptions::with_owner) names another:
/// `USER@HOST`, from the environment, and from the system where the environment says nothing.
pub fn user_and_host() -> String {
    let variable = |names: &[&str]| {
        names.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    };
    let user = variable(&["USER", "LOGNAME", "USERNAME"]).unwrap_or_else(system::user);
    let host = variable(&["HOSTNAME", "COMPUTERNAME"]).unwrap_or_else(system::host);
    format!("{user}@{host}")
}

/// `OWNER:PID.MACHINE`, so that a clean-up on the same machine can find out whether the process still runs. Unchanged
/// on systems that do not say which machine this is.
pub(super) fn with_process(owner: String) -> String {
    match machine() {
        Some(machine) => format!("{owner}:{}.{machine}", std::process::id()),
        None => owner,
    }
}

/// The owner without its process.
pub(crate) fn without_process(owner: &str) -> &str {
    parse(owner).map_or(owner, |(owner, _, _)| owner)
}

/// Whether the owner is a process of this machine that has ended. False where nobody can know.
pub(crate) fn has_ended(owner: &str) -> bool {
    let Some((_, pid, of_machine)) = parse(owner) else { return false };
    machine().is_some_and(|here| here == of_machine) && !system::is_running(pid)
}

fn parse(owner: &str) -> Option<(&str, u32, &str)> {
    let (owner, process) = owner.rsplit_once(':')?;
    let (pid, machine) = process.split_once('.')?;
    let is_machine = machine.len() == MACHINE_DIGITS
        && machine.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let pid = pid.parse().ok().filter(|pid| *pid > 0)?;
    is_machine.then_some((owner, pid, machine))
}

/// A hash of this boot of the machine and of the process namespace: containers of one host may share its name, and
/// each has processes of its own.
fn machine() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    let machine = format!("{}{}", boot.trim(), namespace.display());
    Some(format!("{:08x}", stable_hash(machine.as_bytes()) as u32))
}

#[cfg(unix)]
mod system {
    use rustix::io::Errno;
    use rustix::process::{Pid, getuid, test_kill_process};

    pub(super) fn user() -> String {
        format!("uid{}", getuid().as_raw())
    }

    pub(super) fn host() -> String {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    }

    pub(super) fn is_running(pid: u32) -> bool {
        let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return true };
        // Any other error, such as a missing permission, comes from a process that is there.
        test_kill_process(pid) != Err(Errno::SRCH)
    }
}

#[cfg(not(unix))]
mod system {
    pub(super) fn user() -> String {
        "unknown".to_owned()
    }

    pub(super) fn host() -> String {
        "unknown".to_owned()
    }

    pub(super) fn is_running(_: u32) -> bool {
        true
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn an_owner_whose_process_has_ended_is_known_on_its_own_machine_only() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let machine = machine().unwrap();
        let owner = format!("ada@host:{}.{machine}", child.id());
        assert!(!has_ended(&owner), "it still runs");
        assert_eq!(without_process(&owner), "ada@host");
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(has_ended(&owner));
        assert!(!has_ended(&format!("ada@host:{}.00000000", child.id())), "another machine");
        assert!(!has_ended(&with_process("ada@host".to_owned())), "this process runs");
        for unknown in ["ada@host", "ada@host:1", "ada@host:x.00000000", "ada@host:1.0", ""] {
            assert!(!has_ended(unknown) && without_process(unknown) == unknown, "{unknown}");
        }
    }

    #[test]
    fn the_system_knows_user_and_host() {
        let (user, host) = (system::user(), system::host());
        assert!(user.starts_with("uid") && user.len() > 3, "{user}");
        assert!(!host.is_empty() && !user_and_host().contains("unknown"));
    }
}
