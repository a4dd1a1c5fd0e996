//! Failures of a daemon, and what the user reads.

use falco_core::{Deployable, ErrorKind, Invocation, Payload, Platform};
use falco_docker::{DockerConfig, DockerPlatform};

use crate::daemon;

const ECHO: &str = "def main(args):\n    return args\n";

fn invocation(payload: &str) -> Invocation {
    Invocation::new("run", "stage", "1", Payload::from_bytes(payload.to_owned()).unwrap())
}

#[tokio::test]
async fn without_a_daemon_the_error_names_the_place_and_the_setting() {
    let config = DockerConfig::builder().host("unix:///nowhere/docker.sock").build().unwrap();
    let error = DockerPlatform::connect(config).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let text = error.to_string();
    assert!(text.contains("/nowhere/docker.sock") && text.contains("DOCKER_HOST"), "{text}");
}

#[tokio::test]
async fn an_image_that_is_not_there_is_named_where_nothing_may_be_pulled() {
    let Some(host) = daemon::host() else { return };
    let config = daemon::config(&host).await.image("python", "falco-test:none");
    let platform = DockerPlatform::connect(config.build().unwrap()).await.unwrap();
    let error = platform.deploy(&Deployable::python("f", ECHO)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let text = error.to_string();
    assert!(text.contains("falco-test:none") && text.contains("pull"), "{text}");
}

#[tokio::test]
async fn the_kernel_says_that_memory_ran_out() {
    let Some(host) = daemon::host() else { return };
    let platform =
        DockerPlatform::connect(daemon::config(&host).await.build().unwrap()).await.unwrap();
    let source = "def main(args):\n    return {'n': len(bytearray(int(args['mib']) << 20))}\n";
    let function = Deployable::python("docker-memory", source)
        .with_scaling(falco_core::Scaling::default().with_memory_mib(64));
    let deployment = platform.deploy(&function).await.unwrap();
    let activation = platform.invoke(&deployment, &invocation(r#"{"mib":200}"#)).await.unwrap();
    let error = activation.outcome.unwrap_err();
    assert_eq!(error.kind, falco_core::FunctionErrorKind::OutOfMemory, "{error:?}");
    let next = platform.invoke(&deployment, &invocation(r#"{"mib":1}"#)).await.unwrap();
    assert!(next.is_success());
    platform.remove(&deployment).await.unwrap();
}
