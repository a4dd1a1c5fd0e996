//! Where the configuration comes from, by the precedence of AWS's own tools.

use falco_aws::AwsLambda;
use falco_core::{Deployable, ErrorKind, Platform};
use falco_fakes::aws::{FAKE_ACCESS_KEY, FAKE_SECRET, FakeAws};

use crate::environment::Environment;

#[tokio::test]
async fn without_a_region_there_is_an_error_that_says_how_to_set_one() {
    let mut environment = Environment::new();
    environment.credentials();
    let error = environment.load().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.hint().unwrap().contains("AWS_REGION"), "{error}");
}

#[tokio::test]
async fn the_region_comes_from_variables_before_the_profile() {
    let mut environment = Environment::new();
    environment.file(
        "AWS_CONFIG_FILE",
        "config",
        "[default]\nregion = eu-west-1\n[profile other]\nregion = eu-north-1\n",
    );
    environment.credentials();
    assert_eq!(environment.load().await.unwrap().region(), "eu-west-1");
    environment.set("AWS_PROFILE", "other");
    assert_eq!(environment.load().await.unwrap().region(), "eu-north-1");
    environment.set("AWS_DEFAULT_REGION", "eu-west-2");
    assert_eq!(environment.load().await.unwrap().region(), "eu-west-2");
    environment.set("AWS_REGION", "eu-west-3");
    assert_eq!(environment.load().await.unwrap().region(), "eu-west-3");
}

#[tokio::test]
async fn every_service_can_have_an_endpoint_of_the_users() {
    let fake = FakeAws::start();
    let mut environment = Environment::new();
    environment.credentials().set("AWS_REGION", "eu-central-1");
    environment.set("AWS_ENDPOINT_URL", fake.url());
    let platform = AwsLambda::connect(environment.load().await.unwrap()).await.unwrap();
    assert!(platform.list_deployments().await.unwrap().is_empty());
    // Lambda, IAM and SQS were asked, all of them there.
    let mut services: Vec<_> = fake
        .requests()
        .iter()
        .map(|request| {
            request
                .header("authorization")
                .unwrap_or_default()
                .split('/')
                .nth(3)
                .unwrap()
                .to_owned()
        })
        .collect();
    services.sort();
    services.dedup();
    assert_eq!(services, ["iam", "lambda", "sqs"]);
}

#[tokio::test]
async fn a_services_own_endpoint_goes_before_the_one_for_all_and_variables_before_the_profile() {
    let mut environment = Environment::new();
    let profile = "[default]\nservices = mine\nendpoint_url = http://127.0.0.1:1\n\
                   [services mine]\nlambda =\n  endpoint_url = http://127.0.0.1:2\n";
    environment.file("AWS_CONFIG_FILE", "config", profile);
    environment.credentials().set("AWS_REGION", "eu-central-1");
    let asked = async |environment: &Environment| {
        let config = environment.load().await.unwrap();
        AwsLambda::connect(config).await.unwrap_err().to_string()
    };
    assert!(asked(&environment).await.contains("127.0.0.1:2"), "{}", asked(&environment).await);
    environment.set("AWS_ENDPOINT_URL", "http://127.0.0.1:3");
    assert!(asked(&environment).await.contains("127.0.0.1:3"));
    environment.set("AWS_ENDPOINT_URL_LAMBDA", "http://127.0.0.1:4");
    assert!(asked(&environment).await.contains("127.0.0.1:4"));
}

#[tokio::test]
async fn credentials_of_a_profile_are_used() {
    let fake = FakeAws::start();
    let mut environment = Environment::new();
    let text = format!(
        "[default]\naws_access_key_id = {FAKE_ACCESS_KEY}\naws_secret_access_key = {FAKE_SECRET}\n"
    );
    environment.file("AWS_SHARED_CREDENTIALS_FILE", "credentials", &text);
    environment.set("AWS_REGION", "eu-central-1").set("AWS_ENDPOINT_URL", fake.url());
    AwsLambda::connect(environment.load().await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn credentials_of_a_process_are_used() {
    let fake = FakeAws::start();
    let mut environment = Environment::new();
    let answer = format!(
        r#"{{"Version":1,"AccessKeyId":"{FAKE_ACCESS_KEY}","SecretAccessKey":"{FAKE_SECRET}"}}"#
    );
    let path = environment.directory.path().join("answer.json");
    std::fs::write(&path, answer).unwrap();
    let config = format!("[default]\ncredential_process = cat {}\n", path.display());
    environment.file("AWS_CONFIG_FILE", "config", &config);
    environment.set("AWS_REGION", "eu-central-1").set("AWS_ENDPOINT_URL", fake.url());
    AwsLambda::connect(environment.load().await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_path_in_front_of_an_endpoint_is_kept_and_signed() {
    let fake = FakeAws::start();
    let config = fake.config().endpoint_for_all(format!("{}/aws", fake.url()));
    // The fake knows no such path, and has checked the signature before it says so.
    let error = AwsLambda::connect(config.build().unwrap()).await.unwrap_err();
    assert_eq!(fake.requests()[0].target, "/aws/2016-08-19/account-settings");
    assert_ne!(error.kind(), ErrorKind::Unauthorized, "{error}");
}

#[tokio::test]
async fn a_role_that_was_given_by_name_is_looked_for_in_the_callers_account() {
    let fake = FakeAws::start();
    let config = fake.config().role("given/analytics").build().unwrap();
    let platform = AwsLambda::connect(config).await.unwrap();
    platform.deploy(&crate::support::echo("f")).await.unwrap();
    let created = fake.requests_of("CreateFunction")[0].json();
    assert_eq!(created["Role"], "arn:aws:iam::123456789012:role/given/analytics");
    assert!(fake.requests_of("CreateRole").is_empty());
}

#[tokio::test]
async fn long_code_goes_through_the_bucket_and_leaves_nothing_there() {
    let settings = falco_fakes::aws::FakeSettings { direct_upload: 500, ..Default::default() };
    let fake = FakeAws::with(settings);
    let limits = falco_aws::Limits::default().with_direct_upload(500);
    let without = AwsLambda::connect(fake.config().limits(limits.clone()).build().unwrap()).await;
    let function = crate::support::echo("f");
    let error = without.as_ref().unwrap().deploy(&function).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PayloadTooLarge);
    assert!(error.hint().unwrap().contains("FALCO_AWS_BUCKET"), "{error}");
    let script = "#!/bin/sh\ncat >&3\n";
    let native = Deployable::from_source("f", "native".parse().unwrap(), script);
    let error = without.as_ref().unwrap().deploy(&native).await.unwrap_err();
    assert!(error.hint().unwrap().contains("with --release and strip it, or name a bucket"));
    assert!(fake.leftovers().is_empty(), "it is refused before anything is sent");

    let config = fake.config().limits(limits).bucket("uploads").build().unwrap();
    let platform = AwsLambda::connect(config).await.unwrap();
    platform.deploy(&function).await.unwrap();
    assert_eq!(fake.leftovers(), ["function f", "role f.eu-central-1", "log group /aws/lambda/f"]);
    let first = fake.code_of("f").unwrap();
    assert!(first.len() > 500);
    // An unchanged function is not uploaded again.
    platform.deploy(&function).await.unwrap();
    assert_eq!(fake.requests_of("PutObject").len(), 1);
    assert_eq!(fake.requests_of("UpdateFunctionCode").len(), 1);
}

#[tokio::test]
async fn a_file_that_begins_with_a_byte_order_mark_is_refused_by_name() {
    for (variable, name) in
        [("AWS_CONFIG_FILE", "config"), ("AWS_SHARED_CREDENTIALS_FILE", "credentials")]
    {
        let mut environment = Environment::new();
        environment.file(variable, name, "\u{feff}[default]\nregion = eu-central-1\n");
        environment.credentials().set("AWS_REGION", "eu-central-1");
        let error = environment.load().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let path = environment.directory.path().join(name);
        assert!(error.message().contains(path.to_str().unwrap()), "{error}");
        assert!(error.message().contains("byte order mark"), "{error}");
    }
}

#[tokio::test]
async fn the_processor_comes_from_a_variable_and_a_wrong_one_is_named() {
    let fake = FakeAws::start();
    let mut environment = Environment::new();
    environment.credentials().set("AWS_REGION", "eu-central-1");
    environment.set("AWS_ENDPOINT_URL", fake.url());
    for (value, processor) in [("", "x86_64"), ("x86_64", "x86_64"), ("arm64", "aarch64")] {
        environment.set("FALCO_AWS_ARCHITECTURE", value);
        let platform = AwsLambda::connect(environment.load().await.unwrap()).await.unwrap();
        assert_eq!(platform.capabilities().architecture.as_deref(), Some(processor));
    }
    environment.set("FALCO_AWS_ARCHITECTURE", "sparc");
    let error = environment.load().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    for part in ["FALCO_AWS_ARCHITECTURE", "\"sparc\"", "arm64"] {
        assert!(error.message().contains(part), "{error}");
    }
}
