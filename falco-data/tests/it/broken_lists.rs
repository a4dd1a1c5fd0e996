//! Answers of a store that break off in the middle.

use falco_core::{InvocationId, Payload, RunId};
use falco_data::{Object, Splits, clean, commit, sweep};
use falco_fakes::FakeS3;
use futures_util::TryStreamExt;
use serde_json::json;

use crate::server::store;

/// A request whose answer does not matter.
async fn ask(client: &reqwest::Client, s3: &FakeS3) -> reqwest::Result<reqwest::Response> {
    // Without a signature it is a refusal.
    client.get(format!("{}/bucket/a.txt", s3.url())).send().await
}

/// Requests between two faults.
const EVERY: u64 = 20;

/// Breaks off the answer to the request that comes after `others` more.
async fn break_off_after(s3: &FakeS3, others: u64) {
    let client = reqwest::Client::new();
    while s3.requests() + others < EVERY {
        ask(&client, s3).await.unwrap();
    }
    s3.fail_every(EVERY);
}

/// Makes sure that the request with the fault has been sent, and another one after it.
fn was_broken_off(s3: &FakeS3) {
    assert!(s3.requests() > EVERY + 1, "{} requests", s3.requests());
}

#[tokio::test]
async fn a_store_fails_in_three_ways_in_turn() {
    let (s3, client) = (FakeS3::start(), reqwest::Client::new());
    s3.fail_every(1);
    assert_eq!(ask(&client, &s3).await.unwrap().status().as_u16(), 503);
    let half = ask(&client, &s3).await.unwrap();
    assert_eq!(half.status().as_u16(), 403);
    assert!(half.text().await.is_err(), "the whole body came");
    assert!(ask(&client, &s3).await.is_err(), "the connection was not closed");
    s3.fail_every(0);
    assert!(ask(&client, &s3).await.unwrap().text().await.unwrap().contains("</Error>"));
}

#[tokio::test]
async fn splits_are_planned_though_the_listing_breaks_off() {
    let s3 = FakeS3::start();
    s3.put("in/a.txt", "to be\nor not to be\n");
    break_off_after(&s3, 0).await;
    let splits = Splits::lines(&store(&s3, "bucket/in"), "").stream();
    assert_eq!(splits.try_collect::<Vec<_>>().await.unwrap().len(), 1);
    was_broken_off(&s3);
}

#[tokio::test]
async fn a_commit_is_complete_though_the_listing_of_its_losers_breaks_off() {
    let s3 = FakeS3::start();
    s3.put("out/a.csv", "to be");
    let object = Object::new("s3://bucket/out/a.csv").with_size(5);
    let result = (InvocationId::from("1"), Payload::json(&json!({ "out": object })).unwrap());
    // One request looks at the object.
    break_off_after(&s3, 1).await;
    let output = store(&s3, "bucket/out");
    let manifest = commit(&output, &RunId::from("a"), &[result]).await.unwrap();
    was_broken_off(&s3);
    assert_eq!(manifest.objects.len(), 1);
    let names: Vec<_> = s3.objects("out").into_iter().map(|(key, _)| key).collect();
    assert_eq!(names, ["out/_SUCCESS", "out/_manifest.json", "out/a.csv"]);
}

#[tokio::test]
async fn scratch_stores_are_cleaned_and_swept_though_the_listing_breaks_off() {
    let run = RunId::from("old");
    // The first listing, or that of the run which a sweep has found.
    for (sweeps, others) in [(false, 0), (true, 0), (true, 2)] {
        let s3 = FakeS3::start();
        let scratch = store(&s3, "bucket/scratch");
        let mark = json!({"run": "old", "owner": "ada", "expires_at": 1});
        s3.put("scratch/runs/old/falco.json", mark.to_string());
        s3.put("scratch/runs/old/map/0-1-ab", "x");
        break_off_after(&s3, others).await;
        let leftovers = if sweeps {
            let (runs, leftovers) = sweep(&scratch).await.unwrap();
            assert_eq!(runs, std::slice::from_ref(&run));
            leftovers
        } else {
            clean(&scratch, &run).await.unwrap()
        };
        was_broken_off(&s3);
        assert!(leftovers.is_empty(), "{leftovers:?}");
        assert!(s3.objects("scratch").is_empty());
    }
}
