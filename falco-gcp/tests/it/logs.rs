//! The log of a function, which may be longer than what fits into memory.

use std::time::{Duration, SystemTime};

use falco_core::AsyncPlatform;
use falco_fakes::gcp::FakeGcp;
use falco_fakes::http::Request;
use serde_json::json;

use crate::support::{deployed, echoing};

/// Entries of more than one page of the fake's.
const LINES: usize = 1100;

fn id(number: usize) -> String {
    format!("{number:032x}")
}

fn print(fake: &FakeGcp, number: usize, text: &str) {
    let labels = json!({"falco_activation": id(number), "falco_stream": "stdout"});
    let line = json!({"message": text, "logging.googleapis.com/labels": labels});
    fake.print("echo", &line.to_string());
}

fn hour_ago() -> SystemTime {
    SystemTime::now() - Duration::from_secs(3600)
}

#[tokio::test]
async fn the_newest_activations_of_a_long_log_are_found_from_its_end() {
    let fake = echoing();
    let (platform, deployment) = deployed(&fake).await;
    print(&fake, LINES, "began first");
    for number in 0..LINES {
        print(&fake, number, "some other");
    }
    print(&fake, LINES, "ended last");
    let logs = platform.recent_logs(&deployment, hour_ago(), 3).await.unwrap();
    let found: Vec<_> = logs.iter().map(|log| log.id.as_str().to_owned()).collect();
    assert_eq!(found, [id(LINES), id(LINES - 2), id(LINES - 1)], "the oldest first");
    let texts: Vec<_> = logs[0].lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, ["began first", "ended last"], "all lines of it");
    let requests = fake.requests_to("entries:list");
    let of_all = |request: &&Request| request.json()["filter"].as_str().unwrap().ends_with(":*");
    assert_eq!(requests.iter().filter(of_all).count(), 2, "an empty page, and one with entries");
}

#[tokio::test]
async fn of_a_short_log_all_activations_are_found_if_they_are_wanted() {
    let fake = echoing();
    let (platform, deployment) = deployed(&fake).await;
    for number in 0..3 {
        print(&fake, number, "printed");
    }
    let all = platform.recent_logs(&deployment, hour_ago(), usize::MAX).await.unwrap();
    assert_eq!(all.len(), 3, "there are no more");
    assert!(platform.recent_logs(&deployment, hour_ago(), 0).await.unwrap().is_empty());
}
