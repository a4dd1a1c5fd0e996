//! Helpers of the tests.

use falco_core::{Deployable, Deployment, Invocation, Payload};
use falco_fakes::openwhisk::{FAKE_AUTH, FakeOpenWhisk, FakeSettings};
use falco_openwhisk::{OpenWhisk, OpenWhiskConfig, OpenWhiskConfigBuilder};
use serde_json::Value;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

pub(crate) async fn connect(settings: FakeSettings) -> (FakeOpenWhisk, OpenWhisk) {
    connect_with(settings, |config| config).await
}

pub(crate) async fn connect_with(
    settings: FakeSettings,
    set: impl FnOnce(OpenWhiskConfigBuilder) -> OpenWhiskConfigBuilder,
) -> (FakeOpenWhisk, OpenWhisk) {
    let fake = FakeOpenWhisk::with(settings);
    let platform = OpenWhisk::connect(set(fake.config()).build().unwrap()).await.unwrap();
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

/// A deployment that no request has made.
pub(crate) fn deployment() -> Deployment {
    Deployment::new("function", "python:3".parse().unwrap())
        .with_platform("openwhisk")
        .with_id("/_/function")
}

/// A server of which a test says each answer; limits and runtimes are unknown.
pub(crate) async fn server() -> MockServer {
    let server = MockServer::start().await;
    let unknown = |at| {
        Mock::given(method("GET")).and(path(at)).respond_with(
            ResponseTemplate::new(404).set_body_string(
                r#"{"error":"The requested resource could not be found.","code":"t"}"#,
            ),
        )
    };
    unknown("/api/v1/namespaces/_/limits").mount(&server).await;
    unknown("/").mount(&server).await;
    server
}

pub(crate) fn config(url: &str) -> OpenWhiskConfigBuilder {
    OpenWhiskConfig::builder().apihost(url).auth(FAKE_AUTH)
}

pub(crate) async fn connect_to(url: &str) -> OpenWhisk {
    OpenWhisk::connect(config(url).build().unwrap()).await.unwrap()
}
