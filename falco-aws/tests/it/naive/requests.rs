//! Mistakes in what is uploaded and how it is sent.

use super::*;

#[tokio::test]
async fn n13_a_native_function_has_a_handler_too() {
    let aws = Aws::with(echoing()).await;
    let function = Deployable::from_source("f", "native".parse().unwrap(), "#!/bin/sh\ncat >&3\n");
    aws.deploy(&function).await;
    let created = aws.fake.requests_of("CreateFunction")[0].json();
    assert_eq!(created["Runtime"], "provided.al2023");
    assert_eq!(created["Handler"], "bootstrap");
}

#[tokio::test]
async fn n14_every_attempt_is_signed_anew_by_the_clock_of_aws() {
    let aws = Aws::with(echoing()).await;
    let message = "Signature expired: 20260102T030405Z is now earlier than 20260102T040405Z";
    let ahead = SystemTime::now() + Duration::from_secs(7200);
    let refusal = falco_fakes::aws::lambda_error(403, "InvalidSignatureException", message)
        .with_header("date", &httpdate::fmt_http_date(ahead));
    aws.fake.script("ListFunctions", refusal);
    aws.platform.list_deployments().await.unwrap();
    let requests = aws.fake.requests_of("ListFunctions");
    let seconds = |index: usize| {
        let stamp = requests[index].header("x-amz-date").unwrap_or_default()[9..15].to_owned();
        let part = |at: usize| stamp[at..at + 2].parse::<i32>().unwrap();
        part(0) * 3600 + part(2) * 60 + part(4)
    };
    let ahead = (seconds(1) - seconds(0)).rem_euclid(86_400);
    assert!((7100..7300).contains(&ahead), "{ahead} seconds");
    assert_ne!(
        requests[0].header("authorization").unwrap_or_default(),
        requests[1].header("authorization").unwrap_or_default()
    );
}

#[tokio::test]
async fn n15_concurrency_that_the_account_cannot_spare_is_refused_with_what_to_do() {
    let aws = Aws::with(FakeSettings { concurrency: 10, ..echoing() }).await;
    assert_eq!(aws.platform.capabilities().concurrency, Some(10));
    let some = Scaling::default().with_max_instances(5);
    let error = aws.platform.deploy(&echo("f").with_scaling(some)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.hint().unwrap().contains("max_instances"), "{error}");
    // Without a reservation it works on such an account too.
    aws.deploy(&echo("g")).await;
}

#[tokio::test]
async fn n16_what_is_uploaded_has_its_executable_bits() {
    let aws = Aws::with(echoing()).await;
    let function = Deployable::from_source("f", "native".parse().unwrap(), "#!/bin/sh\ncat >&3\n");
    aws.deploy(&function).await;
    let archive = Archive::from_zip(&aws.fake.code_of("f").unwrap()).unwrap();
    assert!(archive.get("bootstrap").unwrap().executable);
    assert!(archive.get("exec").unwrap().executable);
}

#[tokio::test]
async fn n17_each_service_is_spoken_to_in_its_own_protocol() {
    let aws = Aws::with(echoing()).await;
    let deployment = aws.deploy(&echo("f")).await;
    let pending = [submit(&aws, &deployment, json!({})).await];
    collect(&aws, &deployment, &pending).await;
    aws.platform.activation_log(&deployment, &[pending[0].id.clone()]).await.unwrap();
    let header = |operation: &str, name: &str| {
        aws.fake.requests_of(operation)[0].header(name).unwrap_or_default().to_owned()
    };
    assert_eq!(header("CreateQueue", "content-type"), "application/x-amz-json-1.0");
    assert_eq!(header("CreateQueue", "x-amz-target"), "AmazonSQS.CreateQueue");
    assert_eq!(header("FilterLogEvents", "content-type"), "application/x-amz-json-1.1");
    assert_eq!(header("FilterLogEvents", "x-amz-target"), "Logs_20140328.FilterLogEvents");
    let created = aws.fake.requests_of("CreateQueue")[0].json();
    assert_eq!(created["Attributes"]["VisibilityTimeout"], "10", "here a string");
    let received = aws.fake.requests_of("ReceiveMessage")[0].json();
    assert_eq!(received["VisibilityTimeout"], 10, "and here a number");
    assert_eq!(received["MaxNumberOfMessages"], 10);
}

#[tokio::test]
async fn n18_the_variable_that_moves_the_logs_is_not_called_logs() {
    let with = |moved: &'static str| {
        move |name: &str| match name {
            "AWS_REGION" => Some("eu-central-1".to_owned()),
            "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("x".to_owned()),
            name => (name == moved).then(|| "no url".to_owned()),
        }
    };
    AwsConfig::builder().build_with(with("AWS_ENDPOINT_URL_LOGS")).await.unwrap();
    let error = AwsConfig::builder()
        .build_with(with("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains(&Service::Logs.endpoint_variable()), "{error}");
}
