//! Workers that are forked out of an interpreter which has loaded the shim.

use std::collections::BTreeSet;
use std::time::Duration;

use falco_core::{Deployable, FunctionErrorKind, Platform};
use falco_local::{ForkedWorkers, WorkerLimits};
use falco_package::Archive;
use futures_util::future::join_all;
use serde_json::Value;

use crate::support::{Local, eventually, has, invocation, pid_of, python, runs};

fn forking(workers: u32) -> Local {
    let limits = WorkerLimits::default().with_max_workers(workers);
    Local::configured(|config| config.workers(limits).forked_workers(ForkedWorkers::Always))
}

async fn json(local: &Local, deployment: &falco_core::Deployment, argument: &str) -> Value {
    serde_json::from_str(&local.result(deployment, argument).await).unwrap()
}

/// The driver's own process id, as a function sees it.
fn driver() -> Value {
    Value::from(std::process::id())
}

/// Statements of a function that wait until so many workers run it at once. They need `os` and `time`.
fn meeting(local: &Local, workers: u32) -> String {
    let place = local.path("meeting");
    std::fs::create_dir(&place).unwrap();
    format!(
        "place = {place:?}
    open(place + '/' + str(os.getpid()), 'w').close()
    while len(os.listdir(place)) < {workers}:
        time.sleep(0.01)"
    )
}

#[tokio::test]
async fn forked_workers_differ_in_all_in_which_workers_differ() {
    if !has("python3") {
        return;
    }
    const WORKERS: u32 = 6;
    let local = forking(WORKERS);
    let meet = meeting(&local, WORKERS);
    let source = format!(
        "
import os, random, sys, tempfile, time
def main(args):
    {meet}
    files = sorted(int(fd) for fd in os.listdir('/proc/self/fd'))
    return {{'parent': os.getppid(), 'leads': os.getpgid(0) == os.getpid(), 'random': random.random(),
            'scratch': os.environ['TMPDIR'], 'temp': tempfile.gettempdir(), 'pid': os.getpid(),
            'files': len(files), 'in': os.readlink('/proc/self/fd/0'), 'directory': os.getcwd(), 'argv': sys.argv,
            'set': os.environ['SET']}}
"
    );
    let function = local.deploy(&python(&source).with_env("SET", "yes")).await;
    let invocations: Vec<_> = (0..WORKERS).map(|_| invocation("{}")).collect();
    let calls = invocations.iter().map(|invocation| local.platform.invoke(&function, invocation));
    let done = join_all(calls).await.into_iter().map(|done| done.unwrap().outcome.unwrap());
    let done: Vec<Value> = done.map(|done| serde_json::from_str(done.as_str()).unwrap()).collect();
    let distinct = |key: &str| done.iter().map(|one| one[key].to_string()).collect::<BTreeSet<_>>();
    for (key, count) in [
        ("parent", 1),
        ("leads", 1),
        ("random", 6),
        ("scratch", 6),
        ("temp", 6),
        ("pid", 6),
        ("files", 1),
        ("in", 1),
        ("directory", 1),
        ("set", 1),
    ] {
        assert_eq!(distinct(key).len(), count, "{key}: {done:?}");
    }
    assert_ne!(done[0]["parent"], driver(), "{done:?}");
    assert_eq!(done[0]["leads"], true);
    assert_eq!(done[0]["in"], "/dev/null");
    assert!(done.iter().all(|one| one["scratch"] == one["temp"]), "{done:?}");

    // The same function with a worker that is started by itself sees the same.
    let alone = Local::configured(|config| config.forked_workers(ForkedWorkers::Never));
    let source = source.replace(&format!("< {WORKERS}"), "< 1");
    let function = alone.deploy(&python(&source).with_env("SET", "yes")).await;
    let other = json(&alone, &function, "{}").await;
    assert_eq!(other["parent"], driver());
    for key in ["leads", "files", "in", "set"] {
        assert_eq!(other[key], done[0][key], "{key}");
    }
    let name = |argv: &Value| argv[0].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    assert_eq!(name(&other["argv"]), name(&done[0]["argv"]));
}

/// A function with a package of others and a module of its own; both note the process that has loaded them.
fn packages(main: &str, theirs: &str) -> Deployable {
    let zip = Archive::new()
        .with_file("__main__.py", main.to_owned())
        .and_then(|zip| zip.with_file("own.py", "import os\npid = os.getpid()\n"))
        .and_then(|zip| {
            let theirs = format!("import os\npid = os.getpid()\n{theirs}\n");
            zip.with_file("virtualenv/lib/python3/site-packages/theirs.py", theirs)
        })
        .and_then(|zip| zip.to_zip())
        .unwrap();
    Deployable::from_archive("packages", "python:3".parse().unwrap(), zip)
}

const WHERE: &str = "
def main(args):
    mine = os.getpid()
    return {'theirs': theirs.pid == mine, 'own': own.pid == mine, 'alone': os.getppid() == args['driver']}
";

#[tokio::test]
async fn imports_at_the_beginning_that_are_not_the_functions_own_happen_once() {
    if !has("python3") {
        return;
    }
    let local = forking(2);
    for (main, theirs_is_loaded_by_the_worker) in [
        ("'''A function.'''\nimport os\nimport theirs\nimport own\n", false),
        ("from theirs import pid\nimport os, theirs, own\n", false),
        // A statement before an import may change what the import does.
        ("import os, own\nimport theirs\n", true),
        ("import os\nos.environ['A'] = 'b'\nimport theirs, own\n", true),
        ("import os\nif True:\n    import theirs\nimport own\n", true),
    ] {
        let function = local.deploy(&packages(&format!("{main}{WHERE}"), "")).await;
        let argument = format!(r#"{{"driver":{}}}"#, std::process::id());
        let done = json(&local, &function, &argument).await;
        assert_eq!(done["theirs"], theirs_is_loaded_by_the_worker, "{main}");
        assert_eq!((&done["own"], &done["alone"]), (&true.into(), &false.into()), "{main}");
    }
}

#[tokio::test]
async fn workers_start_by_themselves_where_an_import_does_what_a_fork_would_copy() {
    if !has("python3") {
        return;
    }
    let local = forking(2);
    let argument = format!(r#"{{"driver":{}}}"#, std::process::id());
    for theirs in [
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()",
        "import subprocess\nchild = subprocess.Popen(['sleep', '600'])",
        "import tempfile\nfile = tempfile.TemporaryFile()",
        "import mmap\nshared = mmap.mmap(-1, 4096)",
        "import random\ngenerator = random.Random()",
        "print('hello')",
        "import sys\nprint('hello', file=sys.stderr, end='')",
    ] {
        let main = format!("import os, theirs, own\n{WHERE}");
        let function = local.deploy(&packages(&main, theirs)).await;
        let done = json(&local, &function, &argument).await;
        assert_eq!((&done["alone"], &done["theirs"]), (&true.into(), &true.into()), "{theirs}");
    }
    // An import that fails is the function's failure, with the words of one that is started by itself.
    let main = format!("import os, theirs, own\n{WHERE}");
    let function = local.deploy(&packages(&main, "raise ValueError('no luck')")).await;
    let failure = local.failure(&function, &argument).await;
    assert_eq!(failure.kind, FunctionErrorKind::Initialization);
    assert_eq!(failure.message, "no luck");
}

/// A function that exits with the `status`, or dies of the `signal`, in its argument; without one it returns the ids of its process
/// and its parent.
const ENDS: &str = "
import os
def main(args):
    if 'status' in args: os._exit(args['status'])
    if 'signal' in args: os.kill(os.getpid(), args['signal'])
    return {'parent': os.getppid(), 'pid': os.getpid()}
";

#[tokio::test]
async fn the_end_of_a_forked_worker_is_reported_with_its_status() {
    if !has("python3") {
        return;
    }
    let local = forking(1);
    let function = local.deploy(&python(ENDS)).await;
    let first = json(&local, &function, "{}").await;
    assert_ne!(first["parent"], driver());
    for (argument, status) in [(r#"{"status":3}"#, 3), (r#"{"signal":9}"#, -9)] {
        let failure = local.failure(&function, argument).await;
        assert_eq!((failure.kind, failure.exit_status), (FunctionErrorKind::Crashed, Some(status)));
    }
    let last = json(&local, &function, "{}").await;
    assert_ne!(last["parent"], driver());
    assert_ne!(first["pid"], last["pid"]);
}

#[tokio::test]
async fn workers_go_on_and_others_start_when_their_server_is_ended() {
    if !has("python3") {
        return;
    }
    let local = forking(1);
    let function = local.deploy(&python(ENDS)).await;
    let first = json(&local, &function, "{}").await;
    assert_ne!(first["parent"], driver(), "the test would end itself");
    let server = first["parent"].to_string();
    let killed = std::process::Command::new("kill").args(["-KILL", &server]).status().unwrap();
    assert!(killed.success());
    eventually("the end of the server", || (!runs(&server)).then_some(())).await;
    let second = json(&local, &function, "{}").await;
    assert_eq!(first["pid"], second["pid"]);
    // Only the server could have known its status.
    let failure = local.failure(&function, r#"{"status":3}"#).await;
    assert_eq!((failure.kind, failure.exit_status), (FunctionErrorKind::Crashed, None));
    let third = json(&local, &function, "{}").await;
    assert_ne!(third["parent"], first["parent"]);
}

#[tokio::test]
async fn a_server_ends_with_its_last_worker_and_with_the_function() {
    if !has("python3") {
        return;
    }
    let limits =
        WorkerLimits::default().with_max_workers(2).with_idle_timeout(Duration::from_millis(50));
    let local =
        Local::configured(|config| config.workers(limits).forked_workers(ForkedWorkers::Always));
    let function =
        local.deploy(&python("import os\ndef main(args): return {'p': os.getppid()}\n")).await;
    let server = json(&local, &function, "{}").await["p"].to_string();
    eventually("the end of the idle server", || (!runs(&server)).then_some(())).await;

    let local = forking(2);
    let function =
        local.deploy(&python("import os\ndef main(args): return {'p': os.getppid()}\n")).await;
    let server = json(&local, &function, "{}").await["p"].to_string();
    assert!(runs(&server));
    local.platform.remove(&function).await.unwrap();
    assert!(!runs(&server), "removing waits for it");
}

#[tokio::test]
async fn only_functions_that_may_have_many_workers_get_a_server_unasked() {
    if !has("python3") {
        return;
    }
    for (most, forked) in [(4, 0), (6, 4)] {
        let limits = WorkerLimits::default().with_max_workers(most);
        let local = Local::configured(|config| config.workers(limits));
        let meet = meeting(&local, most);
        let source = format!(
            "
import os, time
def main(args):
    {meet}
    return {{'parent': os.getppid()}}
"
        );
        let function = local.deploy(&python(&source)).await;
        let invocations: Vec<_> = (0..most).map(|_| invocation("{}")).collect();
        let calls =
            invocations.iter().map(|invocation| local.platform.invoke(&function, invocation));
        let done: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(done.iter().map(pid_of).collect::<BTreeSet<_>>().len(), most as usize);
        let mine = format!(r#"{{"parent":{}}}"#, std::process::id());
        let others = done.iter().filter(|one| one.outcome.as_ref().unwrap().as_str() != mine);
        assert_eq!(others.count(), forked);
    }
}
