use crate::program::{Machine, has};

#[test]
fn what_a_run_kept_is_listed_and_then_removed() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let json = machine.run("hello", &["--keep", "--json"]).json();
    let run = json["report"]["run"].as_str().unwrap();

    let other = machine.run("cleanup", &["--run", "another"]).ok();
    assert_eq!(other, "", "another run is left alone");
    let expired = machine.run("cleanup", &[]).ok();
    assert_eq!(expired, "", "it has not expired yet");
    let old = machine.run("cleanup", &["--older-than", "1h"]).ok();
    assert_eq!(old, "", "it is not that old yet");
    let older = machine.run("cleanup", &["--older-than", "500000000000y"]).ok();
    assert_eq!(older, "", "nothing is that old");
    let all = machine.run("cleanup", &["--older-than", "0s", "--dry-run"]).ok();
    assert!(all.contains(run), "{all}");
    let would = machine.run("cleanup", &["--run", run, "--dry-run"]).ok();
    assert!(would.starts_with(&format!("would remove hello-{run} of run {run}")), "{would}");
    let removed = machine.run("cleanup", &["--run", run]).ok();
    assert!(removed.starts_with(&format!("removed hello-{run}")), "{removed}");
    let gone = machine.run("cleanup", &["--run", run]).ok();
    assert_eq!(gone, "");
}
