//! Faults: a daemon that ends or hangs in mid-run, a driver that is killed, an image that is removed under its containers.

#![expect(clippy::print_stdout, reason = "a driver says that it is ready")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bollard::Docker;
use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveImageOptionsBuilder};
use falco_core::{
    ActivationId, AsyncPlatform, Deployable, Deployment, ErrorKind, Invocation, Payload, Pending,
    Platform, Scaling,
};
use falco_docker::{DockerPlatform, Isolation, Mount, WorkerLimits};
use falco_testkit::{Line, TcpProxy};
use serde_json::{Value, json};

use crate::daemon;

const ECHO: &str = "def main(args):\n    return args\n";

/// How long anything here may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn invocation(argument: &Value) -> Invocation {
    Invocation::new("run", "stage", "1", Payload::json(argument).unwrap())
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < PATIENCE, "{what} takes more than {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn containers_of(docker: &Docker, function: &str) -> usize {
    let filters = HashMap::from([("label", vec![format!("falco.name={function}")])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    docker.list_containers(Some(options)).await.map_or(usize::MAX, |all| all.len())
}

/// Names the daemon to the process that is killed.
const DRIVER: &str = "FALCO_TEST_DRIVER";

/// Not a test of its own, but the process that is killed by the next one.
#[tokio::test]
async fn a_driver_for_the_test_that_kills_it() {
    let Ok(host) = std::env::var(DRIVER) else { return };
    let config = daemon::config(&host).await.build().unwrap();
    let platform = DockerPlatform::connect(config).await.unwrap();
    let function = Deployable::python("docker-orphan", ECHO);
    let deployment = platform.deploy(&function).await.unwrap();
    platform.invoke(&deployment, &invocation(&json!({}))).await.unwrap();
    println!("ready");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_driver_that_is_killed_leaves_no_container() {
    let Some(host) = daemon::host() else { return };
    let docker = daemon::docker(&host).await;
    let mut driver = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "faults::a_driver_for_the_test_that_kills_it", "--nocapture"])
        .env(DRIVER, &host)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(driver.stdout.take().unwrap());
    let is_ready = tokio::task::spawn_blocking(move || {
        output.lines().map_while(Result::ok).any(|line| line.contains("ready"))
    });
    assert!(is_ready.await.unwrap(), "the driver ended before it was ready");
    assert_eq!(containers_of(&docker, "docker-orphan").await, 1);
    driver.kill().unwrap();
    driver.wait().unwrap();
    until("the end of the container", async || containers_of(&docker, "docker-orphan").await == 0)
        .await;
    let config = daemon::config(&host).await.build().unwrap();
    let platform = DockerPlatform::connect(config).await.unwrap();
    let deployment = platform.fetch_deployment("docker-orphan").await.unwrap();
    platform.remove(&deployment).await.unwrap();
}

/// Makes a file that shows that it runs, and then sleeps for `s` seconds.
const SEEN: &str = "
import time
def main(args):
    open('/seen/it', 'w').close()
    time.sleep(args['s'])
    return {}
";

/// The address of the daemon behind a proxy.
fn address_of(proxy: &TcpProxy) -> String {
    proxy.url().replace("http://", "tcp://")
}

/// A platform on a line that can be cut, a deployment of [`SEEN`] whose containers are warm, and the folder for the file.
async fn on_a_line(
    host: &str,
    name: &str,
    timeout: Duration,
) -> (TcpProxy, Arc<DockerPlatform>, Deployment, tempfile::TempDir) {
    let seen = tempfile::tempdir().unwrap();
    let mount = Mount::writable(seen.path().to_str().unwrap(), "/seen");
    drop(daemon::docker(host).await);
    // The daemon itself goes on for the other tests.
    let proxy = TcpProxy::start(host).await.unwrap();
    let workers = WorkerLimits::default().with_max_workers(1);
    let config = daemon::config(&address_of(&proxy)).await.workers(workers);
    let config = config.isolation(Isolation::default().with_mount(mount)).answer_timeout(timeout);
    let platform = Arc::new(DockerPlatform::connect(config.build().unwrap()).await.unwrap());
    let deployment = platform.deploy(&Deployable::python(name, SEEN)).await.unwrap();
    let warm = platform.invoke(&deployment, &invocation(&json!({"s": 0}))).await.unwrap();
    assert!(warm.is_success(), "{warm:?}");
    std::fs::remove_file(seen.path().join("it")).unwrap();
    (proxy, platform, deployment, seen)
}

#[tokio::test]
async fn a_daemon_that_ends_in_mid_run_is_unavailable_and_calls_go_on_when_it_is_back() {
    let Some(host) = daemon::host() else { return };
    let (proxy, platform, deployment, seen) = on_a_line(&host, "docker-cut", PATIENCE).await;
    let call = {
        let (platform, deployment) = (platform.clone(), deployment.clone());
        tokio::spawn(
            async move { platform.invoke(&deployment, &invocation(&json!({"s": 100}))).await },
        )
    };
    until("the call's start", async || seen.path().join("it").exists()).await;
    proxy.set(Line::Cut);
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.may_have_run() && error.is_unreachable(), "{error:?}");
    // What could not be sent has not run.
    let error = platform.invoke(&deployment, &invocation(&json!({"s": 0}))).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Unavailable && !error.may_have_run(), "{error:?}");
    proxy.set(Line::Up);
    until("a call's answer", async || {
        let called = platform.invoke(&deployment, &invocation(&json!({"s": 0}))).await;
        called.is_ok_and(|activation| activation.is_success())
    })
    .await;
    platform.remove(&deployment).await.unwrap();
}

#[tokio::test]
async fn a_daemon_that_answers_no_more_is_an_error_of_every_operation_and_no_endless_wait() {
    let Some(host) = daemon::host() else { return };
    let (proxy, patient, deployment, _seen) = on_a_line(&host, "docker-hung", PATIENCE).await;
    let config = daemon::config(&address_of(&proxy)).await.answer_timeout(Duration::from_secs(3));
    let platform = DockerPlatform::connect(config.build().unwrap()).await.unwrap();
    // It has no container of the function, and so a call needs the daemon.
    platform.fetch_deployment("docker-hung").await.unwrap();
    proxy.set(Line::Hung);
    let short = Scaling::default().with_timeout(Duration::from_secs(1));
    let function = Deployable::python("docker-hung", SEEN);
    let call = invocation(&json!({"s": 0}));
    let (called, listed, fetched, deployed, scaled) = tokio::join!(
        platform.invoke(&deployment, &call),
        platform.list_deployments(),
        platform.fetch_deployment("docker-other"),
        platform.deploy(&function),
        platform.scale(&deployment, &short),
    );
    let error = called.unwrap_err();
    assert!(error.kind() == ErrorKind::Timeout && !error.may_have_run(), "{error:?}");
    assert!(error.to_string().contains("did not answer in time"), "{error}");
    let others = [listed.map(drop), fetched.map(drop), deployed.map(drop), scaled.map(drop)];
    for other in others {
        assert_eq!(other.unwrap_err().kind(), ErrorKind::Timeout);
    }
    assert_eq!(platform.remove(&deployment).await.unwrap_err().kind(), ErrorKind::Timeout);
    proxy.set(Line::Up);
    patient.remove(&deployment).await.unwrap();
}

#[tokio::test]
async fn an_image_that_is_removed_under_its_containers_is_not_found_once_they_are_gone() {
    let Some(host) = daemon::host() else { return };
    let docker = daemon::docker(&host).await;
    let workers = WorkerLimits::default().with_max_workers(1);
    let config = daemon::config(&host).await.workers(workers).build().unwrap();
    let platform = DockerPlatform::connect(config).await.unwrap();
    let source = "import os\ndef main(args):\n    if args.get('end'):\n        os._exit(3)\n    return args\n";
    let deployment = platform.deploy(&Deployable::python("docker-gone", source)).await.unwrap();
    platform.invoke(&deployment, &invocation(&json!({}))).await.unwrap();
    let options = RemoveImageOptionsBuilder::new().force(true).build();
    docker.remove_image("falco-function:docker-gone", Some(options), None).await.unwrap();
    // The container that is there goes on.
    let warm = platform.invoke(&deployment, &invocation(&json!({"n": 1}))).await.unwrap();
    assert!(warm.is_success());
    platform.invoke(&deployment, &invocation(&json!({"end": true}))).await.unwrap();
    let outcome = platform.invoke(&deployment, &invocation(&json!({}))).await;
    // Some daemons keep the layers of an image as long as somebody has a container of it.
    if let Err(error) = outcome {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    let _ = platform.remove(&deployment).await;
    until("the end of the containers", async || containers_of(&docker, "docker-gone").await == 0)
        .await;
}

#[tokio::test]
async fn a_submission_to_a_driver_that_has_ended_is_known_to_be_lost() {
    let Some(host) = daemon::host() else { return };
    let platform =
        DockerPlatform::connect(daemon::config(&host).await.build().unwrap()).await.unwrap();
    let deployment = platform.deploy(&Deployable::python("docker-lost", ECHO)).await.unwrap();
    let own = platform.submit(&deployment, &invocation(&json!({}))).await.unwrap();
    let mut child =
        Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    // Its id, as another driver on this machine would have given it.
    let [machine, _, number] = *own.id.as_str().split('.').collect::<Vec<_>>() else {
        panic!("{}", own.id);
    };
    let of_child = ActivationId::new(format!("{machine}.{}.{number}", child.id()));
    let lost = [Pending::new(of_child.clone(), SystemTime::now())];
    let collected = platform.collect(&deployment, &lost).await.unwrap();
    assert!(collected.gone.is_empty(), "its driver runs: {collected:?}");
    drop(child.stdin.take());
    child.wait().unwrap();
    let collected = platform.collect(&deployment, &lost).await.unwrap();
    let gone: Vec<_> = collected.gone.iter().map(|(id, error)| (id, error.kind())).collect();
    assert_eq!(gone, [(&of_child, ErrorKind::Lost)]);
    platform.remove(&deployment).await.unwrap();
}

#[tokio::test]
async fn output_without_end_is_cut_and_the_call_still_answers() {
    let Some(host) = daemon::host() else { return };
    let workers = WorkerLimits::default().with_max_workers(1).with_max_log(100_000);
    let config = daemon::config(&host).await.workers(workers).build().unwrap();
    let platform = DockerPlatform::connect(config).await.unwrap();
    let source = "def main(args):\n    for n in range(200000):\n        print('line', n)\n    return {'n': n}\n";
    let deployment = platform.deploy(&Deployable::python("docker-endless", source)).await.unwrap();
    let activation = platform.invoke(&deployment, &invocation(&json!({}))).await.unwrap();
    assert!(activation.is_success(), "{activation:?}");
    let logs =
        platform.activation_log(&deployment, std::slice::from_ref(&activation.id)).await.unwrap();
    assert!(logs[0].truncated && logs[0].lines[0].text == "line 0", "{:?}", logs[0].lines.len());
    platform.remove(&deployment).await.unwrap();
}
