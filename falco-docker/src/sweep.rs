//! Containers whose driver is gone. They end with their driver, unless a function is busy and does not look.

use std::collections::HashMap;

use bollard::Docker;
use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};

use crate::driver::{DRIVER, has_ended};

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
