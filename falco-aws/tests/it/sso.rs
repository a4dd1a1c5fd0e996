//! Profiles of IAM Identity Center, with the feature and without.

use falco_aws::AwsLambda;
use falco_core::{Error, ErrorKind};
use falco_fakes::aws::FakeAws;

use crate::environment::Environment;

const PROFILE: &str = "[default]\nsso_start_url = https://falco.awsapps.com/start\nsso_region = eu-west-1\n\
                       sso_account_id = 123456789012\nsso_role_name = analyst\n";

/// Somebody whose profile is one of SSO, and who has not signed in.
async fn refused(fake: &FakeAws) -> Error {
    let mut environment = Environment::new();
    environment.file("AWS_CONFIG_FILE", "config", PROFILE);
    environment.set("AWS_REGION", "eu-central-1").set("AWS_ENDPOINT_URL", fake.url());
    AwsLambda::connect(environment.load().await.unwrap()).await.unwrap_err()
}

#[tokio::test]
async fn a_profile_of_sso_that_cannot_be_used_says_what_to_do() {
    let fake = FakeAws::start();
    let error = refused(&fake).await;
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    let hint = error.hint().unwrap();
    let words = if cfg!(feature = "sso") { "aws sso login" } else { "feature `sso`" };
    assert!(hint.contains(words), "{error}");
    assert!(fake.requests().is_empty(), "nothing is sent without credentials");
}

#[cfg(feature = "sso")]
mod with_the_feature {
    use std::process::Command;

    use falco_aws::{AwsConfig, AwsLambda};
    use falco_core::Platform;
    use falco_fakes::aws::{FAKE_ACCESS_KEY, FAKE_SECRET};
    use falco_http::ClientConfig;
    use serde_json::json;
    use wiremock::matchers::{header, method, path, query_param};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::{FakeAws, PROFILE};

    /// SHA-1 of the profile's start URL: `aws sso login` names the file of the token so.
    const TOKEN_FILE: &str = "fa3a58d8e7b79fd541642aa850710b620fa8d011.json";

    #[tokio::test(flavor = "multi_thread")]
    async fn a_user_who_has_signed_in_gets_credentials_from_the_portal() {
        let fake = FakeAws::start();
        let portal = MockServer::start().await;
        let credentials = json!({"roleCredentials": {
            "accessKeyId": FAKE_ACCESS_KEY, "secretAccessKey": FAKE_SECRET, "sessionToken": "from-the-portal",
            "expiration": 4_070_908_800_000_u64,
        }});
        Mock::given(method("GET"))
            .and(path("/federation/credentials"))
            .and(query_param("role_name", "analyst"))
            .and(query_param("account_id", "123456789012"))
            .and(header("x-amz-sso_bearer_token", "a-token"))
            .respond_with(ResponseTemplate::new(200).set_body_json(credentials))
            .expect(1)
            .mount(&portal)
            .await;
        let home = tempfile::tempdir().unwrap();
        let cache = home.path().join(".aws/sso/cache");
        std::fs::create_dir_all(&cache).unwrap();
        std::fs::write(home.path().join(".aws/config"), PROFILE).unwrap();
        let token = json!({
            "startUrl": "https://falco.awsapps.com/start", "region": "eu-west-1", "accessToken": "a-token",
            "expiresAt": "2099-01-01T00:00:00Z",
        });
        std::fs::write(cache.join(TOKEN_FILE), token.to_string()).unwrap();

        // The provider looks into the home directory of its process, so it has to be a process of its own.
        let mut child = Command::new(std::env::current_exe().unwrap());
        child
            .args(["--exact", "sso::with_the_feature::the_program_of_the_test_above", "--ignored"])
            .env("HOME", home.path())
            .env("AWS_REGION", "eu-central-1")
            .env("AWS_ENDPOINT_URL", fake.url())
            .env("AWS_ENDPOINT_URL_SSO", portal.uri());
        for name in
            ["AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"]
        {
            child.env_remove(name);
        }
        let output = tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
        let requests = fake.requests();
        assert_eq!(
            requests[0].header("x-amz-security-token").unwrap_or_default(),
            "from-the-portal"
        );
    }

    #[tokio::test]
    #[ignore = "the test above runs it, in an environment of its own"]
    async fn the_program_of_the_test_above() {
        let http = ClientConfig::new("test").with_plain_http_only(true);
        let config = AwsConfig::builder().http(http).build_with_env().await.unwrap();
        let platform = AwsLambda::connect(config).await.unwrap();
        assert!(platform.list_deployments().await.unwrap().is_empty());
    }
}
