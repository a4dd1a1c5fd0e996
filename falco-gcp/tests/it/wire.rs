//! Tests of each request, as the wire contract says.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use falco_core::{AsyncPlatform, ErrorKind, Ownership, Platform, Scaling};
use falco_fakes::gcp::{FakeGcp, LOCATION, PROJECT};
use falco_fakes::http::Fault;
use falco_gcp::{Access, GcpFunctions};
use serde_json::{Value, json};

use crate::support::{ECHO, connect, deployed, echoing, invocation, python, with_tasks};

fn parent() -> String {
    format!("/v2/projects/{PROJECT}/locations/{LOCATION}")
}

#[tokio::test]
async fn deploying_uploads_creates_waits_grants_and_probes() {
    let fake = echoing();
    fake.operations_need(3);
    let platform = connect(fake.config().quota_project("payer")).await;
    let scaling = Scaling::default()
        .with_memory_mib(512)
        .with_timeout(Duration::from_millis(1500))
        .with_min_instances(1);
    let function =
        python("map-run1", ECHO).with_scaling(scaling).with_env("KEY", "value").with_ownership(
            Ownership::new("Run_1", "ada@work", UNIX_EPOCH + Duration::from_secs(2_000_000_000)),
        );
    let before = fake.requests().len();
    let deployment = platform.deploy(&function).await.unwrap();

    let lines: Vec<String> = fake.requests()[before..].iter().map(|seen| seen.line()).collect();
    let operation = format!("GET {}/operations/", parent());
    assert_eq!(lines.iter().filter(|line| line.starts_with(&operation)).count(), 3, "{lines:#?}");
    let order = [
        "functions:generateUploadUrl",
        "PUT /upload-signed/",
        "/functions",
        "/operations/",
        "GET /v2/projects/fake-project/locations/us-central1/functions/map-run1",
        ":getIamPolicy",
        ":setIamPolicy",
        "POST /run/map-run1",
    ];
    let mut rest = lines.iter();
    for part in order {
        assert!(rest.any(|line| line.contains(part)), "{part} in its turn: {lines:#?}");
    }

    let upload_url = &fake.requests_to("generateUploadUrl")[0];
    assert_eq!(upload_url.json(), json!({"environment": "GEN_2"}));
    assert_eq!(upload_url.header("x-goog-user-project"), Some("payer"));
    let upload = &fake.requests_to("PUT /upload-signed/")[0];
    assert_eq!(upload.header("content-type"), Some("application/zip"));
    assert!(
        upload.header("authorization").is_none() && upload.header("x-goog-user-project").is_none()
    );

    let create = &fake.requests_to(&format!("POST {}/functions", parent()))[1];
    assert_eq!(create.query("functionId"), Some("map-run1"));
    let body = create.json();
    assert_eq!(body["buildConfig"]["runtime"], "python313", "the newest stable one");
    assert_eq!(body["buildConfig"]["entryPoint"], "handler");
    assert_eq!(
        body["serviceConfig"],
        json!({
            "availableMemory": "512Mi", "timeoutSeconds": 32, "minInstanceCount": 1, "maxInstanceCount": 100,
            "environmentVariables": {"KEY": "value", "THREADS": "512"},
        })
    );
    let mut labels = body["labels"].clone();
    let content = labels.as_object_mut().unwrap().remove("falco-content").unwrap();
    assert_eq!(content.as_str().map(str::len), Some(32), "a hash, and nothing to guess from");
    assert_eq!(
        labels,
        json!({
            "falco": "1", "falco-name": "map-run1", "falco-runtime": "python_3a3", "falco-run": "_52un_5f1",
            "falco-owner": "ada_40work", "falco-expires": "2000000000",
        })
    );
    let policy = fake.requests_to(":setIamPolicy")[0].json();
    assert_eq!(
        policy["policy"]["bindings"],
        json!([{"role": "roles/run.invoker", "members": ["serviceAccount:falco@fake-project.iam.gserviceaccount.com"]}])
    );
    assert_eq!(policy["policy"]["etag"], "etag-0");
    assert_eq!(deployment.scaling.timeout, Some(Duration::from_secs(2)));
    assert_eq!(deployment.scaling.memory_mib, Some(512));
    assert_eq!(deployment.ownership, function.ownership);
    for seen in fake.requests() {
        let agent = seen.header("user-agent").unwrap_or_default();
        assert!(agent.starts_with("falco-gcp/"), "{}: {agent}", seen.line());
    }
}

#[tokio::test]
async fn updating_names_in_its_mask_every_field_that_deploying_sets() {
    let fake = echoing();
    let platform = connect(fake.config()).await;
    let large = Scaling::default().with_memory_mib(1024);
    platform.deploy(&python("echo", ECHO).with_scaling(large).with_env("A", "1")).await.unwrap();
    let again = platform.deploy(&python("echo", ECHO).with_env("B", "2")).await.unwrap();
    assert_eq!(again.scaling.memory_mib, Some(244), "reset to Google's 256 megabytes");
    let function = fake.function("echo").unwrap();
    let variables = &function["serviceConfig"]["environmentVariables"];
    assert_eq!(*variables, json!({"B": "2", "THREADS": "512"}));
    let patch = &fake.requests_to("PATCH")[0];
    for (field, value) in patch.json()["serviceConfig"].as_object().unwrap() {
        let mask = patch.query("updateMask").unwrap();
        assert!(
            mask.split(',').any(|name| name == format!("serviceConfig.{field}")),
            "{field}={value}"
        );
    }
}

#[tokio::test]
async fn scaling_sends_what_it_names_and_nothing_else() {
    let fake = echoing();
    let (platform, deployment) = deployed(&fake).await;
    let to = Scaling::default().with_max_instances(7).with_cpus(1.0).with_concurrency(4);
    let scaled = platform.scale(&deployment, &to).await.unwrap();
    assert_eq!((scaled.scaling.max_instances, scaled.scaling.concurrency), (Some(7), Some(4)));
    let patch = &fake.requests_to("PATCH")[0];
    let fields =
        json!({"maxInstanceCount": 7, "availableCpu": "1", "maxInstanceRequestConcurrency": 4});
    assert_eq!(patch.json(), json!({"serviceConfig": fields}));
    let mut mask: Vec<_> = patch.query("updateMask").unwrap().split(',').collect();
    mask.sort_unstable();
    assert_eq!(
        mask,
        [
            "serviceConfig.availableCpu",
            "serviceConfig.maxInstanceCount",
            "serviceConfig.maxInstanceRequestConcurrency"
        ]
    );
    let patches = fake.requests_to("PATCH").len();
    platform.scale(&scaled, &Scaling::default()).await.unwrap();
    assert_eq!(fake.requests_to("PATCH").len(), patches, "nothing to change, nothing sent");
}

#[tokio::test]
async fn an_invocation_carries_its_identity_its_trace_and_its_length() {
    let fake = echoing();
    let (platform, deployment) = deployed(&fake).await;
    let invocation = invocation(&json!({"a": "ä"}));
    let activation = platform.invoke(&deployment, &invocation).await.unwrap();
    let call = fake.requests_to("POST /run/echo").pop().unwrap();
    assert_eq!(call.header("content-length"), Some("10"));
    assert_eq!(call.header("content-type"), Some("application/json"));
    assert_eq!(call.header("x-falco-invocation"), Some("run-1/map/chunk%207%2F%C3%A4/1"));
    assert_eq!(call.header("x-falco-activation"), Some(activation.id.as_str()));
    let trace = invocation.trace_context().to_string();
    assert_eq!(call.header("traceparent"), Some(trace.as_str()));
    assert_eq!(activation.region.as_deref(), Some(LOCATION));
    assert!(activation.cost.is_some_and(|cost| cost.0 > 0.0));
}

#[tokio::test]
async fn a_public_function_is_open_to_all_and_called_without_a_token() {
    let fake = echoing();
    let platform = connect(fake.config().access(Access::Public)).await;
    let deployment = platform.deploy(&python("echo", ECHO)).await.unwrap();
    let policy = fake.requests_to(":setIamPolicy")[0].json();
    assert_eq!(policy["policy"]["bindings"][0]["members"], json!(["allUsers"]));
    platform.invoke(&deployment, &invocation(&json!({}))).await.unwrap();
    assert!(
        fake.requests_to("POST /run/").iter().all(|call| call.header("authorization").is_none())
    );
}

#[tokio::test]
async fn with_access_unchanged_nothing_is_granted() {
    let fake = echoing();
    let platform = connect(fake.config().access(Access::Unchanged)).await;
    let deployment = platform.deploy(&python("echo", ECHO)).await.unwrap();
    assert!(fake.requests_to("IamPolicy").is_empty());
    let error = platform.invoke(&deployment, &invocation(&json!({}))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
    assert!(error.hint().unwrap().contains("run.invoker"));
}

#[tokio::test]
async fn a_task_is_wrapped_named_at_random_and_encoded() {
    let fake = echoing();
    let platform = connect(with_tasks(fake.config())).await;
    let timeout = Scaling::default().with_timeout(Duration::from_secs(100));
    let deployment = platform.deploy(&python("echo", ECHO).with_scaling(timeout)).await.unwrap();
    let pending = platform.submit(&deployment, &invocation(&json!({"n": 1}))).await.unwrap();
    let call = fake.requests_to("/queues/falco/tasks")[0].json();
    let task = &call["task"];
    let (time, random) = pending.id.as_str().split_at(8);
    let name =
        format!("projects/{PROJECT}/locations/{LOCATION}/queues/falco/tasks/{random}{time}-echo");
    assert_eq!(task["name"], name);
    assert_eq!(task["dispatchDeadline"], "145s", "longer than the function may run");
    let request = &task["httpRequest"];
    assert_eq!(STANDARD.decode(request["body"].as_str().unwrap()).unwrap(), br#"{"n":1}"#);
    assert_eq!(
        request["oidcToken"]["audience"],
        json!(deployment.attribute("uri")),
        "exactly the URL"
    );
    assert_eq!(request["headers"]["X-Falco-Once"], "1", "it is not idempotent");
    let twice = invocation(&json!({})).with_idempotent(true);
    platform.submit(&deployment, &twice).await.unwrap();
    let call = fake.requests_to("/queues/falco/tasks")[1].json();
    assert_eq!(call["task"]["httpRequest"]["headers"]["X-Falco-Once"], Value::Null);
}

#[tokio::test]
async fn queue_and_bucket_are_made_once_and_the_bucket_goes_with_the_last_function() {
    let fake = echoing();
    let platform = connect(with_tasks(fake.config())).await;
    let first = platform.deploy(&python("first", ECHO)).await.unwrap();
    let second = platform.deploy(&python("second", ECHO)).await.unwrap();
    assert_eq!(fake.requests_to("POST /storage/v1/b").len(), 1);
    let bucket = fake.requests_to("POST /storage/v1/b")[0].json();
    assert_eq!(bucket["name"], "falco-fake-project-us-central1");
    assert_eq!(bucket["iamConfiguration"]["publicAccessPrevention"], "enforced");
    let queues = fake.requests_to(&format!("POST {}/queues", parent()));
    let made = queues.iter().filter(|seen| seen.path.ends_with("/queues")).count();
    assert_eq!(made, 1);
    let pending = platform.submit(&first, &invocation(&json!({}))).await.unwrap();
    while platform
        .collect(&first, std::slice::from_ref(&pending))
        .await
        .unwrap()
        .finished
        .is_empty()
    {}
    platform.remove(&first).await.unwrap();
    assert_eq!(fake.objects(), Vec::<String>::new(), "its results go with it");
    assert!(
        fake.requests_to("DELETE /storage/v1/b/falco-fake-project-us-central1")
            .iter()
            .all(|d| d.path.contains("/o/"))
    );
    // Another process, which knows nothing of queues, cleans up as well.
    let other = connect(fake.config()).await;
    let found = other.fetch_deployment("second").await.unwrap();
    assert_eq!(found, second);
    other.remove(&found).await.unwrap();
    assert!(fake.is_clean());
}

#[tokio::test]
async fn functions_that_are_deployed_at_the_same_time_share_queue_and_bucket() {
    let fake = echoing();
    let platform = connect(with_tasks(fake.config())).await;
    let functions: Vec<_> = (0..8).map(|n| python(&format!("function-{n}"), ECHO)).collect();
    let deployed = functions.iter().map(|function| platform.deploy(function));
    let deployed = futures_util::future::try_join_all(deployed).await.unwrap();
    let removed = deployed.iter().map(|deployment| platform.remove(deployment));
    futures_util::future::try_join_all(removed).await.unwrap();
    assert_eq!(fake.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn every_page_of_functions_is_read_and_others_are_left_alone() {
    let fake = echoing();
    let platform = connect(fake.config()).await;
    for n in 0..5 {
        platform.deploy(&python(&format!("Count_{n}"), ECHO)).await.unwrap();
    }
    let listed = platform.list_deployments().await.unwrap();
    let names: Vec<_> = listed.iter().map(|deployment| deployment.name.as_str()).collect();
    assert_eq!(names, ["Count_0", "Count_1", "Count_2", "Count_3", "Count_4"]);
    assert!(fake.requests_to(&format!("GET {}/functions", parent())).len() >= 3, "pages of two");
    let found = platform.fetch_deployment("Count_3").await.unwrap();
    assert_eq!(found, listed[3]);
}

#[tokio::test]
async fn the_log_of_many_activations_is_one_query() {
    let fake = FakeGcp::start();
    let (platform, _) = deployed(&fake).await;
    let printing = "def main(args):\n    print('line', args['n'])\n    return {}\n";
    let deployment = platform.deploy(&python("printing", printing)).await.unwrap();
    let begin = SystemTime::now();
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(platform.invoke(&deployment, &invocation(&json!({"n": n}))).await.unwrap().id);
    }
    let mut logs = platform.activation_log(&deployment, &ids).await.unwrap();
    while logs.len() < ids.len() {
        logs = platform.activation_log(&deployment, &ids).await.unwrap();
    }
    for (n, log) in logs.iter().enumerate() {
        assert_eq!((&log.id, &*log.lines[0].text), (&ids[n], &*format!("line {n}")));
        assert!(log.lines[0].at.unwrap() + Duration::from_secs(1) > begin);
    }
    let queries = fake.requests_to("entries:list");
    let first: Vec<_> = queries.iter().filter(|q| q.json()["pageToken"].is_null()).collect();
    let asked = first.last().unwrap().json();
    let filter = asked["filter"].as_str().unwrap();
    assert!(ids.iter().all(|id| filter.contains(id.as_str())), "one query for all: {filter}");
    assert!(filter.contains("timestamp>=\"20"), "{filter}");
    assert_eq!(asked["resourceNames"], json!(["projects/fake-project"]));
    // What is not an id of ours never reaches the filter.
    let hostile = ["x\" OR severity>=\"DEFAULT".into()];
    let before = fake.requests_to("entries:list").len();
    assert!(platform.activation_log(&deployment, &hostile).await.unwrap().is_empty());
    assert_eq!(fake.requests_to("entries:list").len(), before);
}

#[tokio::test]
async fn an_invalid_input_is_refused_before_anything_is_sent() {
    let fake = echoing();
    let (platform, deployment) = deployed(&fake).await;
    let before = fake.requests().len();
    let sizes = Scaling::default().with_concurrency(80);
    for (function, word) in [
        (python("f", ECHO).with_env("K_SERVICE", "x"), "K_SERVICE"),
        (python("f", ECHO).with_env("X_GOOGLE_Y", "x"), "X_GOOGLE_Y"),
        (python("f", ECHO).with_scaling(sizes), "one processor"),
        (python("f", ECHO).with_entry_point("a.b"), "a.b"),
    ] {
        let error = platform.deploy(&function).await.unwrap_err();
        assert!(
            error.kind() == ErrorKind::InvalidInput && error.to_string().contains(word),
            "{error}"
        );
    }
    let large = invocation(&json!({"x": "y".repeat(32 << 20)}));
    let error = platform.invoke(&deployment, &large).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PayloadTooLarge);
    assert_eq!(fake.requests().len(), before);
}

#[tokio::test]
async fn without_a_location_connecting_says_which_settings_there_are() {
    let fake = echoing();
    let key = falco_gcp::ServiceAccountKey::from_json(&fake.key()).unwrap();
    let config = falco_gcp::GcpConfig::builder()
        .credentials(falco_gcp::Credentials::ServiceAccountKey(key))
        .build()
        .unwrap();
    let error = GcpFunctions::connect(config).await.unwrap_err().to_string();
    assert!(error.contains("no location") && error.contains("GOOGLE_CLOUD_LOCATION"), "{error}");
}

#[tokio::test]
async fn a_policy_that_somebody_else_changes_meanwhile_is_read_again() {
    let fake = echoing();
    let aborted = r#"{"error":{"code":409,"status":"ABORTED","message":"There were concurrent policy changes."}}"#;
    fake.inject(Fault::answer(":setIamPolicy", 409, aborted).times(2));
    deployed(&fake).await;
    assert_eq!(fake.requests_to(":getIamPolicy").len(), 3);
}
