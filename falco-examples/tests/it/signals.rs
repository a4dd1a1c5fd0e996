//! A signal in mid-run: nothing is left, no half of a result is printed, and the exit code says so.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use falco_fakes::openwhisk::FakeOpenWhisk;
use falco_testkit::{Line, TcpProxy};

use crate::program::{Machine, has};
use crate::remote::on_openwhisk;

fn send(signal: &str, child: &Child) {
    let kill = format!("kill -{signal} {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

/// Reads what a program says until it has said `words`.
fn read_until(words: &str, stderr: &mut BufReader<ChildStderr>, said: &mut String) {
    while !said.contains(words) {
        assert!(stderr.read_line(said).unwrap() > 0, "it ended without {words:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_in_an_outage_ends_at_once_and_names_what_removes_the_rest() {
    if !has("python3") {
        return;
    }
    let fake = FakeOpenWhisk::start();
    let proxy = TcpProxy::start(fake.url()).await.unwrap();
    let mut chain = on_openwhisk("chain", &proxy.url());
    chain.args(["--executor", "parallel", "200000"]);
    let mut child = chain.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let (said, code, took) = tokio::task::spawn_blocking(move || {
        let mut said = String::new();
        read_until("square: started", &mut stderr, &mut said);
        proxy.set(Line::Cut);
        read_until("platform unreachable", &mut stderr, &mut said);
        send("INT", &child);
        read_until("a second signal leaves at once", &mut stderr, &mut said);
        send("INT", &child);
        let left_at = Instant::now();
        stderr.read_to_string(&mut said).unwrap();
        let code = child.wait().unwrap();
        (said, code, left_at.elapsed())
    })
    .await
    .unwrap();
    assert!(!code.success(), "{said}");
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
        let mut child = machine
            .command(program)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains(&format!("{stage}: started")) {
            assert!(stderr.read_line(&mut said).unwrap() > 0, "{program} has ended: {said}");
        }
        std::thread::sleep(Duration::from_millis(200));
        send(signal, &child);
        stderr.read_to_string(&mut said).unwrap();
        let printed = child.wait_with_output().unwrap();
        assert!(!printed.status.success(), "{program} has succeeded after {signal}: {said}");
        assert_eq!(String::from_utf8(printed.stdout).unwrap(), "", "{program} after {signal}");
        assert!(said.contains("the run was stopped"), "{program} after {signal}: {said}");
        let listed = machine.run("cleanup", &["--older-than", "0s", "--dry-run"]);
        assert_eq!(listed.ok(), "", "{program} has left something after {signal}");
    }
}
