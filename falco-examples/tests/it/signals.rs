//! A signal in mid-run: nothing is left, no half of a result is printed, and the exit code says so.

use std::time::{Duration, Instant};

use falco_fakes::openwhisk::FakeOpenWhisk;
use falco_testkit::{Line, TcpProxy};

use crate::program::{Machine, Printed, has};
use crate::remote::on_openwhisk;
use crate::running::Running;

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_in_an_outage_ends_at_once_and_names_what_removes_the_rest() {
    if !has("python3") {
        return;
    }
    let fake = FakeOpenWhisk::start();
    let proxy = TcpProxy::start(fake.url()).await.unwrap();
    let mut chain = on_openwhisk("chain", &proxy.url());
    chain.args(["--executor", "parallel", "200000"]);
    let mut running = Running::start(&mut chain);
    let (ended, took) = tokio::task::spawn_blocking(move || {
        running.read_until("square: started");
        proxy.set(Line::Cut);
        running.read_until("platform unreachable");
        running.send("INT");
        running.read_until("a second signal leaves at once");
        running.send("INT");
        let left_at = Instant::now();
        (running.end(), left_at.elapsed())
    })
    .await
    .unwrap();
    let said = ended.stderr;
    assert!(!ended.success, "{said}");
    // An outage costs half a minute after the first signal.
    assert!(took < Duration::from_secs(25), "{took:?}: {said}");
    for function in ["square", "cube"] {
        let left = format!("left behind: chain-{function}-");
        assert!(said.contains(&left), "{left:?} in {said}");
    }
    let command = said.split_once("remove what is left with: falco cleanup ");
    let command = command.unwrap_or_else(|| panic!("no command in {said}")).1;
    let (_, run) = command.split_once("--platform openwhisk --run ").unwrap();
    let mut cleanup = on_openwhisk("cleanup", fake.url());
    cleanup.args(["--run", run.lines().next().unwrap()]);
    crate::remote::run(cleanup).await.ok();
    assert_eq!(fake.actions(), Vec::<String>::new());
}

#[test]
fn a_program_that_is_stopped_fails_and_leaves_nothing() {
    if !has("node") || !has("python3") {
        return;
    }
    for (program, stage, arguments, signal) in [
        (
            "montecarlo",
            "throw",
            ["--invocations", "1000000", "--samples", "1000"].as_slice(),
            "TERM",
        ),
        ("montecarlo", "throw", &["--invocations", "1000000", "--samples", "1000"], "HUP"),
        ("chain", "square", &["200000"], "INT"),
    ] {
        let machine = Machine::new();
        let mut running = Running::start(machine.command(program).args(arguments));
        running.read_until(&format!("{stage}: started"));
        std::thread::sleep(Duration::from_millis(200));
        running.send(signal);
        let Printed { success, stdout, stderr: said } = running.end();
        assert!(!success, "{program} has succeeded after {signal}: {said}");
        assert_eq!(stdout, "", "{program} after {signal}");
        assert!(said.contains("the run was stopped"), "{program} after {signal}: {said}");
        let listed = machine.run("cleanup", &["--older-than", "0s", "--dry-run"]);
        assert_eq!(listed.ok(), "", "{program} has left something after {signal}");
    }
}
