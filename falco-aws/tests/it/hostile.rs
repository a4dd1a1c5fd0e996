//! Replies that make no sense, to every kind of request: no panic, no endless wait, and an error that says whose it is.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use falco_aws::{AwsLambda, AwsWaits};
use falco_core::{
    ActivationId, AsyncPlatform, Deployable, ErrorKind, Pending, Platform, Release, Result, Scaling,
};
use falco_fakes::aws::FakeAws;
use falco_fakes::http::{Fault, Reply};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::json;

use crate::support::{Aws, echo, echoing, invocation};

const CASES: usize = 40;

/// A change of a reply.
#[derive(Clone, Debug)]
enum Spoiling {
    /// A few bytes are others, and the end is missing.
    Mutated { changes: Vec<(prop::sample::Index, u8)>, kept: f64 },
    /// Its body is anything.
    Replaced(Vec<u8>),
    /// Its status is another.
    Status(u16),
    /// Its headers are missing.
    Bare,
    /// Its headers hold anything.
    Headers(String),
}

fn spoiling() -> impl Strategy<Value = Option<Spoiling>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let mutated =
        (changes, 0.5..1.5_f64).prop_map(|(changes, kept)| Spoiling::Mutated { changes, kept });
    let spoiling = prop_oneof![
        4 => mutated,
        1 => prop::collection::vec(any::<u8>(), 0..300).prop_map(Spoiling::Replaced),
        1 => prop::sample::select(vec![200_u16, 204, 301, 400, 403, 404, 409, 429, 500, 502]).prop_map(Spoiling::Status),
        1 => Just(Spoiling::Bare),
        1 => "[ -~]{0,40}".prop_map(Spoiling::Headers),
    ];
    prop::option::weighted(0.3, spoiling)
}

impl Spoiling {
    fn apply(self, mut reply: Reply) -> Reply {
        match self {
            Self::Mutated { changes, kept } => {
                let mut body = reply.body.to_vec();
                let length = body.len();
                for (index, byte) in changes.into_iter().filter(|_| length > 0) {
                    body[index.index(length)] = byte;
                }
                body.truncate((length as f64 * kept) as usize);
                reply.body = body.into();
            }
            Self::Replaced(body) => reply.body = body.into(),
            Self::Status(status) => reply.status = status,
            Self::Bare => reply.headers.clear(),
            Self::Headers(value) => {
                for (_, header) in &mut reply.headers {
                    header.clone_from(&value);
                }
            }
        }
        reply
    }
}

/// A fake that answers well until the test says otherwise, and a platform that does not wait for long.
async fn spoilt() -> (FakeAws, AwsLambda, Arc<Mutex<bool>>) {
    let is_bad = Arc::new(Mutex::new(false));
    let (bad, runner) = (is_bad.clone(), Mutex::new(TestRunner::deterministic()));
    let fake = FakeAws::with(echoing());
    fake.inject(Fault::change("", move |_, reply| {
        if !*bad.lock().unwrap() {
            return reply;
        }
        let next = spoiling().new_tree(&mut runner.lock().unwrap()).unwrap().current();
        match next {
            Some(spoiling) => spoiling.apply(reply),
            None => reply,
        }
    }));
    let waits = AwsWaits::default()
        .with_state_interval(Duration::from_millis(2))
        .with_state_timeout(Duration::from_secs(2))
        .with_role_interval(Duration::from_millis(2))
        .with_role_timeout(Duration::from_secs(2));
    let platform = AwsLambda::connect(fake.config().waits(waits).build().unwrap()).await.unwrap();
    (fake, platform, is_bad)
}

#[track_caller]
fn answered<T>(operation: &str, result: Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            let found = (error.platform(), error.operation());
            assert_eq!(found, (Some("aws"), Some(operation)), "{error}");
            assert!(error.message().len() < 3000, "bounded: {error}");
            None
        }
    }
}

#[tokio::test]
async fn replies_of_any_bytes_to_any_request_are_answered_for() {
    let (fake, platform, is_bad) = spoilt().await;
    let mut answers = [0, 0];
    for n in 0..CASES {
        *is_bad.lock().unwrap() = false;
        let function = echo("f");
        let deployment = platform.deploy(&function).await.unwrap();
        *is_bad.lock().unwrap() = true;
        let argument = invocation(json!({"n": n}));
        let source = format!("def main(args): return {{'n': {n}}}");
        let changed = Deployable::from_source("f", "python:3".parse().unwrap(), source);
        let all = async {
            let mut well = 0;
            well += i32::from(
                answered("invoke", platform.invoke(&deployment, &argument).await).is_some(),
            );
            let submitted = answered("submit", platform.submit(&deployment, &argument).await);
            let mut ids: Vec<ActivationId> = vec!["somebody-elses".into()];
            ids.extend(submitted.iter().map(|pending| pending.id.clone()));
            let mut pending = vec![Pending::new("somebody-elses", std::time::SystemTime::now())];
            pending.extend(submitted);
            for _ in 0..2 {
                let collected = answered("collect", platform.collect(&deployment, &pending).await);
                if let Some(mut collected) = collected {
                    let _ = platform.add_bills(&deployment, &mut collected.finished).await;
                }
            }
            platform.release(&deployment, &ids, Release::Taken);
            answered("activation_log", platform.activation_log(&deployment, &ids).await);
            answered("fetch_deployment", platform.fetch_deployment("f").await);
            answered("list_deployments", platform.list_deployments().await);
            let sizes = Scaling::default().with_memory_mib(256 + n as u32);
            answered("scale", platform.scale(&deployment, &sizes).await);
            well += i32::from(answered("deploy", platform.deploy(&changed).await).is_some());
            well += i32::from(answered("remove", platform.remove(&deployment).await).is_some());
            well
        };
        let well = tokio::time::timeout(Duration::from_secs(60), all).await.expect("it answers");
        answers[0] += well;
        answers[1] += 3 - well;
    }
    assert!(answers.iter().all(|count| *count > 5), "some fail and some do not: {answers:?}");
    // Whatever was believed, what is there can be removed.
    *is_bad.lock().unwrap() = false;
    for deployment in platform.list_deployments().await.unwrap() {
        platform.remove(&deployment).await.unwrap();
    }
    fake.heal();
    assert!(
        fake.leftovers().iter().all(|left| left.starts_with("log group")),
        "{:?}",
        fake.leftovers()
    );
}

#[tokio::test]
async fn a_list_that_comes_after_itself_ends_in_an_error() {
    let aws = Aws::with(echoing()).await;
    let deployment = aws.deploy(&echo("f")).await;
    let ids = ["a".into(), "b".into()];
    let again = |operation: &str, body: Reply| {
        for _ in 0..2 {
            aws.fake.script(operation, body.clone());
        }
    };
    again("ListFunctions", Reply::json(200, &json!({"Functions": [], "NextMarker": "x"})));
    let error = aws.platform.list_deployments().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    let roles = "<ListRolesResponse><ListRolesResult><Roles/><IsTruncated>true</IsTruncated>\
                 <Marker>x</Marker></ListRolesResult></ListRolesResponse>";
    again("ListRoles", Reply::new(200, roles));
    let error = aws.platform.list_deployments().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    again("ListQueues", Reply::json(200, &json!({"QueueUrls": [], "NextToken": "x"})));
    let error = aws.platform.list_deployments().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    again("FilterLogEvents", Reply::json(200, &json!({"events": [], "nextToken": "x"})));
    let error = aws.platform.activation_log(&deployment, &ids).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
}

#[tokio::test]
async fn account_settings_of_any_bytes_cause_no_panic() {
    let fake = FakeAws::with(echoing());
    let mut runner = TestRunner::deterministic();
    for _ in 0..60 {
        let body =
            json!({"AccountLimit": {"ConcurrentExecutions": 1000, "CodeSizeZipped": 52_428_800}});
        let reply = Reply::json(200, &body);
        let spoiling = spoiling().new_tree(&mut runner).unwrap().current();
        let reply = spoiling.map_or(reply.clone(), |spoiling| spoiling.apply(reply));
        fake.script("GetAccountSettings", reply);
        answered("connect", AwsLambda::connect(fake.config().build().unwrap()).await);
        fake.heal();
    }
}
