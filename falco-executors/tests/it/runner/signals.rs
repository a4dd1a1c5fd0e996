//! SIGINT, SIGTERM and SIGHUP, on a process of its own that runs as a user's program would.

#![cfg(unix)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use falco_core::{Event, Monitor, Verdict};
use falco_executors::{DriverExt, stop_signals};
use falco_testkit::{InMemory, Latency, Operation, Settings};

use super::support::{Plan, numbers, options};

/// Reports to the parent process, line by line, how far the run is.
#[derive(Debug)]
struct Tell;

impl Monitor for Tell {
    #[allow(clippy::print_stdout, reason = "it is what the parent process reads")]
    fn event(&self, event: &Event<'_>) -> Verdict {
        match event {
            Event::Admitted { .. } => println!("admitted"),
            Event::StageFinished { .. } => println!("finished"),
            _ => {}
        }
        Verdict::Continue
    }
}

#[tokio::test]
#[ignore = "it is the program that the tests below start and send signals to"]
#[allow(clippy::print_stdout, reason = "it is what the parent process reads")]
async fn the_program_of_the_other_tests() {
    let Ok(removing) = std::env::var("REMOVING") else { return };
    let platform = Arc::new(InMemory::new(Settings {
        latency: Latency::fixed(Duration::from_secs(600)),
        fates: falco_testkit::Fates::by(move |call| match call.operation {
            Operation::Remove if removing == "hangs" => falco_testkit::Fate::Hang,
            _ => falco_testkit::Fate::Serve,
        }),
        ..Settings::default()
    }));
    let options = options(&platform).with_monitor(Arc::new(Tell)).with_stop(stop_signals());
    let outcome = Plan(vec![numbers("map", 1)]).run(options).await.unwrap();
    println!("outcome: {}, {} left", outcome.error().unwrap(), outcome.leftovers.len());
}

/// Starts the program, by `nohup` where `wrapped` says so.
fn start(removing: &str, wrapper: Option<&str>) -> (Child, BufReader<ChildStdout>) {
    let program = std::env::current_exe().unwrap();
    let mut command = match wrapper {
        Some(wrapper) => {
            let mut command = Command::new(wrapper);
            command.arg(program);
            command
        }
        None => Command::new(program),
    };
    let mut child = command
        .args([
            "--exact",
            "runner::signals::the_program_of_the_other_tests",
            "--ignored",
            "--nocapture",
        ])
        .env("REMOVING", removing)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    (child, stdout)
}

fn wait_for(stdout: &mut BufReader<ChildStdout>, wanted: &str) -> String {
    let mut line = String::new();
    while stdout.read_line(&mut line).unwrap() > 0 {
        if line.contains(wanted) {
            return line;
        }
        line.clear();
    }
    panic!("the program ended without {wanted:?}");
}

fn send(signal: &str, child: &Child) {
    let kill = format!("kill -{signal} {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

fn stderr_of(mut child: Child) -> String {
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert!(child.wait().unwrap().success(), "{stderr}");
    stderr
}

#[test]
fn the_first_signal_stops_and_removes() {
    for signal in ["INT", "TERM", "HUP"] {
        let (child, mut stdout) = start("works", None);
        wait_for(&mut stdout, "admitted");
        send(signal, &child);
        let outcome = wait_for(&mut stdout, "outcome");
        assert!(outcome.contains("the run was stopped, 0 left"), "{signal}: {outcome}");
        let stderr = stderr_of(child);
        assert!(stderr.contains("stopping; a second signal leaves at once"), "{stderr}");
        assert!(!stderr.contains("left behind"), "{stderr}");
    }
}

#[test]
fn a_hangup_that_is_ignored_stays_ignored() {
    let (child, mut stdout) = start("works", Some("nohup"));
    wait_for(&mut stdout, "admitted");
    send("HUP", &child);
    send("TERM", &child);
    let outcome = wait_for(&mut stdout, "outcome");
    assert!(outcome.contains("0 left"), "{outcome}");
    let stderr = stderr_of(child);
    assert_eq!(stderr.matches("falco: ").count(), 1, "one signal came, not two: {stderr}");
}

#[test]
fn the_second_signal_leaves_at_once_and_prints_once_what_was_left_behind() {
    for (first, second) in [("INT", "INT"), ("TERM", "INT")] {
        let (child, mut stdout) = start("hangs", None);
        wait_for(&mut stdout, "admitted");
        send(first, &child);
        // It is removing now, and would be for ever.
        wait_for(&mut stdout, "finished");
        send(second, &child);
        let outcome = wait_for(&mut stdout, "outcome");
        assert!(outcome.contains("1 left"), "{outcome}");
        let stderr = stderr_of(child);
        assert_eq!(stderr.matches("left behind: map-run-1 on ").count(), 1, "{stderr}");
    }
}
