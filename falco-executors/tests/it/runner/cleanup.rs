//! Tests of clean-up: the functions that it takes, and those that it leaves.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use falco_core::{ErrorKind, Ownership, Platform, RunId};
use falco_executors::{DriverExt, Which, cleanup};
use falco_testkit::{Fate, Fates, InMemory, Operation, Settings};

use super::support::{Plan, function, numbers, options};

const DAY: Duration = Duration::from_secs(86_400);

async fn deploy(platform: &InMemory, name: &str, run: &str, owner: &str, expires_at: SystemTime) {
    let ownership = Ownership::new(run, owner, expires_at);
    platform.deploy(&function(name).with_ownership(ownership)).await.unwrap();
}

async fn taken(platform: &InMemory, which: Which) -> Vec<String> {
    let all = platform.list_deployments().await.unwrap();
    let taken = all.iter().filter(|deployment| which.takes(deployment));
    taken.map(|deployment| deployment.name.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn cleanup_selects_by_run_owner_expiry_and_age_and_leaves_what_no_run_has_made() {
    let platform = InMemory::default();
    let (past, future) = (UNIX_EPOCH, SystemTime::now() + DAY);
    let old = RunId::starting_at(SystemTime::now() - 2 * DAY, 1);
    deploy(&platform, "expired", "run-1", "ada@here", past).await;
    deploy(&platform, "fresh", "run-2", "ada@here:1.00000000", future).await;
    deploy(&platform, "old", old.as_str(), "eve@there", future).await;
    platform.deploy(&function("foreign")).await.unwrap();
    for (which, wanted) in [
        (Which::Expired, vec!["expired"]),
        (Which::Orphaned, vec!["expired"]),
        (Which::Run("run-2".into()), vec!["fresh"]),
        (Which::Owner("ada@here".to_owned()), vec!["expired", "fresh"]),
        (Which::Owner("ada".to_owned()), vec![]),
        (Which::OlderThan(DAY), vec!["old"]),
    ] {
        assert_eq!(taken(&platform, which.clone()).await, wanted, "{which:?}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn an_owner_of_this_machine_whose_process_has_ended_is_an_orphan() {
    let platform = Arc::new(InMemory::default());
    let plan = Plan(vec![numbers("map", 1)]);
    let unnamed = || {
        falco_executors::RunOptions::new(platform.clone(), options(&platform).strategy().clone())
    };
    let deployed = plan.deploy(unnamed()).await.unwrap();
    let mine = deployed.session().deployments()[0].ownership.clone().unwrap();
    assert!(taken(&platform, Which::Orphaned).await.is_empty(), "this process still runs");

    let mut child = Command::new("true").spawn().unwrap();
    let of_child =
        mine.owner.replace(&format!(":{}.", std::process::id()), &format!(":{}.", child.id()));
    child.wait().unwrap();
    assert_ne!(of_child, mine.owner);
    deploy(&platform, "left", "run-2", &of_child, mine.expires_at).await;
    let cleaned = cleanup(&*platform, &Which::Orphaned).await.unwrap();
    let removed: Vec<_> = cleaned.removed.iter().map(|gone| gone.name.as_str()).collect();
    assert_eq!((removed, cleaned.leftovers.len()), (vec!["left"], 0));
    plan.remove(&deployed).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_deployment_kept_on_purpose_is_not_an_orphan() {
    let platform = Arc::new(InMemory::default());
    let strategy = options(&platform).strategy().clone();
    let options = falco_executors::RunOptions::new(platform.clone(), strategy);
    let _ = Plan(vec![numbers("map", 1)]).run(options.with_kept_deployments(true)).await.unwrap();
    let kept = &platform.list_deployments().await.unwrap()[0];
    let owner = &kept.ownership.as_ref().unwrap().owner;
    assert!(owner.contains('@') && !owner.contains(':') && !owner.contains("unknown"), "{owner}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_removed_is_listed_and_the_others_are_gone() {
    let platform = InMemory::new(Settings {
        fates: Fates::by(|call| match call.operation {
            Operation::Remove if call.function == "stuck" => Fate::unavailable(),
            _ => Fate::Serve,
        }),
        ..Settings::default()
    });
    for name in ["stuck", "loose"] {
        deploy(&platform, name, "run-1", "ada@here", UNIX_EPOCH).await;
    }
    let cleaned = cleanup(&platform, &Which::Run("run-1".into())).await.unwrap();
    assert_eq!(cleaned.removed[0].name, "loose");
    assert_eq!(cleaned.leftovers[0].deployment.name, "stuck");
    assert_eq!(cleaned.leftovers[0].error.kind(), ErrorKind::Unavailable);
}
