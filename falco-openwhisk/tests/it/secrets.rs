//! No secret is in a log, an error, a `Debug` or what is stored, whatever the server echoes.

use falco_core::{AsyncPlatform, Platform};
use falco_openwhisk::OpenWhisk;
use falco_testkit::LogCapture;
use serde_json::json;
use wiremock::matchers::method;
use wiremock::{Mock, ResponseTemplate};

use crate::support::{connect, echo, invocation, python, server};

const KEY: &str = "marked-key-0123456789";
const VALUE: &str = "marked-value";

#[tokio::test]
async fn neither_key_nor_environment_is_seen_at_any_log_level() {
    let log = LogCapture::start();
    let (fake, platform) = connect(echo()).await;
    let function = python().with_env("TOKEN", VALUE);
    let deployment = platform.deploy(&function).await.unwrap();
    platform.invoke(&deployment, &invocation(&json!({}))).await.unwrap();
    let pending = platform.submit(&deployment, &invocation(&json!({}))).await.unwrap();
    let collected = platform.collect(&deployment, &[pending]).await.unwrap();
    fake.change(|settings| settings.knows_the_key = false);
    let error = platform.remove(&deployment).await.unwrap_err();
    let stored = serde_json::to_string(&deployment).unwrap();
    let shown = format!(
        "{platform:?} {function:?} {deployment:?} {collected:?} {error} {error:?} {stored}"
    );
    let log = log.text();
    assert!(log.contains("answered"), "nothing was logged: {log}");
    let (_, key) = falco_fakes::openwhisk::FAKE_AUTH.split_once(':').unwrap();
    let encoded = "MjNiYzQ2YjEtNzFmNi00ZWQ1LThjNTQ";
    for secret in [key, encoded, VALUE] {
        assert!(!shown.contains(secret), "{shown}");
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test]
async fn what_the_server_echoes_of_a_secret_is_redacted() {
    let server = server().await;
    let echoed = json!({"error": format!("malformed: {VALUE} {KEY}"), "code": "t"});
    Mock::given(method("PUT"))
        .respond_with(ResponseTemplate::new(400).set_body_json(echoed))
        .mount(&server)
        .await;
    let auth = format!("uuid-of-the-key:{KEY}");
    let config = falco_openwhisk::OpenWhiskConfig::builder().apihost(server.uri()).auth(auth);
    let platform = OpenWhisk::connect(config.build().unwrap()).await.unwrap();
    let error = platform.deploy(&python().with_env("TOKEN", VALUE)).await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("malformed: REDACTED REDACTED"), "{shown}");
}
