//! A daemon whose disk is full, and one that runs 64 containers.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use bollard::Docker;
use falco_core::{Deployable, Error, ErrorKind, Invocation, Payload, Platform, Scaling};
use falco_docker::{DockerConfig, DockerPlatform, Isolation, Mount, Pull};
use futures_util::future;

use crate::faults::until;
use crate::own_daemon::OwnDaemon;
use crate::{daemon, image};

/// A function in shell, since the image has nothing else.
const ANSWERS: &str = "#!/bin/sh
while read -r line; do echo '{}' >&3; done
";

/// A function that makes a file of its own, and answers when it has read a line from `gate`.
const MEETS: &str = "#!/bin/sh
while read -r line; do
    read -r id < /proc/sys/kernel/random/uuid
    : > /seen/$id
    read -r go < /seen/gate
    echo '{}' >&3
done
";

pub(crate) fn function(name: &str, source: &str) -> Deployable {
    Deployable::from_source(name, "native".parse().unwrap(), source)
}

fn invocation() -> Invocation {
    Invocation::new("run", "stage", "1", Payload::empty())
}

/// A platform on a daemon of any kind, whose functions see a folder as `/seen`.
pub(crate) async fn platform(host: &str, isolation: Isolation, seen: &Path) -> DockerPlatform {
    let docker = Docker::connect_with_host(host).unwrap().negotiate_version().await.unwrap();
    image::make_bare(&docker).await;
    let isolation = isolation.with_mount(Mount::writable(seen.to_str().unwrap(), "/seen"));
    let config = DockerConfig::builder().host(host).pull(Pull::Never).isolation(isolation);
    let config = config.image("native", image::BARE).build().unwrap();
    DockerPlatform::connect(config).await.unwrap()
}

/// The error of a call that was not sent, since the daemon could not start a container.
pub(crate) fn assert_not_run(error: &Error) {
    assert!(error.kind() == ErrorKind::Unavailable && !error.may_have_run(), "{error:?}");
}

/// Fills a disk, and returns the file that takes the room.
fn fill(disk: &Path) -> PathBuf {
    let path = disk.join("filler");
    let mut file = File::create(&path).unwrap();
    let zeros = vec![0; 1 << 16];
    while file.write_all(&zeros).is_ok() {}
    path
}

#[tokio::test]
async fn a_full_disk_of_a_daemon_is_unavailable_and_calls_go_on_when_there_is_room() {
    let Some(own) = OwnDaemon::start() else { return };
    let seen = tempfile::tempdir().unwrap();
    let platform = platform(&own.host(), Isolation::default(), seen.path()).await;
    let deployment = platform.deploy(&function("before", ANSWERS)).await.unwrap();
    let filler = fill(&own.disk());
    let error = platform.deploy(&function("full", ANSWERS)).await.unwrap_err();
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{text}");
    assert!(text.contains("no space left") && text.contains("docker system prune"), "{text}");
    let error = platform.invoke(&deployment, &invocation()).await.unwrap_err();
    assert_not_run(&error);
    assert!(error.to_string().contains("docker system prune"), "{error}");
    fs::remove_file(filler).unwrap();
    let answered = platform.invoke(&deployment, &invocation()).await.unwrap();
    assert!(answered.is_success(), "{answered:?}");
    platform.remove(&deployment).await.unwrap();
}

#[tokio::test]
async fn sixty_four_containers_run_at_once() {
    const COUNT: usize = 64;
    let Some(host) = daemon::host() else { return };
    let seen = tempfile::tempdir().unwrap();
    let gate = seen.path().join("gate");
    assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
    // This machine's network: 64 of their own would take longer than all else.
    let isolation = Isolation::default().with_network("host");
    let platform = platform(&host, isolation, seen.path()).await;
    let scaling = Scaling::default().with_max_instances(u32::try_from(COUNT).unwrap());
    let function = function("docker-many", MEETS).with_scaling(scaling);
    let deployment = platform.deploy(&function).await.unwrap();
    let calls = (0..COUNT).map(async |_| {
        let activation = platform.invoke(&deployment, &invocation()).await.unwrap();
        assert!(activation.is_success(), "{activation:?}");
        activation.container.unwrap()
    });
    // Each has made its file, and waits: all of them run.
    let open = async {
        let met = async || fs::read_dir(seen.path()).unwrap().count() == COUNT + 1;
        until("the start of all containers", met).await;
        // Opened for both, it waits for nobody.
        let mut gate = File::options().read(true).write(true).open(gate).unwrap();
        gate.write_all(&[b'\n'; COUNT]).unwrap();
        gate
    };
    // The gate stays open until the last has read its line.
    let (containers, _gate) = future::join(future::join_all(calls), open).await;
    assert_eq!(containers.into_iter().collect::<HashSet<_>>().len(), COUNT);
    platform.remove(&deployment).await.unwrap();
}
