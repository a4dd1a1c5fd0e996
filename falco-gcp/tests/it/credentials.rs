//! Every way to be somebody, against token endpoints that check signatures and audiences.

use std::time::Duration;

use falco_core::{AsyncPlatform, ErrorKind, Platform};
use falco_fakes::gcp::{FakeGcp, LOCATION, PROJECT};
use falco_fakes::http::Fault;
use falco_gcp::{Access, Credentials, GcpConfig, GcpConfigBuilder, GcpFunctions, GcpWaits};
use serde_json::json;

use crate::submission::collected;
use crate::support::{ECHO, connect, echoing, invocation, python, with_tasks};

/// A configuration as a program on this machine would read it.
fn from_vars(fake: &FakeGcp, more: &[(&str, &str)]) -> falco_core::Result<GcpConfig> {
    let known = fake.environment();
    let waits = GcpWaits::every(Duration::from_millis(5));
    GcpConfig::builder().waits(waits).build_with(&|name| {
        let more =
            more.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        more.or_else(|| {
            known.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
        })
    })
}

async fn deploys_and_invokes(config: GcpConfig) -> String {
    let platform = GcpFunctions::connect(config).await.unwrap();
    let deployment = platform.deploy(&python("echo", ECHO)).await.unwrap();
    platform.invoke(&deployment, &invocation(&json!({}))).await.unwrap();
    platform.remove(&deployment).await.unwrap();
    format!("{}/{}", platform.project(), platform.location())
}

#[tokio::test]
async fn the_environment_is_all_that_a_key_needs() {
    let fake = echoing();
    let place = deploys_and_invokes(from_vars(&fake, &[]).unwrap()).await;
    assert_eq!(place, format!("{PROJECT}/{LOCATION}"));
    assert!(fake.is_clean());
}

#[tokio::test]
async fn on_google_cloud_everything_comes_from_the_metadata_server() {
    let fake = echoing();
    let nothing = [("GOOGLE_APPLICATION_CREDENTIALS", ""), ("GOOGLE_CLOUD_LOCATION", "")];
    let config = from_vars(&fake, &nothing).unwrap();
    assert_eq!(deploys_and_invokes(config).await, format!("{PROJECT}/{LOCATION}"));
    let metadata = fake.requests_to("/computeMetadata/");
    assert!(metadata.iter().all(|seen| seen.header("metadata-flavor") == Some("Google")));
    let identity = metadata.iter().find(|seen| seen.path.ends_with("/identity")).unwrap();
    assert_eq!(identity.query("audience"), Some(&*format!("{}/run/echo", fake.url())));
    assert_eq!(identity.query("format"), Some("full"));
}

#[tokio::test]
async fn an_account_impersonated_from_google_cloud_deploys_where_the_metadata_server_is() {
    let fake = echoing();
    let config = from_vars(
        &fake,
        &[
            ("GOOGLE_APPLICATION_CREDENTIALS", ""),
            ("GOOGLE_CLOUD_LOCATION", ""),
            ("CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT", "robot@p.iam.gserviceaccount.com"),
        ],
    );
    assert_eq!(deploys_and_invokes(config.unwrap()).await, format!("{PROJECT}/{LOCATION}"));
}

#[tokio::test]
async fn a_foreign_metadata_server_is_not_believed() {
    let other = wiremock::MockServer::start().await;
    let page = wiremock::ResponseTemplate::new(200).set_body_string("welcome to the hotel");
    wiremock::Mock::given(wiremock::matchers::any()).respond_with(page).mount(&other).await;
    let fake = echoing();
    let host = other.address().to_string();
    let vars = [("GOOGLE_APPLICATION_CREDENTIALS", ""), ("GCE_METADATA_HOST", &*host)];
    let error = GcpFunctions::connect(from_vars(&fake, &vars).unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("not a metadata server"), "{error}");
}

#[tokio::test]
async fn an_impersonated_account_is_granted_the_right_to_invoke() {
    let fake = echoing();
    let robot = ("CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT", "robot@p.iam.gserviceaccount.com");
    deploys_and_invokes(from_vars(&fake, &[robot]).unwrap()).await;
    let policy = fake.requests_to(":setIamPolicy")[0].json();
    assert_eq!(
        policy["policy"]["bindings"][0]["members"],
        json!([format!("serviceAccount:{}", robot.1)])
    );
    let id = fake.requests_to(":generateIdToken")[0].json();
    assert_eq!(id, json!({"audience": format!("{}/run/echo", fake.url()), "includeEmail": true}));
    let access = fake.requests_to(":generateAccessToken")[0].json();
    assert_eq!(access["scope"], json!(["https://www.googleapis.com/auth/cloud-platform"]));
}

fn user(fake: &FakeGcp, refresh_token: &str) -> GcpConfigBuilder {
    let json = json!({
        "type": "authorized_user", "client_id": "i", "client_secret": "marked-client-secret",
        "refresh_token": refresh_token, "token_uri": format!("{}/token", fake.url()),
    });
    fake.config().credentials(Credentials::from_json(&json.to_string()).unwrap()).project(PROJECT)
}

#[tokio::test]
async fn a_users_own_credentials_are_refused_for_private_functions_before_anything_is_sent() {
    let fake = echoing();
    let platform = connect(user(&fake, "good-refresh-token")).await;
    let before = fake.requests().len();
    let error = platform.deploy(&python("echo", ECHO)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.hint().unwrap().contains("impersonate"), "{error}");
    assert_eq!(fake.requests().len(), before);

    let public = connect(user(&fake, "good-refresh-token").access(Access::Public)).await;
    let deployment = public.deploy(&python("echo", ECHO)).await.unwrap();
    public.invoke(&deployment, &invocation(&json!({}))).await.unwrap();
}

#[tokio::test]
async fn an_expired_login_says_so_without_its_secrets() {
    let fake = echoing();
    let error = GcpFunctions::connect(user(&fake, "marked-refresh-token").build().unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("expired or revoked") && !shown.contains("marked"), "{shown}");

    // An endpoint that quotes what it was sent.
    let quoting = r#"{"error":"invalid_grant","error_description":"bad marked-refresh-token"}"#;
    fake.inject(Fault::answer("POST /token", 400, quoting));
    let error = GcpFunctions::connect(user(&fake, "marked-refresh-token").build().unwrap())
        .await
        .unwrap_err();
    assert!(!format!("{error} {error:?}").contains("marked"), "{error}");
}

#[tokio::test]
async fn an_invalid_key_is_named_and_not_shown() {
    let fake = echoing();
    let key = fake.key().replace("BEGIN PRIVATE KEY-----", "BEGIN PRIVATE KEY-----marked-secret");
    let config = fake.config().credentials(Credentials::from_json(&key).unwrap());
    let error = GcpFunctions::connect(config.build().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("falco@fake-project") && !shown.contains("marked"), "{shown}");
}

#[tokio::test]
async fn a_person_who_acts_as_a_service_account_may_have_private_functions() {
    let fake = echoing();
    let delegates = vec!["between@p.iam.gserviceaccount.com".to_owned()];
    let json = json!({
        "type": "impersonated_service_account", "delegates": delegates,
        "service_account_impersonation_url": "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/robot@p.iam.gserviceaccount.com:generateAccessToken",
        "source_credentials": {
            "type": "authorized_user", "client_id": "i", "client_secret": "s",
            "refresh_token": "good-refresh-token", "token_uri": format!("{}/token", fake.url()),
        },
    });
    let credentials = Credentials::from_json(&json.to_string()).unwrap();
    let config = fake.config().credentials(credentials).project(PROJECT).build().unwrap();
    deploys_and_invokes(config).await;
    for request in fake.requests_to("/serviceAccounts/") {
        assert!(
            request.path.contains("robot@p.iam.gserviceaccount.com:generate"),
            "{}",
            request.path
        );
        assert_eq!(
            request.json()["delegates"],
            json!(["projects/-/serviceAccounts/between@p.iam.gserviceaccount.com"])
        );
    }
    let refresh = String::from_utf8(fake.requests_to("POST /token")[0].body.to_vec()).unwrap();
    assert_eq!(
        refresh,
        "grant_type=refresh_token&client_id=i&client_secret=s&refresh_token=good-refresh-token"
    );
}

#[tokio::test]
async fn tokens_that_expire_in_every_place_are_replaced_and_nobody_notices() {
    // After so many requests a token is refused: each request of a whole life is, in one of these lives, the one.
    for requests in 1..8 {
        let fake = echoing();
        fake.tokens_serve(requests);
        let platform = connect(with_tasks(fake.config())).await;
        let deployment = platform.deploy(&python("echo", ECHO)).await.unwrap();
        for n in 0..4 {
            let call = invocation(&json!({"n": n}));
            platform.invoke(&deployment, &call).await.unwrap().outcome.unwrap();
            let pending = platform.submit(&deployment, &call).await.unwrap();
            collected(&platform, &deployment, &pending).await.outcome.unwrap();
        }
        // What is deleted at the same time would use up one token after the other.
        fake.tokens_serve(u32::MAX);
        platform.remove(&deployment).await.unwrap();
        assert!(fake.requests_to("POST /token").len() > 4);
        assert_eq!(fake.leftovers(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_key_file_that_somebody_renews_is_read_again_when_the_old_key_is_refused() {
    let fake = echoing();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key.json");
    let good = fake.key();
    let mut revoked: serde_json::Value = serde_json::from_str(&good).unwrap();
    revoked["client_email"] = json!("revoked@falco-fake-project.iam.gserviceaccount.com");
    std::fs::write(&file, revoked.to_string()).unwrap();

    let path = file.to_str().unwrap();
    let config = from_vars(&fake, &[("GOOGLE_APPLICATION_CREDENTIALS", path)]).unwrap();
    let error = GcpFunctions::connect(config.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");

    std::fs::write(&file, good).unwrap();
    deploys_and_invokes(config).await;
}
