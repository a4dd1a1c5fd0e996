//! Drivers that are killed at random in runs with many calls on fakes of providers, and in runs whose functions are in
//! containers.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use falco_fakes::aws::FakeAws;
use falco_fakes::gcp::FakeGcp;
use falco_fakes::openwhisk::FakeOpenWhisk;
use falco_testkit::runtimes;

use crate::daemon;
use crate::image::IMAGE;
use crate::journal::{
    Came, INVOCATIONS, Kill, Killed, LONG, ON_AWS, ON_GOOGLE, RUNS, arguments, on_openwhisk,
    to_fake_aws, to_fake_google,
};
use crate::program::has;

/// Calls at the same time.
const AT_ONCE: u64 = 16;

/// The calls of a run: few in a test of every day, and many where all kills are asked for.
fn calls() -> usize {
    if std::env::var_os(LONG).is_some() { 2000 } else { 200 }
}

/// Kills a run on a platform at random, three times, and checks the laws; returns how many calls are unknown at its end.
fn kill_at_random(prepare: &dyn Fn(&mut Command), words: &[&str]) -> u64 {
    let (directory, count) = (tempfile::tempdir().unwrap(), calls());
    let run = Killed {
        directory: directory.path(),
        prepare,
        arguments: &arguments(words),
        idempotent: false,
        count,
    };
    // A call leaves about 300 bytes.
    let most = count as u64 * 100;
    let kills: Vec<_> = (0..3).map(|_| Kill::AfterBytes(fastrand::u64(2_000..most))).collect();
    let Came { kills: died, ran, done, unknown } = run.until_done(&kills);
    let doubled: BTreeMap<_, _> = ran.iter().filter(|(_, times)| **times > 1).collect();
    assert!(doubled.is_empty(), "{kills:?}: {doubled:?}");
    assert!(died >= 1 && done + unknown == count as u64, "{kills:?}: {died} {done} {unknown}");
    assert!(ran.len() as u64 >= done, "{kills:?}: {} ran, {done} are done", ran.len());
    // What can be in doubt was being sent when a process died.
    assert!(unknown <= u64::from(died) * AT_ONCE, "{kills:?}: {unknown} after {died} kills");
    unknown
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_on_openwhisk_whose_driver_is_killed_at_random_are_neither_lost_nor_doubled() {
    if !has("python3") {
        return;
    }
    let fake = FakeOpenWhisk::start();
    let url = fake.url().to_owned();
    let killing = tokio::task::spawn_blocking(move || {
        let more = ["--executor", "async", "--concurrency", "16", "--quiet"];
        kill_at_random(&|_| {}, &[&on_openwhisk(&url)[..], &more].concat())
    });
    killing.await.unwrap();
    assert_eq!(fake.actions(), Vec::<String>::new(), "nothing is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_on_aws_whose_driver_is_killed_at_random_are_neither_lost_nor_doubled() {
    if !has("python3") {
        return;
    }
    let fake = FakeAws::start();
    let url = fake.url().to_owned();
    let killing = tokio::task::spawn_blocking(move || {
        let prepare = |driver: &mut Command| to_fake_aws(driver, &url);
        let more = ["--executor", "parallel", "--concurrency", "16", "--quiet"];
        kill_at_random(&prepare, &[&ON_AWS[..], &more].concat())
    });
    killing.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_on_google_whose_driver_is_killed_at_random_are_neither_lost_nor_doubled_nor_unknown()
 {
    if runtimes::find("functions-framework-python").is_none() {
        return;
    }
    let fake = FakeGcp::start();
    let prepare = to_fake_google(&fake);
    let killing = tokio::task::spawn_blocking(move || {
        let more = ["--executor", "async", "--concurrency", "16", "--quiet"];
        kill_at_random(&prepare, &[&ON_GOOGLE[..], &more].concat())
    });
    // Google takes the name of a task once: what was being sent is sent again under the same name.
    assert_eq!(killing.await.unwrap(), 0, "nothing is unknown");
}

/// Writes each line that a function in a container sends into a file, and returns the port. The thread ends with the program.
fn notes_in(path: &Path) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut notes = OpenOptions::new().create(true).append(true).open(path).unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            // A process that is killed takes its connections with it.
            let _ = socket.and_then(|socket| note(socket, &mut notes));
        }
    });
    port
}

fn note(socket: TcpStream, notes: &mut impl Write) -> std::io::Result<()> {
    let mut line = String::new();
    BufReader::new(&socket).read_line(&mut line)?;
    // A function that was killed before it had sent its line has not run.
    if line.ends_with('\n') {
        notes.write_all(line.as_bytes())?;
    }
    (&socket).write_all(b"+")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_in_containers_that_is_killed_loses_and_doubles_nothing() {
    let Some(host) = daemon::host() else { return };
    drop(daemon::docker(&host).await);
    let killing = tokio::task::spawn_blocking(move || {
        let mut died = 0;
        for (idempotent, points) in [(false, [8..26, 6..20]), (true, [8..16, 6..12])] {
            let directory = tempfile::tempdir().unwrap();
            let words = ["--platform", "docker", "--docker-network", "host", "--quiet"];
            let more = ["--executor", "parallel", "--concurrency", "2"];
            let port = notes_in(&directory.path().join("runs"));
            let run = Killed {
                directory: directory.path(),
                prepare: &|driver| {
                    driver
                        .env("DOCKER_HOST", &host)
                        .env("FALCO_DOCKER_IMAGE_PYTHON", IMAGE)
                        .env("FALCO_DOCKER_PULL", "never")
                        .env(RUNS, format!("tcp:{port}"));
                },
                arguments: &arguments(&[&words[..], &more].concat()),
                idempotent,
                count: INVOCATIONS,
            };
            let kills = points.map(|point| Kill::At(fastrand::u64(point)));
            let came = run.until_done(&kills);
            came.check(idempotent, INVOCATIONS);
            died += came.kills;
        }
        died
    });
    assert!(killing.await.unwrap() >= 2);
}
