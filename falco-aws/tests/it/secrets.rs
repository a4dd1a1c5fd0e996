//! Marked secrets, in every place where they could be shown.

use falco_aws::AwsConfig;
use falco_core::{AsyncPlatform, Platform, Release};
use falco_fakes::aws::FAKE_SECRET;
use falco_testkit::LogCapture;
use serde_json::json;

use crate::support::{Aws, echo, echoing, invocation};

const VALUE: &str = "marked-value-of-the-environment";

#[test]
fn no_configuration_shows_its_credentials() {
    let builder = AwsConfig::builder().region("eu-central-1").static_credentials(
        "AKID",
        "marked-secret",
        Some("marked-token".into()),
    );
    let config = builder.clone().build().unwrap();
    let shown = format!("{builder:?} {config:?} {config:#?}");
    assert!(!shown.contains("marked"), "{shown}");
}

#[tokio::test]
async fn neither_logs_nor_errors_nor_debug_show_a_secret() {
    let log = LogCapture::start();
    let aws = Aws::with(echoing()).await;
    let function = echo("f").with_env("SECRET", VALUE);
    let deployment = aws.deploy(&function).await;
    let mut shown = vec![format!("{:?} {deployment:?}", aws.platform)];
    let activation = aws.platform.invoke(&deployment, &invocation(json!({}))).await.unwrap();
    shown.push(format!("{activation:?}"));
    let pending = [aws.platform.submit(&deployment, &invocation(json!({}))).await.unwrap()];
    while aws.platform.collect(&deployment, &pending).await.unwrap().finished.is_empty() {}
    aws.platform.release(&deployment, &[pending[0].id.clone()], Release::Taken);
    // A refusal that quotes the canonical request, and one that quotes the environment.
    let canonical = format!(
        "The request signature we calculated does not match. The Canonical String for this request should \
         have been 'x-amz-security-token:fake-session-token secret {FAKE_SECRET}'"
    );
    let refusal = falco_fakes::aws::lambda_error(403, "InvalidSignatureException", &canonical);
    aws.fake.script("ListFunctions", refusal);
    shown.push(aws.platform.list_deployments().await.unwrap_err().to_string());
    let quoting = format!("Value '{VALUE}' at 'environment' failed to satisfy constraint");
    let refusal = falco_fakes::aws::lambda_error(400, "InvalidParameterValueException", &quoting);
    aws.fake.script("UpdateFunctionConfiguration", refusal);
    let changed = function.with_env("OTHER", "x");
    let error = aws.platform.deploy(&changed).await.unwrap_err();
    assert!(error.message().contains("failed to satisfy"), "{error}");
    shown.push(format!("{error} {error:?}"));
    aws.platform.remove(&deployment).await.unwrap();
    let log = log.text();
    assert!(log.contains("AWS refused"), "it is logged what happens");
    shown.push(log);
    for text in shown {
        for secret in [FAKE_SECRET, "fake-session-token", VALUE] {
            let at = text.find(secret).map(|at| &text[at.saturating_sub(200)..at]);
            assert_eq!(at, None, "{secret} is shown");
        }
    }
}
