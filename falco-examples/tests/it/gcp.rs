//! `wordcount` on the fake of Google Cloud, whose functions run under Google's own Functions Framework.

use falco_fakes::gcp::FakeGcp;
use falco_fakes::http::Fault;
use falco_testkit::runtimes;

use crate::remote::{TEXTS, on_gcp, run, top_words};

/// Counts words with every executor, eight calls at once, and finds nothing left behind.
async fn counts_right_with_every_executor(fake: &FakeGcp) {
    for executor in ["sequential", "parallel", "async"] {
        let mut wordcount = on_gcp("wordcount", fake);
        wordcount.args(["--executor", executor, "--retries", "8", "--reducers", "4", TEXTS]);
        match executor {
            "sequential" => {}
            "async" => drop(wordcount.args(["--concurrency", "8", "--cloud-tasks"])),
            _ => drop(wordcount.args(["--concurrency", "8"])),
        }
        assert_eq!(run(wordcount).await.ok(), top_words(), "{executor}");
        assert_eq!(fake.leftovers(), Vec::<String>::new(), "{executor}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wordcount_counts_right_under_the_functions_framework_with_every_executor_and_leaves_nothing()
 {
    if runtimes::find("functions-framework-python").is_some() {
        counts_right_with_every_executor(&FakeGcp::start()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wordcount_counts_right_under_the_functions_framework_when_calls_fail_and_leaves_nothing() {
    if runtimes::find("functions-framework-python").is_none() {
        return;
    }
    let fake = FakeGcp::start();
    let call = "POST /run/";
    fake.inject(Fault::answer(call, 429, "Rate exceeded.").share(0.1));
    fake.inject(Fault::reset(call).after_doing_it().share(0.1));
    counts_right_with_every_executor(&fake).await;
}
