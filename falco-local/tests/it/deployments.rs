//! Tests of the deployments on disk: for whom they stay, and for how long.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::task::Poll;
use std::thread;
use std::time::{Duration, SystemTime};

use falco_core::{ErrorKind, Ownership, Platform};
use falco_local::{LocalConfig, WorkerLimits};

use crate::support::{Local, eventually, has, invocation, native, node, open, python};

fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path.display().to_string());
        }
    }
    found
}

#[tokio::test]
async fn another_process_finds_a_deployment_and_runs_it_with_its_environment() {
    let local = Local::new();
    let owner = Ownership::new(
        "run-7",
        "ada@here",
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000),
    );
    let function = native("printf '{\"setting\":\"%s\"}\\n' \"$SETTING\" >&3")
        .with_env("SETTING", "on")
        .with_ownership(owner);
    let deployed = local.deploy(&function).await;
    let other = local.other();
    let fetched = other.fetch_deployment(&deployed.name).await.unwrap();
    assert_eq!(fetched, deployed);
    assert_eq!(other.list_deployments().await.unwrap(), [deployed]);
    let activation = other.invoke(&fetched, &invocation("{}")).await.unwrap();
    assert_eq!(activation.outcome.unwrap().as_str(), r#"{"setting":"on"}"#);
}

#[tokio::test]
async fn secrets_are_in_one_file_that_only_its_owner_reads() {
    let local = Local::new();
    local.deploy(&native("echo '{}' >&3").with_env("TOKEN", "marked-secret")).await;
    let holders: Vec<_> = files(local.directory.path())
        .into_iter()
        .filter(|file| fs::read_to_string(file).unwrap().contains("marked-secret"))
        .collect();
    assert_eq!(holders.len(), 1, "{holders:?}");
    assert!(holders[0].ends_with("env.json"));
    assert_eq!(fs::metadata(&holders[0]).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!format!("{:?}", local.platform).contains("marked-secret"));
}

#[tokio::test]
async fn removing_leaves_nothing_and_a_second_time_is_not_found() {
    let local = Local::new();
    let function = local.deploy(&native("echo '{}' >&3")).await;
    local.result(&function, "{}").await;
    local.platform.remove(&function).await.unwrap();
    assert_eq!(fs::read_dir(local.path("deployments")).unwrap().count(), 0);
    let error = local.platform.remove(&function).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = local.platform.invoke(&function, &invocation("{}")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("invoke native-function"), "{error}");
}

#[tokio::test]
async fn what_a_worker_of_a_dead_driver_writes_late_does_not_break_the_next_deployment() {
    let local = Local::new();
    let function = native("echo '{}' >&3");
    let deployed = local.deploy(&function).await;
    let version =
        local.path("deployments").join(&deployed.name).join(&deployed.attributes["version"]);
    local.platform.remove(&deployed).await.unwrap();
    let late = version.join("pycache/module.pyc");
    fs::create_dir_all(late.parent().unwrap()).unwrap();
    fs::write(&late, "x").unwrap();
    let again = local.deploy(&function).await;
    assert_eq!(local.result(&again, "{}").await, "{}");
    local.platform.remove(&again).await.unwrap();
    fs::create_dir_all(late.parent().unwrap()).unwrap();
    let _other = local.other();
    assert_eq!(fs::read_dir(local.path("deployments")).unwrap().count(), 0, "it is rubbish");
}

#[tokio::test]
async fn a_deployment_that_another_driver_has_taken_over_meanwhile_is_not_swept() {
    let local = Local::new();
    let deployed = local.deploy(&native("echo '{}' >&3")).await;
    let record = local.path("deployments").join(&deployed.name).join("record.json");
    let own = fs::read_to_string(&record).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&own).unwrap();
    json["driver"] = "killed".into();
    fs::write(&record, json.to_string()).unwrap();
    fs::write(local.path("drivers").join("killed"), "").unwrap();
    // Another driver that starts has to wait until the deployment is whole again, and to look once more then.
    let lock = fs::File::open(local.path("deployments")).unwrap();
    lock.lock().unwrap();
    let config = LocalConfig::builder().directory(local.directory.path());
    let sweeping = thread::spawn(move || open(config).unwrap());
    while local.path("drivers").read_dir().unwrap().count() < 3 {
        thread::sleep(Duration::from_millis(1));
    }
    fs::write(&record, own).unwrap();
    lock.unlock().unwrap();
    let _other = sweeping.join().unwrap();
    assert_eq!(local.platform.list_deployments().await.unwrap(), [deployed]);
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_is_not_found() {
    let local = Local::new();
    local.deploy(&native("echo '{}' >&3")).await;
    for name in ["", ".", "..", "../deployments/native-function", "native-function/.", "nobody"] {
        let error = local.platform.fetch_deployment(name).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{name:?}");
    }
}

#[tokio::test]
async fn the_functions_modules_are_compiled_once_and_those_of_pythons_library_not_at_all() {
    let local = Local::new();
    let source = "import uuid\ndef main(args): return {'cached': uuid.__cached__}";
    let deployed = local.deploy(&python(source)).await;
    let version =
        local.path("deployments").join(&deployed.name).join(&deployed.attributes["version"]);
    let uuid = local.result(&deployed, "{}").await;
    assert!(!uuid.contains(&version.display().to_string()), "{uuid}");
    let compiled = files(&version.join("pycache"));
    assert!(compiled.len() == 1 && compiled[0].contains("/main__."), "{compiled:?}");
}

#[tokio::test]
async fn deploying_again_replaces_the_code_and_the_same_code_keeps_its_workers() {
    let local = Local::new();
    let old = local.deploy(&native("echo '{\"version\":1}' >&3")).await;
    let worker = local.invoke(&old, "{}").await.container;
    let same = local.deploy(&native("echo '{\"version\":1}' >&3")).await;
    assert_eq!(local.invoke(&same, "{}").await.container, worker);

    let new = local.deploy(&native("echo '{\"version\":2}' >&3")).await;
    assert_ne!(new.attribute("version"), old.attribute("version"));
    assert_eq!(local.result(&new, "{}").await, r#"{"version":2}"#);
    // As with any provider, it is the name that counts.
    assert_eq!(local.result(&old, "{}").await, r#"{"version":2}"#);
    let other_env = native("echo \"{\\\"version\\\":$V}\" >&3").with_env("V", "3");
    let other_env = local.deploy(&other_env).await;
    assert_eq!(local.result(&other_env, "{}").await, r#"{"version":3}"#);
    assert_eq!(local.platform.list_deployments().await.unwrap().len(), 1);
}

#[tokio::test]
async fn deployments_of_a_living_driver_stay_and_those_of_a_dead_one_are_swept() {
    let local = Local::new();
    let kept = local.other().deploy(&native("echo '{}' >&3").with_name("kept")).await.unwrap();
    let alive = local.deploy(&native("echo '{}' >&3").with_name("alive")).await;
    let dead = local.deploy(&native("echo '{}' >&3").with_name("dead")).await;
    // A killed driver leaves its file in place, and the lock of nobody on it.
    fs::write(local.path("drivers").join("killed"), "").unwrap();
    let record = local.path("deployments/dead/record.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    json["driver"] = "killed".into();
    fs::write(&record, json.to_string()).unwrap();

    let next = local.other();
    let names: Vec<_> =
        next.list_deployments().await.unwrap().into_iter().map(|found| found.name).collect();
    assert_eq!(names, [alive.name, kept.name]);
    assert!(!local.path("deployments").join(dead.name).exists());
    assert!(!local.path("drivers/killed").exists());
}

#[tokio::test]
async fn drivers_on_one_directory_do_not_disturb_each_other() {
    let local = Local::new();
    let mine = local.deploy(&native("echo '{\"whose\":\"mine\"}' >&3").with_name("mine")).await;
    let worker = local.invoke(&mine, "{}").await.container;
    let other = local.other();
    let theirs = other.deploy(&native("echo '{}' >&3").with_name("theirs")).await.unwrap();
    other.invoke(&theirs, &invocation("{}")).await.unwrap();
    other.remove(&theirs).await.unwrap();
    drop(other);
    let still = local.invoke(&mine, "{}").await;
    assert_eq!(still.container, worker);
}

#[tokio::test]
async fn foreign_files_in_the_directory_are_left_alone_and_delay_nobody() {
    let local = Local::new();
    let drivers = local.path("drivers");
    assert!(Command::new("mkfifo").arg(drivers.join("pipe")).status().unwrap().success());
    fs::create_dir(drivers.join("folder")).unwrap();
    fs::create_dir(local.path("deployments/folder")).unwrap();
    fs::write(local.path("deployments/file"), "").unwrap();
    fs::create_dir(local.path("deployments/damaged")).unwrap();
    fs::write(local.path("deployments/damaged/record.json"), b"\xff{").unwrap();

    let config = LocalConfig::builder().directory(local.directory.path());
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(open(config)));
    let platform =
        receiver.recv_timeout(Duration::from_secs(30)).expect("it waits for a pipe").unwrap();
    assert_eq!(platform.list_deployments().await.unwrap(), []);
    let error = platform.fetch_deployment("damaged").await.unwrap_err();
    assert!(error.to_string().contains("damaged/record.json is damaged"), "{error}");
}

#[tokio::test]
async fn a_deployment_that_failed_half_way_can_be_listed_and_removed() {
    let local = Local::new();
    let place = local.path("deployments/native-function");
    fs::create_dir_all(place.join("env.json/in-the-way")).unwrap();
    local.platform.deploy(&native("echo '{}' >&3")).await.unwrap_err();
    let listed = local.platform.list_deployments().await.unwrap();
    assert_eq!(listed.len(), 1);
    local.platform.remove(&listed[0]).await.unwrap();
    assert!(!place.exists());
}

#[tokio::test]
async fn a_directory_may_be_relative() {
    // Relative to a directory that tests share: what is made there is gone with `inside`.
    let inside = tempfile::tempdir_in(".").unwrap();
    let relative = Path::new(inside.path().file_name().unwrap()).join("state");
    for (program, function) in [
        ("sh", native("echo '{}' >&3")),
        ("python3", python("def main(args):\n    return {}\n")),
        ("node", node("function main() { return {}; }")),
    ] {
        if has(program) {
            let platform = open(LocalConfig::builder().directory(&relative)).unwrap();
            let deployment = platform.deploy(&function).await.unwrap();
            let activation = platform.invoke(&deployment, &invocation("{}")).await.unwrap();
            assert_eq!(activation.outcome.unwrap().as_str(), "{}");
        }
    }
}

#[test]
fn drivers_that_start_at_the_same_time_do_not_sweep_each_other_away() {
    let local = Local::new();
    let start_often = || {
        for _ in 0..500 {
            drop(local.other());
        }
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(start_often);
        }
    });
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = open(LocalConfig::builder().directory(&file)).unwrap_err();
    assert!(error.to_string().contains(&file.display().to_string()), "{error}");
    assert!(error.hint().unwrap().contains("FALCO_LOCAL_DIR"));

    let none = WorkerLimits::default().with_max_workers(0);
    let error = LocalConfig::builder().directory(directory.path()).workers(none).build();
    assert!(error.unwrap_err().to_string().contains("max_workers must not be zero"));
}

#[tokio::test]
async fn a_missing_interpreter_is_named_with_where_it_was_looked_for() {
    let empty = tempfile::tempdir().unwrap();
    let local = Local::configured(|config| config.env("PATH", empty.path()));
    let error = local.platform.deploy(&crate::support::python("x = 1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let text = error.to_string();
    assert!(
        text.contains("python3") && text.contains(&empty.path().display().to_string()),
        "{text}"
    );
    assert_eq!(local.platform.capabilities().runtimes, ["native"]);
}

#[tokio::test]
async fn a_python_version_is_only_one_that_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let fake = directory.path().join("python3");
    fs::write(&fake, "#!/bin/sh\necho /opt/fake/python\necho 3.12.4\n").unwrap();
    fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
    let local = Local::configured(|config| config.env("PATH", directory.path()));
    let function = |runtime: &str| {
        falco_core::Deployable::from_source("f", runtime.parse().unwrap(), "def main(a): pass")
    };
    local.deploy(&function("python:3.12")).await;
    local.deploy(&function("python:3")).await;
    for wrong in ["python:3.1", "python:3.11", "python:2"] {
        let error = local.platform.deploy(&function(wrong)).await.unwrap_err();
        assert!(error.to_string().contains(&format!("{} is 3.12.4", fake.display())), "{error}");
    }
}

#[tokio::test]
async fn a_deploy_that_is_dropped_leaves_no_file() {
    let local = Local::new();
    for number in 0..8 {
        let function = native("echo '{}' >&3").with_name(format!("dropped-{number}"));
        let function = function.with_env("TOKEN", "marked-secret");
        let mut deploying = local.platform.deploy(&function);
        // The first poll hands the work to another thread.
        let polled = std::future::poll_fn(|cx| Poll::Ready(deploying.as_mut().poll(cx).is_ready()));
        assert!(!polled.await);
    }
    // Longer than the work takes, but on a busy machine: what it has made there is gone a moment later.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let is_empty = || files(&local.path("deployments")).is_empty().then_some(());
    eventually("the end of all files", is_empty).await;
}

#[tokio::test]
async fn a_dropped_update_leaves_what_was_there() {
    let local = Local::new();
    let function = local.deploy(&native("echo '{\"version\":1}' >&3")).await;
    let update = native("echo '{\"version\":2}' >&3");
    let mut deploying = local.platform.deploy(&update);
    std::future::poll_fn(|cx| Poll::Ready(deploying.as_mut().poll(cx).is_ready())).await;
    drop(deploying);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let result = local.result(&function, "{}").await;
    assert!(result.starts_with("{\"version\":"), "{result}");
}

#[tokio::test]
async fn what_has_expired_is_swept_unless_its_driver_lives() {
    let local = Local::new();
    let owned = |name: &str, expires_at: SystemTime| {
        let ownership = Ownership::new("run-7", "ada@here", expires_at);
        native("echo '{}' >&3").with_name(name).with_ownership(ownership)
    };
    let (past, future) = (SystemTime::UNIX_EPOCH, SystemTime::now() + Duration::from_secs(3_600));
    local.deploy(&owned("alive", past)).await;
    let former = local.other();
    for (name, expires_at) in [("expired", past), ("kept", future)] {
        former.deploy(&owned(name, expires_at)).await.unwrap();
    }
    former.deploy(&native("echo '{}' >&3").with_name("unowned")).await.unwrap();
    drop(former);
    let next = local.other();
    let names: Vec<_> =
        next.list_deployments().await.unwrap().into_iter().map(|found| found.name).collect();
    assert_eq!(names, ["alive", "kept", "unowned"]);
}
