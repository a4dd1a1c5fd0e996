//! A loop whose plan depends on its results, on this machine and on the fakes.

use falco_fakes::aws::FakeAws;
use falco_fakes::gcp::FakeGcp;
use falco_fakes::openwhisk::FakeOpenWhisk;

use crate::program::{Machine, has};
use crate::remote::{on_aws, on_gcp, on_openwhisk, run};

#[test]
fn clusters_are_found_in_rounds_and_the_function_is_deployed_once() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let json = machine.run("kmeans", &["--json"]).json();
    let clusters = json["result"]["clusters"].as_array().unwrap();
    let points: u64 = clusters.iter().map(|cluster| cluster["points"].as_u64().unwrap()).sum();
    assert_eq!((clusters.len(), points), (3, 600));
    // Where the points were made, around (0, 0), (6, 1) and (2, 7), each within a fifth.
    for (x, y) in [(0.0, 0.0), (6.0, 1.0), (2.0, 7.0)] {
        let near = |cluster: &&serde_json::Value| {
            let at = |axis: usize| cluster["centroid"][axis].as_f64().unwrap();
            (at(0) - x).abs() < 0.2 && (at(1) - y).abs() < 0.2
        };
        assert_eq!(clusters.iter().filter(near).count(), 1, "({x}, {y}): {clusters:?}");
    }
    let rounds = json["result"]["rounds"].as_u64().unwrap();
    assert!((2..100).contains(&rounds), "{rounds}");
    let stages = json["report"]["stages"].as_array().unwrap();
    assert_eq!(stages.len() as u64, rounds);
    assert_eq!(machine.run("cleanup", &["--older-than", "0s", "--dry-run"]).ok(), "");
}

#[test]
fn invalid_points_are_refused_before_anything_is_deployed() {
    let machine = Machine::new();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("points.csv");
    for (text, words) in [
        ("1,2\n3,x\n", "line 2"),
        ("1,2\n3\n", "line 2"),
        ("", "no points"),
        ("1,NaN\n", "line 1"),
        ("1,1\n1,1\n", "3 clusters of 1 different points"),
    ] {
        std::fs::write(&file, text).unwrap();
        let error = machine.run("kmeans", &[file.to_str().unwrap()]).error();
        assert!(error.contains(words), "{text:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_clusters_are_found_on_each_platform_and_nothing_is_left() {
    if !has("python3") {
        return;
    }
    let here = tokio::task::spawn_blocking(|| Machine::new().run("kmeans", &[]).ok());
    let here = here.await.unwrap();
    let openwhisk = FakeOpenWhisk::start();
    assert_eq!(run(on_openwhisk("kmeans", openwhisk.url())).await.ok(), here);
    assert_eq!(openwhisk.actions(), Vec::<String>::new());
    let aws = FakeAws::start();
    assert_eq!(run(on_aws("kmeans", aws.url())).await.ok(), here);
    // Rounds share one deployment, so code is never sent again, and one function is deleted.
    assert_eq!(aws.requests_of("UpdateFunctionCode").len(), 0);
    assert_eq!(aws.requests_of("DeleteFunction").len(), 1);
    assert_eq!(aws.leftovers(), Vec::<String>::new());
    let gcp = FakeGcp::start();
    assert_eq!(run(on_gcp("kmeans", &gcp)).await.ok(), here);
    assert!(gcp.is_clean());
}
