//! Helpers of many tests.

use falco_core::{Deployable, Deployment, Invocation, Payload, Platform};
use falco_fakes::gcp::FakeGcp;
use falco_gcp::{CloudTasks, GcpConfigBuilder, GcpFunctions, Submission};
use serde_json::Value;

pub(crate) const ECHO: &str = "def main(args):\n    return args\n";

/// A fake whose functions give back what they get, without a process.
pub(crate) fn echoing() -> FakeGcp {
    let fake = FakeGcp::start();
    fake.answer_with(Payload::clone);
    fake
}

pub(crate) fn with_tasks(config: GcpConfigBuilder) -> GcpConfigBuilder {
    config.submission(Submission::CloudTasks(CloudTasks::default()))
}

pub(crate) async fn connect(config: GcpConfigBuilder) -> GcpFunctions {
    GcpFunctions::connect(config.build().unwrap()).await.unwrap()
}

pub(crate) fn python(name: &str, source: &str) -> Deployable {
    Deployable::from_source(name, "python:3".parse().unwrap(), source)
}

/// A platform over `fake`, with one function on it.
pub(crate) async fn deployed(fake: &FakeGcp) -> (GcpFunctions, Deployment) {
    let platform = connect(fake.config()).await;
    let deployment = platform.deploy(&python("echo", ECHO)).await.unwrap();
    (platform, deployment)
}

pub(crate) fn invocation(args: &Value) -> Invocation {
    Invocation::new("run-1", "map", "chunk 7/ä", Payload::json(args).unwrap())
}
