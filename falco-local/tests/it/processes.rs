//! No process outlives the platform, however the driver ends.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use falco_core::{AsyncPlatform, Deployable, Platform};
use falco_local::{ForkedWorkers, LocalConfig, LocalPlatform};

use crate::support::{
    Local, eventually, has, invocation, native, node, open, pid_of, python, runs,
};

const ROLE: &str = "FALCO_TEST_DRIVER_DIRECTORY";

/// Functions that never end, each with a child of its own; they note both in a file of `place`.
fn busy(place: &Path) -> Vec<Deployable> {
    let place = place.display();
    let mut functions = vec![native(&format!(
        "sleep 600 & printf '%s %s' $$ $! > '{place}/native.new'; mv '{place}/native.new' '{place}/native'; \
         while :; do :; done"
    ))];
    if has("python3") {
        functions.push(python(&format!(
            "
import os, subprocess
def main(args):
    child = subprocess.Popen(['sleep', '600'])
    open('{place}/python.new', 'w').write(f'{{os.getpid()}} {{child.pid}}')
    os.rename('{place}/python.new', '{place}/python')
    while True: pass
"
        )));
    }
    if has("node") {
        functions.push(node(&format!(
            "
function main() {{
  const fs = require('fs');
  const child = require('child_process').spawn('sleep', ['600']);
  fs.writeFileSync('{place}/node.new', process.pid + ' ' + child.pid);
  fs.renameSync('{place}/node.new', '{place}/node');
  for (;;);
}}"
        )));
    }
    functions
}

/// The process ids that busy functions have noted, once all have.
async fn noted(place: &Path, functions: usize) -> Vec<String> {
    eventually("the start of the busy functions", || {
        let names = ["native", "python", "node"];
        let notes: Vec<_> =
            names.iter().filter_map(|name| fs::read_to_string(place.join(name)).ok()).collect();
        let pids = notes.iter().flat_map(|note| note.split(' ').map(str::to_owned)).collect();
        (notes.len() == functions).then_some(pids)
    })
    .await
}

async fn keep_busy(platform: &LocalPlatform, place: &Path) -> usize {
    let functions = busy(place);
    for function in &functions {
        let deployment = platform.deploy(function).await.unwrap();
        platform.submit(&deployment, &invocation("{}")).await.unwrap();
    }
    functions.len()
}

#[tokio::test]
async fn a_dropped_platform_has_no_process_left() {
    let local = Local::new();
    let functions = keep_busy(&local.platform, local.directory.path()).await;
    let pids = noted(local.directory.path(), functions).await;
    assert!(pids.iter().all(|pid| runs(pid)));
    let Local { platform, directory } = local;
    drop(platform);
    eventually("the end of all", || pids.iter().all(|pid| !runs(pid)).then_some(())).await;
    assert_eq!(fs::read_dir(directory.path().join("drivers")).unwrap().count(), 0);
}

/// The driver that the tests below start and end: this very program, which plays its part because of a variable.
#[tokio::test]
async fn the_part_of_a_driver() {
    let Some(place) = std::env::var_os(ROLE) else { return };
    let place = Path::new(&place);
    let config = LocalConfig::builder().directory(place.join("state")).build_with_env().unwrap();
    let platform = LocalPlatform::connect(config).await.unwrap();
    keep_busy(&platform, place).await;
    let orders = ["panic", "one more"];
    let ordered = || orders.into_iter().find(|order| place.join(order).exists());
    if eventually("an order", ordered).await == "one more" {
        let again = place.join("again");
        fs::create_dir(&again).unwrap();
        keep_busy(&platform, &again).await;
        std::future::pending::<()>().await;
    }
    panic!("as ordered");
}

fn driver(place: &Path) -> Child {
    driver_with(place, ForkedWorkers::default())
}

fn driver_with(place: &Path, forked_workers: ForkedWorkers) -> Child {
    fs::create_dir(place.join("tmp")).unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "processes::the_part_of_a_driver", "--nocapture"])
        .env(ROLE, place)
        .env("FALCO_LOCAL_FORKED_WORKERS", forked_workers.to_string())
        .env("TMPDIR", place.join("tmp"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Ends a busy driver, and checks that soon nothing of it is left.
async fn nothing_outlives(end: impl FnOnce(&mut Child, &Path)) {
    nothing_outlives_with(ForkedWorkers::default(), end).await;
}

async fn nothing_outlives_with(forked: ForkedWorkers, end: impl FnOnce(&mut Child, &Path)) {
    let place = tempfile::tempdir().unwrap();
    let functions = busy(place.path()).len();
    let mut driver = driver_with(place.path(), forked);
    let pids = noted(place.path(), functions).await;
    assert!(pids.iter().all(|pid| runs(pid)));
    end(&mut driver, place.path());
    let status = driver.wait().unwrap();
    assert!(!status.success() || status.signal().is_some());
    eventually("the end of all", || pids.iter().all(|pid| !runs(pid)).then_some(())).await;

    let tmp = place.path().join("tmp");
    let is_empty = || fs::read_dir(&tmp).unwrap().next().is_none().then_some(());
    eventually("the end of the temporary directories", is_empty).await;

    let state = place.path().join("state");
    let next = open(LocalConfig::builder().directory(&state)).unwrap();
    drop(next);
    assert_eq!(fs::read_dir(state.join("drivers")).unwrap().count(), 0);
}

fn signal(driver: &Child, signal: &str) {
    let pid = driver.id().to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
}

#[tokio::test]
async fn nothing_outlives_a_driver_that_is_killed() {
    nothing_outlives(|driver, _| signal(driver, "-KILL")).await;
}

#[tokio::test]
async fn nothing_outlives_a_driver_that_is_killed_and_has_its_workers_forked() {
    nothing_outlives_with(ForkedWorkers::Always, |driver, _| signal(driver, "-KILL")).await;
}

#[tokio::test]
async fn nothing_outlives_a_driver_that_is_interrupted() {
    nothing_outlives(|driver, _| signal(driver, "-INT")).await;
}

#[tokio::test]
async fn nothing_outlives_a_driver_that_panics() {
    nothing_outlives(|_, place| fs::write(place.join("panic"), "").unwrap()).await;
}

#[tokio::test]
async fn a_killed_drivers_deployments_are_gone_with_the_next_driver() {
    let place = tempfile::tempdir().unwrap();
    let functions = busy(place.path()).len();
    let mut driver = driver(place.path());
    noted(place.path(), functions).await;
    let state = place.path().join("state");
    assert_eq!(fs::read_dir(state.join("deployments")).unwrap().count(), functions);
    signal(&driver, "-KILL");
    driver.wait().unwrap();
    let next = open(LocalConfig::builder().directory(&state)).unwrap();
    assert!(next.list_deployments().await.unwrap().is_empty());
    assert_eq!(fs::read_dir(state.join("deployments")).unwrap().count(), 0);
}

/// Where the descriptors of a process lead.
fn descriptors(pid: &str) -> Vec<String> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let targets = open.filter_map(|fd| fs::read_link(fd.path()).ok());
    targets.map(|target| target.display().to_string()).collect()
}

/// The processes that a process has started.
fn children(pid: u32) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let lists = threads.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[tokio::test]
async fn no_worker_holds_the_pipe_of_a_guardian() {
    let local = Local::new();
    let function = local.deploy(&native("echo '{}' >&3")).await;
    let worker = pid_of(&local.invoke(&function, "{}").await);
    let is_guardian = |pid: &String| {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.contains("falco-guardian")
    };
    let guardians: Vec<_> = children(std::process::id()).into_iter().filter(is_guardian).collect();
    assert!(!guardians.is_empty());
    let pipes: Vec<_> =
        guardians.iter().flat_map(|pid| fs::read_link(format!("/proc/{pid}/fd/0"))).collect();
    let held = descriptors(&worker);
    assert!(held.iter().filter(|target| target.starts_with("pipe:")).count() >= 4);
    assert!(pipes.iter().all(|pipe| !held.contains(&pipe.display().to_string())));
}

#[tokio::test]
async fn another_guardian_takes_over_when_the_first_is_ended() {
    let place = tempfile::tempdir().unwrap();
    let functions = busy(place.path()).len();
    let mut driver = driver(place.path());
    let mut pids = noted(place.path(), functions).await;
    // The guardian is the driver's child that leads no worker.
    let started = children(driver.id()).into_iter();
    let guardian: Vec<_> = started.filter(|child| !pids.contains(child)).collect();
    assert_eq!(guardian.len(), 1, "{guardian:?}");
    assert!(Command::new("kill").args(["-KILL", &guardian[0]]).status().unwrap().success());

    fs::write(place.path().join("one more"), "").unwrap();
    pids.extend(noted(&place.path().join("again"), functions).await);
    signal(&driver, "-KILL");
    driver.wait().unwrap();
    eventually("the end of all", || pids.iter().all(|pid| !runs(pid)).then_some(())).await;
}
