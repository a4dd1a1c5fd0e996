//! Every kind of request of the wire contract, by its form: nothing else is ever sent.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use falco_core::{AsyncPlatform, Platform, Release, Scaling};
use falco_fakes::gcp::{ACCOUNT, FakeGcp};
use falco_fakes::http::Request;
use falco_gcp::{CloudTasks, Submission};
use serde_json::{Value, json};

use crate::submission::collected;
use crate::support::{ECHO, connect, echoing, invocation, python, with_tasks};

/// The authorisation of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    Access,
    Id,
    /// Its own signature or form.
    Itself,
}

/// Method, path with `*` for one segment or its rest, names of the query, what authorises it, type of the body.
type Form = (&'static str, &'static str, &'static [&'static str], By, Option<&'static str>);

const JSON: Option<&str> = Some("application/json");
const FORMS: &[Form] = &[
    ("POST", "/token", &[], By::Itself, Some("application/x-www-form-urlencoded")),
    ("GET", "/v2/P/runtimes", &[], By::Access, None),
    ("POST", "/v2/P/functions:generateUploadUrl", &[], By::Access, JSON),
    ("PUT", "/upload-signed/*", &["X-Goog-Signature"], By::Itself, Some("application/zip")),
    ("POST", "/v2/P/functions", &["functionId"], By::Access, JSON),
    ("GET", "/v2/P/operations/*", &[], By::Access, None),
    ("GET", "/v2/P/functions/*", &[], By::Access, None),
    ("PATCH", "/v2/P/functions/*", &["updateMask"], By::Access, JSON),
    ("GET", "/v2/P/functions", &["pageSize"], By::Access, None),
    ("GET", "/v2/P/functions", &["pageSize", "pageToken"], By::Access, None),
    ("DELETE", "/v2/P/functions/*", &[], By::Access, None),
    ("GET", "/v2/P/services/*:getIamPolicy", &[], By::Access, None),
    ("POST", "/v2/P/services/*:setIamPolicy", &[], By::Access, JSON),
    ("POST", "/run/*", &[], By::Id, JSON),
    ("GET", "/v2/P/queues/*", &[], By::Access, None),
    ("POST", "/v2/P/queues", &[], By::Access, JSON),
    ("POST", "/v2/P/queues/*/tasks", &[], By::Access, JSON),
    ("GET", "/v2/P/queues/*/tasks", &["pageSize"], By::Access, None),
    ("DELETE", "/v2/P/queues/*/tasks/*", &[], By::Access, None),
    ("GET", "/storage/v1/b/*", &[], By::Access, None),
    ("POST", "/storage/v1/b", &["project"], By::Access, JSON),
    ("DELETE", "/storage/v1/b/*", &[], By::Access, None),
    ("GET", "/storage/v1/b/*/o", &["prefix", "fields", "maxResults"], By::Access, None),
    ("GET", "/storage/v1/b/*/o/*", &["alt"], By::Access, None),
    ("DELETE", "/storage/v1/b/*/o/*", &[], By::Access, None),
    ("POST", "/upload/storage/v1/b/*/o", &["uploadType", "name"], By::Access, JSON),
    ("POST", "/v2/entries:list", &[], By::Access, JSON),
];

fn matches(pattern: &str, path: &str) -> bool {
    let pattern = pattern.replace("/P/", "/projects/fake-project/locations/us-central1/");
    let (mut wanted, mut found) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return true,
            (Some(wanted), Some(found)) => {
                let fits = match wanted.split_once('*') {
                    Some((_, rest)) => {
                        found.ends_with(rest) && (!rest.is_empty() || !found.contains(':'))
                    }
                    None => wanted == found,
                };
                if !fits {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

fn has_form(seen: &Request, (method, pattern, query, by, body): &Form) -> bool {
    let names: Vec<&str> = seen.query.iter().map(|(name, _)| name.as_str()).collect();
    if seen.method != *method || !matches(pattern, &seen.path) || names != *query {
        return false;
    }
    let bearer = seen.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    match by {
        By::Access => assert!(bearer.unwrap().starts_with("ya29."), "{}", seen.line()),
        By::Id => assert_eq!(bearer.unwrap().split('.').count(), 3, "{}", seen.line()),
        By::Itself => assert_eq!(bearer, None, "{}", seen.line()),
    }
    assert_eq!(seen.header("content-type"), *body, "{}", seen.line());
    let length = seen.header("content-length").map(str::to_owned);
    match body {
        Some(_) => assert_eq!(length, Some(seen.body.len().to_string()), "{}", seen.line()),
        None => assert!(length.is_none_or(|n| n == "0") && seen.body.is_empty(), "{}", seen.line()),
    }
    true
}

async fn a_whole_life(fake: &FakeGcp) {
    let platform = connect(with_tasks(fake.config())).await;
    for n in 0..3 {
        platform.deploy(&python(&format!("other-{n}"), ECHO)).await.unwrap();
    }
    platform.deploy(&python("echo", ECHO)).await.unwrap();
    let deployment = platform.deploy(&python("echo", ECHO)).await.unwrap();
    let more = Scaling::default().with_max_instances(3);
    platform.scale(&deployment, &more).await.unwrap();
    platform.fetch_deployment("echo").await.unwrap();
    let activation = platform.invoke(&deployment, &invocation(&json!({}))).await.unwrap();
    for length in [1, 100_000] {
        let call = invocation(&json!({"x": "y".repeat(length)}));
        let pending = platform.submit(&deployment, &call).await.unwrap();
        collected(&platform, &deployment, &pending).await;
        platform.release(&deployment, std::slice::from_ref(&pending.id), Release::Taken);
        let given_up = platform.submit(&deployment, &call).await.unwrap();
        platform.release(&deployment, &[given_up.id], Release::Abandoned);
        platform.collect(&deployment, &[]).await.unwrap();
    }
    platform.activation_log(&deployment, &[activation.id]).await.unwrap();
    for deployment in platform.list_deployments().await.unwrap() {
        platform.remove(&deployment).await.unwrap();
    }
}

#[tokio::test]
async fn every_request_has_a_form_of_the_contract_and_every_form_is_used() {
    let fake = echoing();
    a_whole_life(&fake).await;
    let mut used = BTreeSet::new();
    for seen in fake.requests() {
        let form = FORMS.iter().position(|form| has_form(&seen, form));
        used.insert(form.unwrap_or_else(|| panic!("{} {:?}", seen.line(), seen.query)));
    }
    let unused: Vec<_> = (0..FORMS.len()).filter(|n| !used.contains(n)).map(|n| FORMS[n]).collect();
    assert!(unused.is_empty(), "{unused:#?}");
}

#[tokio::test]
async fn a_deployment_from_deploy_to_remove_needs_one_token_of_each_kind() {
    let fake = echoing();
    let platform = connect(fake.config()).await;
    let deployment = platform.deploy(&python("echo", ECHO)).await.unwrap();
    for n in 0..10 {
        platform.invoke(&deployment, &invocation(&json!({"n": n}))).await.unwrap();
    }
    let grants = fake.requests_to("POST /token");
    assert_eq!(grants.len(), 2);
    let url = format!("{}/run/echo", fake.url());
    for (grant, named) in grants.iter().zip([
        ("scope", "https://www.googleapis.com/auth/cloud-platform"),
        ("target_audience", &*url),
    ]) {
        let form = String::from_utf8(grant.body.to_vec()).unwrap();
        let prefix = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=";
        let assertion = form.strip_prefix(prefix).unwrap();
        let part = |n: usize| -> Value {
            let part = assertion.split('.').nth(n).unwrap();
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        assert_eq!(part(0), json!({"alg": "RS256", "typ": "JWT", "kid": "1"}));
        let claims = part(1);
        assert_eq!(claims["iss"], ACCOUNT);
        assert_eq!(claims["aud"], format!("{}/token", fake.url()), "the key's own endpoint");
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 3600);
        assert_eq!(claims[named.0], named.1);
        assert_eq!(claims.as_object().unwrap().len(), 5, "either of them: {claims}");
    }
}

#[tokio::test]
async fn a_queue_and_a_bucket_of_the_users_are_used_and_never_made_or_deleted() {
    let fake = echoing();
    fake.put_object("theirs", "theirs.txt", "x");
    fake.add_queue("theirs");
    let tasks = CloudTasks::default()
        .with_queue("theirs")
        .with_bucket("theirs")
        .with_caller("robot@p.iam.gserviceaccount.com");
    let platform = connect(fake.config().submission(Submission::CloudTasks(tasks))).await;
    let deployment = platform.deploy(&python("echo", ECHO)).await.unwrap();
    let members =
        fake.requests_to(":setIamPolicy")[0].json()["policy"]["bindings"][0]["members"].clone();
    let robot = "serviceAccount:robot@p.iam.gserviceaccount.com";
    assert_eq!(
        members,
        json!([format!("serviceAccount:{ACCOUNT}"), robot]),
        "who dispatches is let in"
    );
    let pending = platform.submit(&deployment, &invocation(&json!({}))).await.unwrap();
    let task = fake.requests_to("/queues/theirs/tasks")[0].json();
    let token = &task["task"]["httpRequest"]["oidcToken"];
    assert_eq!(token["serviceAccountEmail"], "robot@p.iam.gserviceaccount.com");
    collected(&platform, &deployment, &pending).await.outcome.unwrap();
    platform.remove(&deployment).await.unwrap();
    assert_eq!(fake.objects(), ["theirs/theirs.txt"], "what is theirs stays");
    for part in ["POST /storage/v1/b", "DELETE /storage/v1/b/theirs"] {
        let sent = fake.requests_to(part).into_iter().filter(|seen| !seen.path.contains("/o/"));
        assert_eq!(sent.count(), 0, "{part}");
    }
}
