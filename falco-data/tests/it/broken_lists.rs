//! Answers of a store that break off in the middle.

use falco_core::{ErrorKind, InvocationId, Payload, RunId};
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
    // Two requests look whether the output is taken, and one at the object.
    break_off_after(&s3, 3).await;
    let output = store(&s3, "bucket/out");
    let manifest = commit(&output, &RunId::from("a"), &[result]).await.unwrap();
    was_broken_off(&s3);
    assert_eq!(manifest.objects.len(), 1);
    let names: Vec<_> = s3.objects("out").into_iter().map(|(key, _)| key).collect();
    assert_eq!(names, ["out/_SUCCESS", "out/_manifest.json", "out/a.csv"]);
}

#[tokio::test]
async fn a_commit_is_complete_whatever_request_fails_or_says_so_and_is_when_it_is_repeated() {
    // A retried request finds what the one before it has made.
    for every in [2, 3, 5, 7] {
        let s3 = FakeS3::start();
        for key in ["a", "b", "loser"] {
            // As an attempt of run `a` has named it.
            s3.put(&format!("out/part-{key}-a-1-5f3a7c019e2be40c292c"), "to be");
        }
        let output = store(&s3, "bucket/out");
        let results: Vec<_> = ["a", "b"]
            .map(|key| {
                let url = format!("s3://bucket/out/part-{key}-a-1-5f3a7c019e2be40c292c");
                let object = Object::new(url).with_size(5);
                (InvocationId::from(key), Payload::json(&json!({ "out": object })).unwrap())
            })
            .into();
        s3.fail_every(every);
        let mut tries = 0;
        while let Err(error) = commit(&output, &RunId::from("a"), &results).await {
            tries += 1;
            // Its own output is not another's.
            assert!(error.kind() == ErrorKind::Unavailable && tries < 10, "{every}: {error:#?}");
        }
        s3.fail_every(0);
        let names: Vec<_> = s3.objects("out").into_iter().map(|(key, _)| key).collect();
        assert_eq!(names.len(), 4, "{names:?}");
        assert!(!names.iter().any(|key| key.contains("loser")), "{names:?}");
        assert!(names.contains(&"out/_SUCCESS".to_owned()), "{names:?}");
    }
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
