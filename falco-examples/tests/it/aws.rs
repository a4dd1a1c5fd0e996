//! `wordcount` on the fake of AWS, whose functions run under AWS's own runtime interface client.

use std::sync::atomic::{AtomicUsize, Ordering};

use falco_fakes::aws::FakeAws;
use falco_fakes::http::{Fault, Reply};
use falco_testkit::runtimes;

use crate::remote::{TEXTS, on_aws, run, top_words};

/// Counts words with every executor, eight calls at once, and finds nothing left behind.
async fn counts_right_with_every_executor(fake: &FakeAws) {
    for executor in ["sequential", "parallel", "async"] {
        let mut wordcount = on_aws("wordcount", fake.url());
        wordcount.args(["--executor", executor, "--retries", "8", "--reducers", "4", TEXTS]);
        if executor != "sequential" {
            wordcount.args(["--concurrency", "8"]);
        }
        assert_eq!(run(wordcount).await.ok(), top_words(), "{executor}");
        assert_eq!(fake.leftovers(), Vec::<String>::new(), "{executor}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wordcount_counts_right_under_awslambdaric_with_every_executor_and_leaves_nothing() {
    if runtimes::find("awslambdaric").is_some() {
        counts_right_with_every_executor(&FakeAws::start()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wordcount_counts_right_under_awslambdaric_when_answers_are_lost_and_leaves_nothing() {
    if runtimes::find("awslambdaric").is_none() {
        return;
    }
    let seen = AtomicUsize::new(0);
    // What was asked for has happened: the function has run, the event is queued, the record has been given out.
    let spoiler = move |request: &falco_fakes::http::Request, reply: Reply| {
        if !["Invoke", "ReceiveMessage", "DeleteMessageBatch"].contains(&request.operation.as_str())
        {
            return reply;
        }
        match seen.fetch_add(1, Ordering::Relaxed) % 11 {
            3 => falco_fakes::aws::lambda_error(503, "ServiceException", "try again"),
            7 => Reply::new(502, "<html><body>502 Bad Gateway</body></html>"),
            _ => reply,
        }
    };
    let fake = FakeAws::start();
    fake.inject(Fault::change("", spoiler));
    counts_right_with_every_executor(&fake).await;
}
