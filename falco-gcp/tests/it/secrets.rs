//! No secret is in a log at the finest level, in an error, or in `Debug`.

use falco_core::{AsyncPlatform, Platform};
use falco_fakes::http::Fault;
use falco_testkit::LogCapture;
use serde_json::json;

use crate::support::{ECHO, connect, echoing, invocation, python, with_tasks};

#[tokio::test]
async fn a_whole_life_with_faults_shows_no_secret() {
    let log = LogCapture::start();
    let fake = echoing();
    let config = with_tasks(fake.config());
    let mut shown = format!("{config:?}");
    let platform = connect(config).await;
    let function = python("echo", ECHO).with_env("KEY", "marked-env-value");
    // A server that quotes what it was sent.
    let quoting = json!({"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "bad marked-env-value"}});
    fake.fail_next_operation(json!({"code": 3, "message": "Invalid value marked-env-value"}));
    shown += &format!("{:?}", platform.deploy(&function).await.unwrap_err());
    let deployment = platform.deploy(&function).await.unwrap();
    fake.inject(Fault::answer("PATCH", 400, &quoting.to_string()).times(1));
    let changed = function.with_env("CHANGED", "1");
    shown += &format!("{:?}", platform.deploy(&changed).await.unwrap_err());
    let activation = platform.invoke(&deployment, &invocation(&json!({}))).await.unwrap();
    let pending = platform.submit(&deployment, &invocation(&json!({}))).await.unwrap();
    let collected = platform.collect(&deployment, &[pending]).await;
    shown += &format!("{platform:?} {platform:#?} {deployment:?} {activation:?} {collected:?}");
    // A front end that quotes the token.
    for status in [200, 401, 403, 500, 503] {
        fake.inject(Fault::answer("POST /run/", status, "bad token {bearer}").times(2));
        let error = platform.invoke(&deployment, &invocation(&json!({}))).await.unwrap_err();
        shown += &format!("{error:?}");
        fake.heal();
    }
    fake.heal();
    platform.remove(&deployment).await.unwrap();
    let logged = log.text();
    assert!(!logged.is_empty(), "something was logged");
    let key = falco_fakes::gcp::PRIVATE_KEY;
    let secrets = [
        "marked-env-value",
        "marked-access-token",
        "marked-id-token",
        "marked-signature",
        "eyJ0eXAi",
    ];
    for secret in secrets.into_iter().chain(key.lines().filter(|line| !line.starts_with('-'))) {
        assert!(!shown.contains(secret), "{secret} is shown: {shown}");
        let line = logged.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{secret} is logged: {line:?}");
    }
}
