//! The HTTP server beneath the fakes serves, records, misbehaves and stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use falco_core::async_trait;
use falco_fakes::http::{Fault, HttpFake, Provider, Reply, Request};
use falco_http::reqwest::{Client, Response};
use serde_json::json;

/// Counts what it is asked, and answers with what it was asked.
#[derive(Default)]
struct Counter(AtomicU64);

#[async_trait]
impl Provider for Counter {
    async fn answer(self: Arc<Self>, request: Request) -> Reply {
        self.0.fetch_add(1, Ordering::SeqCst);
        let body = json!({"segments": request.segments(), "q": request.query("q"), "body": request.json()});
        Reply::json(200, &body)
    }

    fn operation(&self, request: &Request) -> String {
        request.header("x-operation").unwrap_or_default().to_owned()
    }

    fn finish(&self, _: &Request, reply: Reply) -> Reply {
        reply.with_header("x-request-id", "1")
    }
}

fn counted(fake: &HttpFake<Counter>) -> u64 {
    fake.provider().0.load(Ordering::SeqCst)
}

async fn post(fake: &HttpFake<Counter>, target: &str) -> falco_http::reqwest::Result<Response> {
    let client = Client::builder().tls_certs_only([]).build().unwrap();
    client.post(format!("{}{target}", fake.url())).body("{\"n\":1}").send().await
}

#[tokio::test]
async fn requests_are_served_and_recorded_as_they_were_sent() {
    let fake = HttpFake::start(Counter::default());
    let answer = post(&fake, "/a%20b/%2Fc?q=x+y").await.unwrap();
    assert_eq!(answer.headers()["x-request-id"], "1");
    let text = answer.text().await.unwrap();
    let wanted = json!({"segments": ["a b", "/c"], "q": "x y", "body": {"n": 1}});
    assert_eq!(text, wanted.to_string());
    let seen = fake.requests_to("POST /a%20b");
    assert_eq!((seen.len(), seen[0].target.as_str()), (1, "/a%20b/%2Fc?q=x+y"));
    assert_eq!(seen[0].json(), json!({"n": 1}));
    fake.stop_remembering();
    post(&fake, "/").await.unwrap();
    assert!(fake.requests().is_empty());
    assert_eq!(counted(&fake), 2);
}

#[tokio::test]
async fn a_fault_strikes_what_it_names_as_often_as_it_says() {
    let fake = HttpFake::start(Counter::default());
    fake.inject(Fault::answer("POST /busy", 429, "slow down").times(2));
    fake.inject(Fault::change("POST /", |_, reply| reply.with_header("x-changed", "1")));
    for (path, status) in [("/busy", 429), ("/idle", 200), ("/busy", 429), ("/busy", 200)] {
        let answer = post(&fake, path).await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path}");
        assert_eq!(answer.headers()["x-changed"], "1");
        assert_eq!(answer.headers()["x-request-id"], "1");
    }
    assert_eq!((counted(&fake), fake.strikes()), (2, 6));
    fake.heal();
    assert!(!post(&fake, "/").await.unwrap().headers().contains_key("x-changed"));
}

#[tokio::test]
async fn an_answer_that_is_lost_or_breaks_off_is_an_error_of_the_client_and_may_have_had_its_effect()
 {
    let fake = HttpFake::start(Counter::default());
    fake.inject(Fault::reset("/lost").after_doing_it());
    fake.inject(Fault::reset("/unserved"));
    fake.inject(Fault::truncated("/half"));
    for (path, effects) in [("/lost", 1), ("/unserved", 1), ("/half", 1)] {
        let got = post(&fake, path).await;
        let whole = match got {
            Ok(answer) => answer.bytes().await.is_ok(),
            Err(_) => false,
        };
        assert!(!whole, "{path}");
        assert_eq!(counted(&fake), effects, "{path}");
    }
    fake.inject(Fault::silence("/silent"));
    let silent = tokio::time::timeout(Duration::from_millis(200), post(&fake, "/silent")).await;
    assert!(silent.is_err());
}

#[tokio::test]
async fn a_fake_that_holds_answers_so_many_more_and_goes_on_later() {
    for (takes_effect, effects) in [(true, 2), (false, 1)] {
        let fake = HttpFake::start(Counter::default());
        fake.hold_after(1, takes_effect);
        post(&fake, "/first").await.unwrap();
        tokio::select! {
            answer = post(&fake, "/second") => panic!("{answer:?}"),
            () = fake.held() => {}
        }
        assert_eq!(counted(&fake), effects);
        fake.go_on();
        assert!(post(&fake, "/third").await.unwrap().status().is_success());
    }
}
