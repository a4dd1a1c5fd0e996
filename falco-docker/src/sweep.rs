//! Containers whose driver is gone. They end with their driver, unless a function is busy and does not look.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use bollard::Docker;
use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};

/// The label of a container that says which process started it.
pub(crate) const DRIVER: &str = "falco.driver";

/// `BOOT.NAMESPACE.PID`: the boot of the machine, the namespace of processes, and the process. Unknown parts are empty,
/// as on systems without `/proc`.
pub(crate) fn driver() -> String {
    format!("{}.{}", machine(), std::process::id())
}

fn machine() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    format!("{}.{}", boot.trim(), namespace.display())
}

/// Whether a driver of this machine has ended. False where that cannot be known.
fn has_ended(driver: &str) -> bool {
    let Some((of, pid)) = driver.rsplit_once('.') else { return false };
    let here = machine();
    !here.starts_with('.') && of == here && !Path::new("/proc").join(pid).exists()
}

/// Removes containers whose driver is gone.
pub(crate) async fn sweep(docker: &Docker) -> Result<(), bollard::errors::Error> {
    let filters = HashMap::from([("label", vec![DRIVER])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    for container in docker.list_containers(Some(options)).await? {
        let driver = container.labels.as_ref().and_then(|labels| labels.get(DRIVER));
        let (Some(id), Some(driver)) = (&container.id, driver) else { continue };
        if has_ended(driver) {
            remove(docker, id).await;
        }
    }
    Ok(())
}

/// Removes the containers of a function, also those of other processes.
pub(crate) async fn remove_all_of(
    docker: &Docker,
    function: &str,
) -> Result<(), bollard::errors::Error> {
    let label = format!("{}={function}", crate::images::NAME);
    let filters = HashMap::from([("label", vec![label])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    for container in docker.list_containers(Some(options)).await? {
        if let Some(id) = &container.id {
            remove(docker, id).await;
        }
    }
    Ok(())
}

/// Ends a container and removes it. One that is on its way out is left to the daemon.
pub(crate) async fn remove(docker: &Docker, container: &str) {
    let options = RemoveContainerOptionsBuilder::new().force(true).build();
    if let Err(error) = docker.remove_container(container, Some(options)).await {
        tracing::debug!(%error, container, "a container was not removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_runs_here_has_not_ended_and_strangers_are_left_alone() {
        assert!(!has_ended(&driver()));
        assert!(!has_ended("another-boot.pid:[1].999999999"));
        assert!(!has_ended("nonsense"));
        if Path::new("/proc/self").exists() {
            assert!(has_ended(&format!("{}.999999999", machine())));
        }
    }
}
