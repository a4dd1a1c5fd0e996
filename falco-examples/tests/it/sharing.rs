//! Deployments that runs share, and arguments that are stored with functions, by the flags of the programs.

use falco_fakes::aws::FakeAws;

use crate::program::{Machine, has};
use crate::remote::{on_aws, run};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_uses_what_the_first_has_deployed() {
    if !has("python3") {
        return;
    }
    let fake = FakeAws::start();
    let mut created = Vec::new();
    for name in ["Ada", "Grace"] {
        let mut hello = on_aws("hello", fake.url());
        hello.args(["--reuse-deployed", name]);
        assert_eq!(run(hello).await.ok(), format!("Hello {name}!\n"));
        created.push(fake.requests_of("CreateFunction").len());
    }
    // The first ones until the role is known everywhere, and none for the second run.
    assert!(created[0] > 0);
    assert_eq!(created[0], created[1]);
    assert_eq!(fake.requests_of("UpdateFunctionCode").len(), 0);
    assert_eq!(fake.requests_of("DeleteFunction").len(), 0);
}

#[test]
fn functions_with_secrets_are_shared_under_a_key_of_the_user() {
    if !has("python3") {
        return;
    }
    let (machine, home) = (Machine::new(), tempfile::tempdir().unwrap());
    let hello = |secret: &str, key: Option<&str>| {
        let mut hello = machine.command("hello");
        hello.args(["--reuse-deployed", "--env", &format!("TOKEN={secret}")]);
        hello.env("XDG_STATE_HOME", home.path());
        hello.envs(key.map(|key| ("FALCO_REUSE_KEY", key)));
        assert!(hello.output().unwrap().status.success());
        let deployed = machine.run("cleanup", &["--run", "reuse", "--dry-run"]).ok();
        deployed.lines().count()
    };
    assert_eq!((hello("one", None), hello("one", None)), (1, 1));
    assert_eq!(hello("two", None), 2, "another value is another function");
    assert_eq!(hello("one", Some("the key of another user")), 3);
    assert!(home.path().join("falco/reuse.key").exists());
}

#[test]
fn arguments_on_the_command_line_lie_beneath_the_inputs_of_each_function() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let stored = r#"{"name": "nobody", "other": 1}"#;
    let printed = machine.run("hello", &["--arguments", stored, "Ada"]);
    assert_eq!(printed.ok(), "Hello Ada!\n");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("arguments.json");
    std::fs::write(&file, stored).unwrap();
    let named = format!("@{}", file.display());
    assert_eq!(machine.run("hello", &["--arguments", &named, "Ada"]).ok(), "Hello Ada!\n");
    for (arguments, words) in [
        ("[1]", "JSON object"),
        ("{oops", "not valid JSON"),
        ("@/nowhere/at/all", "cannot read /nowhere/at/all"),
    ] {
        let error = machine.run("hello", &["--arguments", arguments]).error();
        assert!(error.contains(words), "{arguments}: {error}");
    }
}
