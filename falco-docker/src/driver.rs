//! The process that starts containers and takes submissions, by a name that its containers and activations carry.

use std::fs;
use std::sync::LazyLock;

use falco_core::ActivationId;
use sha2::{Digest, Sha256};

/// The label of a container that says which process started it.
pub(crate) const DRIVER: &str = "falco.driver";

/// A hash of this boot of the machine and of the namespace of processes; none where the system does not say them.
static MACHINE: LazyLock<Option<String>> = LazyLock::new(|| {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    let hash = Sha256::digest(format!("{}{}", boot.trim(), namespace.display()));
    Some(hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect())
});

/// This process, as `MACHINE.PID`. The machine is empty where it is not known.
pub(crate) fn driver() -> String {
    let machine = MACHINE.as_deref().unwrap_or_default();
    format!("{machine}.{}", std::process::id())
}

/// Whether a driver of this machine has ended. False where that cannot be known.
pub(crate) fn has_ended(driver: &str) -> bool {
    let Some((machine, pid)) = driver.split_once('.') else { return false };
    let is_here = MACHINE.as_deref() == Some(machine);
    is_here && pid.parse().is_ok_and(|pid| !is_running(pid))
}

/// The prefix of the names of one platform's activations: the driver, and digits that no other platform of it has.
pub(crate) fn activations_of(driver: &str) -> String {
    format!("{driver}.{:08x}", fastrand::u32(..))
}

/// Whether the driver that took an activation has ended, and the activation with it.
pub(crate) fn has_ended_with(activation: &ActivationId) -> bool {
    activation.as_str().rsplit_once('.').is_some_and(|(driver, _)| has_ended(driver))
}

#[cfg(unix)]
fn is_running(pid: u32) -> bool {
    use rustix::io::Errno;
    use rustix::process::{Pid, test_kill_process};

    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return true };
    // `/proc` may hide the processes of other users. A missing permission comes from a process that is there.
    test_kill_process(pid) != Err(Errno::SRCH)
}

#[cfg(not(unix))]
fn is_running(_: u32) -> bool {
    true
}

#[cfg(all(test, unix))]
mod tests {
    use std::process::{Command, Stdio};

    use falco_workers::ActivationIds;

    use super::*;

    #[test]
    fn a_driver_has_ended_once_its_process_has_and_strangers_are_left_alone() {
        let Some(machine) = MACHINE.as_deref() else { return };
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let of_child = format!("{machine}.{}", child.id());
        let its = ActivationIds::new(activations_of(&of_child)).next();
        assert!(!has_ended(&of_child) && !has_ended_with(&its), "it still runs");
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(has_ended(&of_child) && has_ended_with(&its));
        let own = ActivationIds::new(activations_of(&driver())).next();
        assert!(!has_ended(&driver()) && !has_ended_with(&own), "this process runs");
        let of_another = format!("00000000.{}", child.id());
        for unknown in [&of_another, "", "nonsense", "0.0", &format!("{machine}.0")] {
            assert!(!has_ended(unknown), "{unknown}");
        }
        assert!(!has_ended_with(&ActivationId::new("0a1b2c3d-7")), "one without a driver");
    }

    #[test]
    fn a_process_that_this_user_may_not_signal_runs() {
        // It belongs to another user, unless the tests run as root.
        assert!(is_running(1));
    }
}
