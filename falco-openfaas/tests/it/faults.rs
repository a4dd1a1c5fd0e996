//! Tests of answers that only this provider gives, and of those that no HTTP fake can give.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use falco_core::{
    Deployable, ErrorKind, FunctionErrorKind, Invocation, Ownership, Payload, Platform, Scaling,
};
use falco_fakes::openfaas::{FakeFunctions, FakeOpenFaas};
use falco_openfaas::{OpenFaas, OpenFaasConfig, OpenFaasWaits};
use falco_testkit::{RawPeer, Script, Step};

use crate::has_python;

/// A platform whose gateway answers the call after `connect` so, and the error of that call.
async fn invoked(script: Script) -> falco_core::Result<falco_core::Activation> {
    let peer = RawPeer::start([reply("200 OK", "", "{}"), script]).await.unwrap();
    let config = OpenFaasConfig::builder().gateway(peer.url()).python_image("image");
    let platform = OpenFaas::connect(config.build().unwrap()).await;
    let runtime = "python:3".parse().unwrap();
    let deployment = falco_core::Deployment::new("f", runtime).with_platform("openfaas");
    let invocation = Invocation::new("run", "stage", "1", Payload::empty());
    platform.unwrap().invoke(&deployment, &invocation).await
}

fn reply(status: &str, headers: &str, body: &str) -> Script {
    let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len());
    Script::new([Step::Read, Step::Send(format!("{head}{body}").into_bytes())])
}

#[tokio::test]
async fn a_500_of_the_provider_is_not_a_failure_of_the_function() {
    let internal = "x-openfaas-internal: proxy\r\nx-call-id: 1\r\n";
    let body = "Can't reach service for: f.";
    let error = invoked(reply("500 Internal Server Error", internal, body)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.may_have_run() && error.is_retryable(), "{error:?}");
}

#[tokio::test]
async fn a_process_that_ends_without_an_answer_is_a_crash_or_out_of_memory() {
    let headers = "x-call-id: 1\r\n";
    let ended_well = "x-call-id: 1\r\nx-duration-seconds: 0.1\r\n";
    use FunctionErrorKind::{Crashed, OutOfMemory};
    for (script, kind, status) in [
        (reply("500 Internal Server Error", headers, "exit status 7\nout"), Crashed, Some(7)),
        (reply("500 Internal Server Error", headers, "signal: aborted\n"), Crashed, None),
        (reply("500 Internal Server Error", headers, "signal: killed\n"), OutOfMemory, None),
        (reply("200 OK", ended_well, ""), Crashed, Some(0)),
    ] {
        let error = invoked(script).await.unwrap().outcome.unwrap_err();
        assert_eq!((error.kind, error.exit_status), (kind, status));
    }
}

#[tokio::test]
async fn an_instance_that_did_not_start_in_time_is_unavailable_and_did_not_run() {
    // The gateway gives up on scaling from zero by writing nothing (`scaling.go` in openfaas/faas).
    let error = invoked(reply("200 OK", "", "")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.is_retryable() && !error.may_have_run(), "{error:?}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_leaves_it_open_whether_the_function_ran() {
    for script in [Script::reset_after_reading(), Script::proxied_html("502 Bad Gateway")] {
        let error = invoked(script).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.may_have_run(), "{error:?}");
    }
}

#[tokio::test]
async fn a_deploy_that_was_dropped_in_the_middle_is_listed_with_its_owner_and_can_be_removed() {
    let fake = FakeOpenFaas::with(FakeFunctions::Emulated);
    // It never asks a second time whether the new code answers.
    let hour = Duration::from_secs(3600);
    let waits = OpenFaasWaits::default().with_rollout_interval(hour).with_rollout_timeout(hour);
    let platform = OpenFaas::connect(fake.config().waits(waits).build().unwrap()).await.unwrap();
    let ownership =
        Ownership::new("run", "ada@workstation", UNIX_EPOCH + Duration::from_secs(4_000_000_000));
    let function = Deployable::from_source("f", "python:3".parse().unwrap(), "x = 1")
        .with_ownership(ownership.clone());
    let accepted = async {
        while fake.specification("f").is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        deployed = platform.deploy(&function) => panic!("{deployed:?}"),
        () = accepted => {}
    }
    let listed = platform.list_deployments().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].ownership.as_ref(), Some(&ownership));
    platform.remove(&listed[0]).await.unwrap();
    assert!(platform.list_deployments().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_the_gateway_would_refuse_is_refused_before_it_is_sent() {
    let fake = FakeOpenFaas::with(FakeFunctions::Emulated);
    let platform = OpenFaas::connect(fake.config().build().unwrap()).await.unwrap();
    let function = Deployable::from_source("f", "python:3".parse().unwrap(), "x = 1");
    let of_runtime = |name: &str| Deployable::from_source("f", name.parse().unwrap(), "x = 1");
    let sized = |scaling| function.clone().with_scaling(scaling);
    for (wrong, kind) in [
        (function.clone().with_name("Not_DNS"), ErrorKind::InvalidInput),
        (function.clone().with_env("fprocess", "sh"), ErrorKind::InvalidInput),
        (function.clone().with_env("FALCO_CODE", "x"), ErrorKind::InvalidInput),
        (function.clone().with_env("port", "9"), ErrorKind::InvalidInput),
        (of_runtime("python:2"), ErrorKind::Unsupported),
        (of_runtime("nodejs"), ErrorKind::Unsupported),
        (sized(Scaling::default().with_cpus(1.0_f32)), ErrorKind::Unsupported),
        (sized(Scaling::default().with_min_instances(1)), ErrorKind::Unsupported),
        (sized(Scaling::default().with_timeout(Duration::from_secs(901))), ErrorKind::InvalidInput),
    ] {
        let error = platform.deploy(&wrong).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.hint().is_some(), "{error}");
        assert!(fake.specification(&wrong.name).is_none(), "{error}");
    }
}

#[tokio::test]
async fn the_watchdog_waits_longer_than_the_function_may_run_with_a_timeout_and_without() {
    let fake = FakeOpenFaas::with(FakeFunctions::Emulated);
    let platform = OpenFaas::connect(fake.config().build().unwrap()).await.unwrap();
    let longest = platform.capabilities().timeout.unwrap().max;
    let function = Deployable::from_source("f", "python:3".parse().unwrap(), "x = 1");
    for timeout in [None, Some(Duration::from_secs(40)), Some(longest)] {
        let sized = function.clone().with_scaling(Scaling::default().with_timeout(timeout));
        let deployment = platform.deploy(&sized).await.unwrap();
        let variables = fake.specification(&deployment.name).unwrap()["envVars"].clone();
        let of = |name: &str| {
            let ms = variables[name].as_str().unwrap().strip_suffix("ms").unwrap();
            Duration::from_millis(ms.parse().unwrap())
        };
        assert_eq!(of("exec_timeout"), timeout.unwrap_or(longest));
        // The watchdog would cut the connection after 30 seconds of its own.
        assert!(of("write_timeout") > of("exec_timeout"), "{variables}");
        assert!(of("read_timeout") > of("exec_timeout"), "{variables}");
    }
}

#[tokio::test]
async fn a_function_does_not_see_the_gateways_password() {
    if !has_python() {
        return;
    }
    let fake = FakeOpenFaas::start();
    let platform = OpenFaas::connect(fake.config().build().unwrap()).await.unwrap();
    let source = "import os\ndef main(args): return {'seen': sorted(os.environ)}";
    let function = Deployable::from_source("f", "python:3".parse().unwrap(), source);
    let deployment = platform.deploy(&function).await.unwrap();
    let invocation = Invocation::new("run", "stage", "1", Payload::empty());
    let activation = platform.invoke(&deployment, &invocation).await.unwrap();
    let seen = activation.outcome.unwrap();
    assert!(!seen.as_str().contains("Http_"), "{seen:?}");
}

#[tokio::test]
async fn a_process_that_aborts_has_crashed_and_one_that_is_killed_is_out_of_memory() {
    if !has_python() {
        return;
    }
    let fake = FakeOpenFaas::start();
    let platform = OpenFaas::connect(fake.config().build().unwrap()).await.unwrap();
    use FunctionErrorKind::{Crashed, OutOfMemory};
    for (signal, kind) in [("SIGABRT", Crashed), ("SIGKILL", OutOfMemory)] {
        let source = format!(
            "import os, signal\ndef main(args): os.kill(os.getpid(), signal.{signal}); return {{}}"
        );
        let function = Deployable::from_source("f", "python:3".parse().unwrap(), source);
        let deployment = platform.deploy(&function).await.unwrap();
        let invocation = Invocation::new("run", "stage", "1", Payload::empty());
        let ended = platform.invoke(&deployment, &invocation).await.unwrap().outcome;
        assert_eq!(ended.unwrap_err().kind, kind, "{signal}");
    }
}

#[tokio::test]
async fn an_answer_says_where_and_when_it_ran() {
    let instance = r#"{"version":"v1","container":"pod-1","runtime":"python 3.12","booted":1000000,"began":2000000,"ended":3000000}"#;
    let body = format!("{instance}\n{{\"ok\":{{}},\"ms\":250.0}}");
    let activation = invoked(reply("200 OK", "x-call-id: 1\r\n", &body)).await.unwrap();
    let at = |seconds| Some(UNIX_EPOCH + Duration::from_secs(seconds));
    let times = (activation.booted_at, activation.started_at, activation.ended_at);
    assert_eq!(times, (at(1), at(2), at(3)));
    assert_eq!(activation.execution, Some(Duration::from_millis(250)));
    assert_eq!(activation.container.as_deref(), Some("pod-1"));
    assert_eq!(activation.code_version.as_deref(), Some("v1"));
    assert_eq!(activation.attribute("runtime"), Some("python 3.12"));
}

/// Waits until a function has made a file.
async fn made(path: &Path) {
    while !path.exists() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_replica_that_is_busy_refuses_a_call_before_it_runs_and_takes_one_when_it_is_free() {
    if !has_python() {
        return;
    }
    let fake = FakeOpenFaas::start();
    fake.set_image_variable("max_inflight", "1");
    let platform = OpenFaas::connect(fake.config().build().unwrap()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let source = "
import os, time
def main(args):
    open(args['runs'], 'a').write('ran ')
    while not os.path.exists(args['go']):
        time.sleep(0.01)
    return {}";
    let function = Deployable::from_source("f", "python:3".parse().unwrap(), source);
    let deployment = platform.deploy(&function).await.unwrap();
    let (runs, go) = (folder.path().join("runs"), folder.path().join("go"));
    let argument = Payload::json(&serde_json::json!({"runs": runs, "go": go})).unwrap();
    let call = || Invocation::new("run", "stage", "1", argument.clone());
    let first = call();
    let busy = async {
        made(&runs).await;
        let refused = platform.invoke(&deployment, &call()).await;
        std::fs::write(&go, "").unwrap();
        refused
    };
    let (first, refused) = tokio::join!(platform.invoke(&deployment, &first), busy);
    let error = refused.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Throttled, "{error}");
    assert!(error.is_retryable() && !error.may_have_run(), "{error:?}");
    assert!(first.unwrap().outcome.is_ok());
    let again = platform.invoke(&deployment, &call()).await.unwrap();
    assert!(again.outcome.is_ok(), "{again:?}");
    assert_eq!(std::fs::read_to_string(runs).unwrap(), "ran ran ");
}

#[tokio::test]
async fn a_child_that_outlives_the_timeout_holds_up_the_answer_which_is_a_timeout_nevertheless() {
    if !has_python() {
        return;
    }
    let fake = FakeOpenFaas::start();
    let platform = OpenFaas::connect(fake.config().build().unwrap()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    // The child sees that its parent has been killed, and closes its streams a moment later.
    let source = "
import os, time
def main(args):
    parent = os.getpid()
    if os.fork() == 0:
        while os.getppid() == parent:
            time.sleep(0.01)
        time.sleep(0.2)
        open(args['outlived'], 'w').close()
        os._exit(0)
    open(args['started'], 'w').close()
    time.sleep(600)";
    let (started, outlived) = (folder.path().join("started"), folder.path().join("outlived"));
    let argument = serde_json::json!({"started": started, "outlived": outlived});
    // The first is enough, unless the machine takes longer to start Python.
    for seconds in [1, 5, 25] {
        let scaling = Scaling::default().with_timeout(Duration::from_secs(seconds));
        let function = Deployable::from_source("f", "python:3".parse().unwrap(), source);
        let deployment = platform.deploy(&function.with_scaling(scaling)).await.unwrap();
        let invocation = Invocation::new("run", "stage", "1", Payload::json(&argument).unwrap());
        let error = platform.invoke(&deployment, &invocation).await.unwrap().outcome.unwrap_err();
        assert_eq!(error.kind, FunctionErrorKind::Timeout, "{error:?}");
        if started.exists() {
            assert!(outlived.exists(), "the answer came before the child had ended");
            return;
        }
    }
    panic!("the function did not start within 25 seconds");
}
