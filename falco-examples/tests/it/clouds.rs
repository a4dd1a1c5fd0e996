//! One run over two clouds, and a budget, as the command line sets them.

use std::process::Command;

use falco_fakes::aws::FakeAws;
use falco_fakes::gcp::FakeGcp;

use crate::program::{command, has};
use crate::remote::{aws_environment, on_aws, run};

/// A program on both clouds.
fn on_both(program: &str, aws: &FakeAws, gcp: &FakeGcp) -> Command {
    let mut command = command(program);
    command.envs(aws_environment(aws.url())).envs(gcp.environment());
    command.args(["--platform", "aws,gcp", "--spread", "weight", "--region", "eu-central-1"]);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn hello_runs_on_aws_and_google_at_once_and_leaves_nothing_on_either() {
    if !has("python3") {
        return;
    }
    let (aws, gcp) = (FakeAws::start(), FakeGcp::start());
    for executor in ["parallel", "async"] {
        let before = aws.requests_of("Invoke").len();
        let mut hello = on_both("hello", &aws, &gcp);
        hello.args(["--executor", executor, "world", "Ada"]);
        let printed = run(hello).await;
        let case = format!("{executor}: {}", printed.stderr);
        assert_eq!(printed.ok(), "Hello world!\nHello Ada!\n", "{case}");
        // The other call ran on Google.
        assert_eq!(aws.requests_of("Invoke").len(), before + 1, "{case}");
    }
    assert_eq!(aws.leftovers(), Vec::<String>::new());
    assert!(gcp.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_a_budget_has_stopped_goes_on_with_a_higher_one() {
    if !has("python3") {
        return;
    }
    let aws = FakeAws::start();
    let folder = tempfile::tempdir().unwrap();
    let journal = format!("--journal={}", folder.path().display());
    let hello = |flags: &[&str]| {
        let mut hello = on_aws("hello", aws.url());
        hello.args([&journal, "world", "Ada"]).args(flags);
        run(hello)
    };
    // A call of a minute with 256 MiB may cost $0.0003, and this one costs much less.
    let named = |stopped: &str| {
        let text = stopped.split("set a budget of $").nth(1).expect(stopped);
        text.split([' ', ';']).next().unwrap().to_owned()
    };
    let stopped = hello(&["--budget", "0.0001"]).await.error();
    assert!(stopped.contains("--resume"), "{stopped}");
    assert_eq!(aws.requests_of("Invoke").len(), 0, "nothing was sent");

    // That pays for the first call, and then the cost of the second is known well enough.
    let one_by_one = ["--resume", "last", "--executor", "sequential", "--budget"];
    let stopped = hello(&[&one_by_one[..], &[&named(&stopped)]].concat()).await.error();
    assert_eq!(aws.requests_of("Invoke").len(), 1, "{stopped}");
    let finished = hello(&[&one_by_one[..], &[&named(&stopped)]].concat()).await;
    assert!(finished.stderr.contains("spent of a budget of $"), "{}", finished.stderr);
    assert_eq!(finished.ok(), "Hello world!\nHello Ada!\n");
    assert_eq!(aws.requests_of("Invoke").len(), 2, "the first call is paid once");
    assert_eq!(aws.leftovers(), Vec::<String>::new());
}
