//! Scratch stores whose drivers have died.

use falco_core::RunId;
use falco_data::{clean, expired, sweep};

use crate::local::World;

#[tokio::test]
async fn cleaning_up_after_a_run_leaves_runs_with_similar_names() {
    let world = World::new(&[]);
    for run in ["a", "a-b", "b-a", "a.b", "ab"] {
        let folder = world.folder.path().join("scratch/runs").join(run);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("0-1-ab"), "x").unwrap();
    }
    assert!(clean(&world.scratch, &RunId::from("a")).await.unwrap().is_empty());
    let left = world.files("scratch/runs");
    assert_eq!(left.len(), 4, "{left:?}");
    assert!(left.iter().all(|file| !file.ends_with("runs/a/0-1-ab")), "{left:?}");
}

#[tokio::test]
async fn runs_past_their_expiry_are_swept_and_others_stay() {
    let world = World::new(&[]);
    let mark = |run: &str, expires_at: u64| {
        let folder = world.folder.path().join("scratch/runs").join(run);
        std::fs::create_dir_all(folder.join("map")).unwrap();
        std::fs::write(folder.join("map/0-1-ab"), "x").unwrap();
        let mark = serde_json::json!({"run": run, "owner": "ada", "expires_at": expires_at});
        std::fs::write(folder.join("falco.json"), mark.to_string()).unwrap();
    };
    mark("old", 1);
    mark("new", 1 << 40);
    assert_eq!(expired(&world.scratch).await.unwrap(), [RunId::from("old")]);
    let (runs, leftovers) = sweep(&world.scratch).await.unwrap();
    assert!(runs == [RunId::from("old")] && leftovers.is_empty());
    assert_eq!(world.files("scratch").len(), 2);
}
