//! `hello` on the fake of OpenFaaS's gateway, whose functions are processes.

use falco_fakes::openfaas::{FAKE_IMAGE, FAKE_PASSWORD, FakeOpenFaas};

use crate::program::{Printed, command, has};
use crate::remote::run;

#[tokio::test(flavor = "multi_thread")]
async fn hello_runs_on_openfaas_with_every_executor_and_leaves_nothing() {
    if !has("python3") {
        return;
    }
    let fake = FakeOpenFaas::start();
    for executor in ["sequential", "parallel", "async"] {
        let mut hello = command("hello");
        hello.env("OPENFAAS_PASSWORD", FAKE_PASSWORD).args(["--platform", "openfaas"]);
        hello.args(["--gateway", fake.url(), "--python-image", FAKE_IMAGE]);
        hello.args(["--executor", executor, "world", "Ada"]);
        assert_eq!(run(hello).await.ok(), "Hello world!\nHello Ada!\n", "{executor}");
    }
    assert_eq!(fake.names(), Vec::<String>::new());
}

#[test]
fn a_gateway_that_is_missing_or_holds_a_password_is_refused_and_the_password_is_not_shown() {
    for (url, words) in
        [("", "OPENFAAS_URL"), ("http://admin:marked-4c1f@127.0.0.1:1", "OPENFAAS_PASSWORD")]
    {
        let mut hello = command("hello");
        hello.env("OPENFAAS_URL", url).env("OPENFAAS_PYTHON_IMAGE", "registry.example/python:3");
        hello.args(["--platform", "openfaas"]);
        let printed = Printed::of(hello.output().unwrap());
        assert!(!printed.success, "{url}");
        assert!(printed.stderr.contains(words), "{}", printed.stderr);
        assert!(!printed.stderr.contains("marked"), "{}", printed.stderr);
    }
}
