//! How many workers there are, and what they see.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use falco_core::{ErrorKind, Event, Monitor, Platform, Scaling, Verdict, WaitReason};
use falco_local::WorkerLimits;
use falco_package::Archive;
use futures_util::future::join_all;

use crate::support::{Local, eventually, has, invocation, native, node, pid_of, python, runs};

/// Answers once `n` of these run at the same time.
fn meeting(local: &Local, n: usize) -> falco_core::Deployable {
    let place = local.path("meeting");
    std::fs::create_dir_all(&place).unwrap();
    let place = place.display();
    native(&format!(
        "touch '{place}'/$$; while [ $(ls '{place}' | wc -l) -lt {n} ]; do sleep 0.01; done; echo '{{}}' >&3"
    ))
}

#[tokio::test]
async fn workers_are_started_as_demand_rises_up_to_the_maximum() {
    let local = Local::with(|config| config.with_max_workers(3));
    let function = local.deploy(&meeting(&local, 3)).await;
    let invocations: Vec<_> = (0..12).map(|_| invocation("{}")).collect();
    let calls = invocations.iter().map(|invocation| local.platform.invoke(&function, invocation));
    let workers: BTreeSet<_> =
        join_all(calls).await.into_iter().map(|done| done.unwrap().container.unwrap()).collect();
    assert_eq!(workers.len(), 3);
}

#[tokio::test]
async fn one_call_after_the_other_needs_one_worker() {
    let local = Local::with(|config| config.with_max_workers(8));
    let function = local.deploy(&native("echo '{}' >&3")).await;
    let mut workers = BTreeSet::new();
    for _ in 0..200 {
        workers.insert(local.invoke(&function, "{}").await.container);
    }
    assert_eq!(workers.len(), 1);
}

#[tokio::test]
async fn scaling_changes_workers_memory_and_time_of_what_runs() {
    let local = Local::with(|config| config.with_max_workers(1));
    let function = local.deploy(&meeting(&local, 2)).await;
    let (first, second) = (invocation("{}"), invocation("{}"));
    let both = join_all([
        local.platform.invoke(&function, &first),
        local.platform.invoke(&function, &second),
    ]);
    // One worker alone would wait for ever for the other.
    let larger = Scaling::default().with_max_instances(2).with_memory_mib(512);
    let (done, scaled) = tokio::join!(both, local.platform.scale(&function, &larger));
    assert!(done.into_iter().all(|done| done.unwrap().is_success()));
    let scaled = scaled.unwrap();
    assert_eq!((scaled.scaling.max_instances, scaled.scaling.memory_mib), (Some(2), Some(512)));
    assert_eq!(scaled.scaling.timeout, function.scaling.timeout);
    assert_eq!(local.other().fetch_deployment(&function.name).await.unwrap(), scaled);
    assert_eq!(local.invoke(&function, "{}").await.memory_mib, Some(512));
}

#[tokio::test]
async fn a_size_that_this_platform_lacks_is_unsupported() {
    let local = Local::new();
    let function = local.deploy(&native("echo '{}' >&3")).await;
    let cpus = Scaling::default().with_cpus(2.0);
    let error = local.platform.scale(&function, &cpus).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("cpus"), "{error}");
}

#[tokio::test]
async fn an_idle_worker_is_stopped_and_the_next_call_starts_another() {
    let local = Local::with(|config| config.with_idle_timeout(Duration::from_millis(50)));
    let function = local.deploy(&native("echo '{}' >&3")).await;
    let first = pid_of(&local.invoke(&function, "{}").await);
    eventually("the idle worker's end", || (!runs(&first)).then_some(())).await;
    assert_eq!(local.invoke(&function, "{}").await.cold_start, Some(true));
}

#[tokio::test]
async fn workers_that_are_to_be_kept_start_early_and_stay() {
    let local = Local::with(|config| config.with_idle_timeout(Duration::from_millis(20)));
    let started = local.path("started");
    let source = format!(
        "#!/bin/sh\necho $$ >> '{}'\nwhile read -r line; do echo '{{}}' >&3; done\n",
        started.display()
    );
    let function =
        falco_core::Deployable::from_source("kept", "native".parse().unwrap(), source.as_str())
            .with_scaling(Scaling::default().with_min_instances(1));
    let function = local.deploy(&function).await;
    let pid = eventually("the early start", || {
        let pids = std::fs::read_to_string(&started).ok()?;
        pids.lines().next().map(str::to_owned)
    })
    .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let activation = local.invoke(&function, "{}").await;
    assert_eq!((activation.cold_start, pid_of(&activation)), (Some(false), pid));
}

#[tokio::test]
async fn a_worker_sees_its_own_environment_and_nothing_of_the_drivers() {
    // Cargo sets many variables in the environment of its tests.
    assert!(std::env::var("CARGO_MANIFEST_DIR").is_ok());
    let local = Local::new();
    let function =
        native("env > /proc/self/fd/1; echo '{}' >&3").with_env("MY_SETTING", "a secret = 1");
    assert!(!format!("{function:?}").contains("a secret"));
    let function = local.deploy(&function).await;
    let activation = local.invoke(&function, "{}").await;
    let log = local.log(&function, &activation).await;
    let names: BTreeSet<_> =
        log.iter().filter_map(|line| Some(line.text.split_once('=')?.0.to_owned())).collect();
    // The shell itself adds PWD and its like.
    let shells = ["PWD", "OLDPWD", "SHLVL", "_"];
    let seen: Vec<_> = names.iter().filter(|name| !shells.contains(&name.as_str())).collect();
    assert_eq!(seen, ["HOME", "LANG", "MY_SETTING", "PATH", "TMPDIR"]);
    assert!(log.iter().any(|line| line.text == "MY_SETTING=a secret = 1"));
}

#[tokio::test]
async fn an_archive_brings_its_own_modules() {
    let local = Local::new();
    if has("python3") {
        let zip = Archive::new()
            .with_file(
                "__main__.py",
                "from dep.inner import answer\ndef run(args):\n    return {'answer': answer}\n",
            )
            .unwrap()
            .with_file("dep/inner.py", "answer = 42\n")
            .unwrap()
            .to_zip()
            .unwrap();
        let function =
            falco_core::Deployable::from_archive("modules", "python:3".parse().unwrap(), zip)
                .with_entry_point("run");
        let function = local.deploy(&function).await;
        assert_eq!(local.result(&function, "{}").await, r#"{"answer":42}"#);
    }
    if has("node") {
        for (package, main) in [
            (
                r#"{"main":"lib/start.js"}"#,
                "exports.main = () => ({answer: require('dep').answer});",
            ),
            (
                r#"{"main":"lib/start.js","type":"module"}"#,
                "import dep from 'dep'; export function main() { return {answer: dep.answer}; }",
            ),
        ] {
            let zip = Archive::new()
                .with_file("package.json", package)
                .unwrap()
                .with_file("lib/start.js", main)
                .unwrap()
                .with_file("node_modules/dep/index.js", "exports.answer = 42;")
                .unwrap()
                .to_zip()
                .unwrap();
            let function =
                falco_core::Deployable::from_archive("modules", "nodejs".parse().unwrap(), zip);
            let function = local.deploy(&function).await;
            assert_eq!(local.result(&function, "{}").await, r#"{"answer":42}"#, "{package}");
        }
    }
}

#[tokio::test]
async fn a_function_cannot_read_the_requests_on_stdin() {
    let local = Local::new();
    for (program, function) in [
        ("python3", python("import sys\ndef main(args):\n    return {'in': sys.stdin.read()}\n")),
        ("node", node("function main() { return {in: require('fs').readFileSync(0, 'utf8')}; }")),
    ] {
        if has(program) {
            let function = local.deploy(&function).await;
            assert_eq!(local.result(&function, "{}").await, r#"{"in":""}"#, "{program}");
        }
    }
}

#[tokio::test]
async fn a_python_function_may_use_processes_however_they_are_started() {
    if !has("python3") {
        return;
    }
    let local = Local::new();
    let source = "
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
def square(n):
    return n * n
def main(args):
    context = multiprocessing.get_context(args['how'])
    with ProcessPoolExecutor(2, context) as processes:
        return {'squares': list(processes.map(square, range(4)))}
";
    let function = local.deploy(&python(source)).await;
    for how in ["fork", "spawn", "forkserver"] {
        let result = local.result(&function, &format!(r#"{{"how":"{how}"}}"#)).await;
        assert_eq!(result, r#"{"squares":[0,1,4,9]}"#, "{how}");
    }
}

/// Starts this test again in a process with this limit, in which it has to pass; false in that process.
fn passes_again_under(limit: &str, test: &str) -> bool {
    const AGAIN: &str = "FALCO_TEST_UNDER_LIMIT";
    if std::env::var_os(AGAIN).is_some() {
        return false;
    }
    let status = std::process::Command::new("/bin/sh")
        .args(["-c", &format!("{limit} && exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(AGAIN, "1")
        .status();
    assert!(status.unwrap().success());
    true
}

/// There are so few descriptors that only some of the workers can have theirs.
#[tokio::test]
async fn calls_wait_for_running_workers_where_there_is_no_room_for_another() {
    if passes_again_under(
        "ulimit -n 100",
        "workers::calls_wait_for_running_workers_where_there_is_no_room_for_another",
    ) {
        return;
    }
    let local = Local::with(|config| config.with_max_workers(40));
    let function = local.deploy(&native("sleep 0.05; echo '{}' >&3")).await;
    let invocations: Vec<_> = (0..200).map(|_| invocation("{}")).collect();
    let calls = invocations.iter().map(|invocation| local.platform.invoke(&function, invocation));
    let workers: BTreeSet<_> =
        join_all(calls).await.into_iter().map(|done| done.unwrap().container.unwrap()).collect();
    assert!((2..40).contains(&workers.len()), "{} workers", workers.len());
}

#[tokio::test]
async fn a_worker_has_the_limit_of_open_files_that_its_driver_was_started_with() {
    // A platform of another test may have raised the limit of this process, so a second one looks.
    if passes_again_under(
        "ulimit -Sn 200",
        "workers::a_worker_has_the_limit_of_open_files_that_its_driver_was_started_with",
    ) {
        return;
    }
    let local = Local::new();
    let function = local.deploy(&native("echo \"{\\\"limit\\\":$(ulimit -Sn)}\" >&3")).await;
    assert_eq!(local.result(&function, "{}").await, r#"{"limit":200}"#);
    let driver = std::process::Command::new("/bin/sh").args(["-c", "ulimit -Sn"]).output().unwrap();
    assert_ne!(driver.stdout, b"200\n", "the driver's own limit is raised");
}

#[tokio::test]
async fn a_worker_has_a_temporary_directory_of_its_own_that_goes_with_it() {
    let base = tempfile::tempdir().unwrap();
    let local = Local::configured(|config| {
        config.env("TMPDIR", base.path()).workers(WorkerLimits::default().with_max_workers(1))
    });
    let count = || std::fs::read_dir(base.path()).unwrap().count();
    let body = "touch \"$TMPDIR/file\"; echo \"{\\\"at\\\":\\\"$TMPDIR\\\",\\\"files\\\":$(ls \"$TMPDIR\" | wc -l)}\" >&3";
    let at = |result: &str| result.split('"').nth(3).unwrap().to_owned();
    let function = local.deploy(&native(body)).await;
    let first = local.result(&function, "{}").await;
    assert!(first.ends_with(":1}"), "{first}");
    assert!(at(&first).starts_with(base.path().to_str().unwrap()), "{first}");
    assert_eq!(local.result(&function, "{}").await, first, "it stays as long as the worker");
    let other = local.deploy(&native(body).with_name("other")).await;
    assert_ne!(at(&local.result(&other, "{}").await), at(&first));
    local.platform.remove(&function).await.unwrap();
    assert!(!std::path::Path::new(&at(&first)).exists());
    drop(local);
    assert_eq!(count(), 0);
}

#[tokio::test]
async fn the_files_of_a_function_are_read_only() {
    let local = Local::new();
    // The superuser may write anyway, so the permissions are looked at.
    let modes = "stat -c %a . exec | tr '\\n' ' '";
    let body = format!("printf '{{\"modes\":\"%s\"}}\\n' \"$({modes})\" >&3");
    let function = local.deploy(&native(&body)).await;
    assert_eq!(local.result(&function, "{}").await, r#"{"modes":"555 555 "}"#);
    local.platform.remove(&function).await.unwrap();
    assert_eq!(std::fs::read_dir(local.path("deployments")).unwrap().count(), 0);
}

/// The invocations that began and ended to wait for a worker, in order.
#[derive(Debug, Default)]
struct Waits(Mutex<Vec<&'static str>>);

impl Monitor for Waits {
    fn event(&self, event: &Event<'_>) -> Verdict {
        let what = match event {
            Event::Held { reason: WaitReason::Queue, .. } => "waits",
            Event::Waiting { reason: WaitReason::Queue, .. } => "begins",
            _ => return Verdict::Continue,
        };
        self.0.lock().unwrap().push(what);
        Verdict::Continue
    }
}

#[tokio::test]
async fn calls_that_wait_for_a_busy_worker_say_so_and_say_when_they_begin() {
    let local = Local::with(|config| config.with_max_workers(1));
    let function = local.deploy(&native("sleep 0.05; echo '{}' >&3")).await;
    let waits = Arc::new(Waits::default());
    let invocations: Vec<_> =
        (0..3).map(|_| invocation("{}").with_monitor(waits.clone())).collect();
    let calls = invocations.iter().map(|invocation| local.platform.invoke(&function, invocation));
    assert!(join_all(calls).await.into_iter().all(|done| done.unwrap().is_success()));
    assert_eq!(*waits.0.lock().unwrap(), ["waits", "waits", "begins", "begins"]);

    let alone = invocation("{}").with_monitor(waits.clone());
    local.platform.invoke(&function, &alone).await.unwrap();
    assert_eq!(waits.0.lock().unwrap().len(), 4, "a free worker needs no wait");
}
