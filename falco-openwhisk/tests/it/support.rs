//! What the tests share.

use falco_core::{Deployable, Invocation, Payload};
use falco_openwhisk::OpenWhisk;
use falco_openwhisk::fake::{FakeOpenWhisk, FakeSettings};
use serde_json::Value;

pub(crate) async fn connect(settings: FakeSettings) -> (FakeOpenWhisk, OpenWhisk) {
    let fake = FakeOpenWhisk::start(settings).await.unwrap();
    let platform = OpenWhisk::connect(fake.config().build().unwrap()).await.unwrap();
    (fake, platform)
}

/// A server whose functions answer with their arguments, without a process.
pub(crate) fn echo() -> FakeSettings {
    FakeSettings { function: Some(std::sync::Arc::new(Value::clone)), ..FakeSettings::default() }
}

pub(crate) fn function(runtime: &str, source: &str) -> Deployable {
    Deployable::from_source("function", runtime.parse().unwrap(), source)
}

pub(crate) fn python() -> Deployable {
    function("python:3", "def main(args):\n    return args\n")
}

pub(crate) fn invocation(arguments: &Value) -> Invocation {
    Invocation::new("run", "stage", "i", Payload::json(arguments).unwrap())
}
