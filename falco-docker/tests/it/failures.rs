//! Failures of a daemon, and what the user reads: each row of the table in `docs/containers.md`.

use falco_core::{
    Deployable, Error, ErrorKind, FunctionErrorKind, Invocation, Payload, Platform, Scaling,
};
use falco_docker::{DockerConfig, DockerPlatform, Pull};
use serde_json::json;

use crate::{daemon, fake, image};

const ECHO: &str = "def main(args):\n    return args\n";

fn invocation(payload: &str) -> Invocation {
    Invocation::new("run", "stage", "1", Payload::from_bytes(payload.to_owned()).unwrap())
}

/// The error of deploying a function in `image` on a daemon that gives these answers.
async fn refused(image: &str, pull: Pull, answers: Vec<fake::Answer>) -> Error {
    let host = fake::daemon(answers).await;
    let config = DockerConfig::builder().host(host).pull(pull).image("python", image);
    let platform = DockerPlatform::connect(config.build().unwrap()).await.unwrap();
    platform.deploy(&Deployable::python("f", ECHO)).await.unwrap_err()
}

fn assert_says(error: &Error, kind: ErrorKind, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} in {text}");
    }
}

#[tokio::test]
async fn without_a_daemon_the_error_names_the_place_and_the_setting() {
    let config = DockerConfig::builder().host("unix:///nowhere/docker.sock").build().unwrap();
    let error = DockerPlatform::connect(config).await.unwrap_err();
    assert_says(&error, ErrorKind::Unavailable, &["/nowhere/docker.sock", "DOCKER_HOST"]);
    assert!(error.is_unreachable() && !error.may_have_run());
}

#[tokio::test]
async fn an_image_that_is_not_there_is_named_where_nothing_may_be_pulled() {
    let error = refused("science:1", Pull::Never, vec![]).await;
    assert_says(&error, ErrorKind::NotFound, &["science:1", "pull"]);
}

#[tokio::test]
async fn a_daemon_without_a_network_has_no_image_and_the_error_says_how_to_do_without() {
    let message = "Get \"https://registry-1.docker.io/v2/\": dial tcp: lookup registry-1.docker.io: no such host";
    let answers = vec![("POST", "/images/create", 500, json!({"message": message}))];
    let error = refused("science:1", Pull::Missing, answers).await;
    assert_says(&error, ErrorKind::NotFound, &["science:1", "no such host", "FALCO_DOCKER_PULL"]);
}

#[tokio::test]
async fn a_registry_that_refuses_is_named_with_the_place_of_credentials() {
    let message = "Head \"https://ghcr.io/v2/me/science/manifests/1\": unauthorized";
    let answers = vec![("POST", "/images/create", 500, json!({"message": message}))];
    let error = refused("ghcr.io/me/science:1", Pull::Missing, answers).await;
    let words = ["ghcr.io/me/science:1", "docker login ghcr.io", "config.json"];
    assert_says(&error, ErrorKind::Unauthorized, &words);
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn an_image_for_another_processor_is_refused_when_the_function_is_deployed() {
    let image = json!({"Id": "sha256:01", "Architecture": "arm64"});
    let error = refused("science:1", Pull::Never, vec![("GET", "/images/", 200, image)]).await;
    assert_says(&error, ErrorKind::InvalidInput, &["science:1", "arm64", "amd64"]);
}

#[tokio::test]
async fn a_full_disk_of_the_daemon_is_said_with_how_to_make_room() {
    let message = "write /var/lib/docker/tmp: no space left on device";
    let answers = vec![
        ("GET", "/images/falco-function", 404, json!({"message": "No such image"})),
        ("GET", "/images/", 200, json!({"Id": "sha256:01", "Architecture": "amd64"})),
        ("POST", "/containers/create", 500, json!({"message": message})),
    ];
    let error = refused("science:1", Pull::Never, answers).await;
    assert_says(&error, ErrorKind::Unavailable, &["no space left", "docker system prune"]);
}

#[tokio::test]
async fn memory_below_what_a_container_takes_is_refused_with_the_least() {
    let config = DockerConfig::builder().host(fake::daemon(vec![]).await).build().unwrap();
    let platform = DockerPlatform::connect(config).await.unwrap();
    let small = Scaling::default().with_memory_mib(4);
    let error = platform.deploy(&Deployable::python("f", ECHO).with_scaling(small)).await;
    assert_says(&error.unwrap_err(), ErrorKind::InvalidInput, &["4 MiB", "16"]);
}

#[tokio::test]
async fn an_image_without_an_interpreter_or_with_another_one_is_refused_with_what_is_there() {
    let Some(host) = daemon::host() else { return };
    image::make_bare(&daemon::docker(&host).await).await;
    let config = daemon::config(&host).await.build().unwrap();
    let platform = DockerPlatform::connect(config).await.unwrap();
    let bare = Deployable::python("docker-bare", ECHO).with_image(image::BARE);
    let error = platform.deploy(&bare).await.unwrap_err();
    assert_says(&error, ErrorKind::InvalidInput, &[image::BARE, "python:3", "not found"]);
    let newer = Deployable::from_source("docker-newer", "python:3.99".parse().unwrap(), ECHO);
    let error = platform.deploy(&newer).await.unwrap_err();
    assert_says(&error, ErrorKind::InvalidInput, &["python3 3.", "python:3.99 was asked for"]);
    // What was refused has left nothing.
    for name in ["docker-bare", "docker-newer"] {
        let error = platform.fetch_deployment(name).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}

#[tokio::test]
async fn the_kernel_says_that_memory_ran_out() {
    let Some(host) = daemon::host() else { return };
    let platform =
        DockerPlatform::connect(daemon::config(&host).await.build().unwrap()).await.unwrap();
    let source = "def main(args):\n    return {'n': len(bytearray(int(args['mib']) << 20))}\n";
    let function = Deployable::python("docker-memory", source)
        .with_scaling(Scaling::default().with_memory_mib(64));
    let deployment = platform.deploy(&function).await.unwrap();
    let activation = platform.invoke(&deployment, &invocation(r#"{"mib":200}"#)).await.unwrap();
    let error = activation.outcome.unwrap_err();
    assert_eq!(error.kind, FunctionErrorKind::OutOfMemory, "{error:?}");
    let next = platform.invoke(&deployment, &invocation(r#"{"mib":1}"#)).await.unwrap();
    assert!(next.is_success());
    platform.remove(&deployment).await.unwrap();
}
