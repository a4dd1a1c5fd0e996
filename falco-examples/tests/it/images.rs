//! The examples with `--image`: on platforms that run code in images, and on those that refuse to.

use falco_fakes::openfaas::{FAKE_IMAGE, FAKE_PASSWORD};
use falco_fakes::{FakeAws, FakeGcp, FakeOpenFaas, FakeOpenWhisk};

use crate::program::{Machine, command, has};
use crate::remote::{on_aws, on_gcp, on_openwhisk, run};
use crate::{daemon, image};

const IMAGE: &str = "me/science:1";

/// The hint of platforms that run no images.
const ELSEWHERE: &str = "docker, openwhisk or aws";

#[tokio::test(flavor = "multi_thread")]
async fn hello_in_an_image_is_a_blackbox_action_with_code_on_openwhisk() {
    if !has("python3") {
        return;
    }
    let fake = FakeOpenWhisk::start();
    let mut hello = on_openwhisk("hello", fake.url());
    hello.args(["--image", "me/action-python:1", "--keep", "Ada"]);
    assert_eq!(run(hello).await.ok(), "Hello Ada!\n");
    let actions = fake.actions();
    assert_eq!(actions.len(), 1, "{actions:?}");
    let exec = &fake.action(&actions[0]).unwrap()["exec"];
    assert_eq!((&exec["kind"], &exec["image"]), (&"blackbox".into(), &"me/action-python:1".into()));
    assert!(exec["code"].as_str().is_some_and(|code| !code.is_empty()), "{exec}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hello_runs_in_the_image_that_is_named_on_docker() {
    let Some(host) = daemon::host() else { return };
    drop(daemon::docker(&host).await);
    let mut hello = command("hello");
    hello.env("DOCKER_HOST", &host).env("FALCO_DOCKER_PULL", "never");
    // The usual image of the runtime is not there, and may not be pulled.
    hello.args(["--platform", "docker", "--image", image::IMAGE, "Ada"]);
    assert_eq!(run(hello).await.ok(), "Hello Ada!\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn hello_in_an_image_is_refused_with_a_hint_where_code_does_not_run_in_one() {
    let (aws, gcp, openfaas) = (FakeAws::start(), FakeGcp::start(), FakeOpenFaas::start());
    let mut on_openfaas = command("hello");
    on_openfaas.env("OPENFAAS_PASSWORD", FAKE_PASSWORD).args(["--platform", "openfaas"]);
    on_openfaas.args(["--gateway", openfaas.url(), "--python-image", FAKE_IMAGE]);
    for (mut hello, hint) in [
        (on_gcp("hello", &gcp), ELSEWHERE),
        (on_openfaas, ELSEWHERE),
        (on_aws("hello", aws.url()), "build the code into the image"),
    ] {
        hello.args(["--image", IMAGE, "Ada"]);
        let error = run(hello).await.error();
        assert!(error.contains(IMAGE) && error.contains(hint), "{error}");
    }
    assert_eq!(aws.leftovers(), Vec::<String>::new());
    assert!(gcp.is_clean());
    assert_eq!(openfaas.names(), Vec::<String>::new());
}

#[test]
fn examples_in_an_image_are_refused_with_a_hint_on_this_machine() {
    let machine = Machine::new();
    for program in
        ["hello", "wordcount", "wordcount-rs", "montecarlo", "montecarlo-rs", "chain", "kmeans"]
    {
        let error = machine.run(program, &["--image", IMAGE]).error();
        assert!(error.contains(IMAGE) && error.contains(ELSEWHERE), "{program}: {error}");
    }
}
