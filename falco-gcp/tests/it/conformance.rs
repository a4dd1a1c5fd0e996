//! The suite that every platform passes, with real functions in Python and Node: once with calls and once with tasks.

use std::sync::Arc;
use std::time::Duration;

use falco_core::{AsyncPlatform, RuntimeName, async_trait};
use falco_fakes::gcp::{self as fake, FakeGcp};
use falco_fakes::http;
use falco_gcp::{CloudTasks, GcpConfigBuilder, GcpFunctions, GcpWaits, Submission};
use falco_testkit::conformance::{self, Fault, Harness, Skip};
use falco_testkit::{Line, TcpProxy};

/// Google's cloud, with functions that are only called, or with a queue of tasks in front of them.
struct Google<const TASKS: bool> {
    fake: FakeGcp,
    platform: Arc<GcpFunctions>,
    proxy: TcpProxy,
}

fn with_tasks(config: GcpConfigBuilder) -> GcpConfigBuilder {
    // Listing a thousand results every few milliseconds would keep a slow machine from making them.
    let mut waits = GcpWaits::every(Duration::from_millis(10));
    waits.results = Duration::from_millis(200);
    config.waits(waits).submission(Submission::CloudTasks(CloudTasks::default()))
}

impl<const TASKS: bool> Google<TASKS> {
    async fn connect(fake: &FakeGcp) -> GcpFunctions {
        let config = if TASKS { with_tasks(fake.config()) } else { fake.config() };
        GcpFunctions::connect(config.build().unwrap()).await.unwrap()
    }
}

#[async_trait]
impl<const TASKS: bool> Harness for Google<TASKS> {
    async fn start() -> Self {
        let fake = FakeGcp::start();
        let proxy = TcpProxy::start(fake.url()).await.unwrap();
        fake.stand_behind(proxy.url());
        let platform = Arc::new(Self::connect(&fake).await);
        Self { fake, platform, proxy }
    }

    fn platform(&self) -> Arc<dyn AsyncPlatform> {
        self.platform.clone()
    }

    fn runtimes(&self) -> Vec<RuntimeName> {
        ["python:3", "nodejs:22"].map(|name| name.parse().unwrap()).to_vec()
    }

    fn fake(&self) -> Option<&dyn conformance::Fake> {
        Some(&self.fake)
    }

    /// The first platform sees the fault as well: every case needs it no longer.
    async fn provoke(&self, fault: Fault) -> Result<Arc<dyn AsyncPlatform>, Skip> {
        match fault {
            Fault::Unauthorized => {
                let refusal =
                    r#"{"error":"invalid_grant","error_description":"Invalid JWT Signature."}"#;
                self.fake.inject(http::Fault::answer("POST /token", 400, refusal));
                self.fake.revoke_tokens();
            }
            Fault::Throttled => {
                self.fake.inject(http::Fault::answer("POST /run/", 429, "Rate exceeded."));
                let refusal = r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"Quota exceeded"}}"#;
                self.fake.inject(
                    http::Fault::answer("/tasks", 429, refusal).with_header("retry-after", "3"),
                );
            }
            Fault::LostAnswer => {
                self.fake.inject(http::Fault::reset("POST /run/").after_doing_it());
            }
            Fault::Unreachable => self.proxy.set(Line::Cut),
            Fault::Silent => self.fake.inject(http::Fault::silence(" /")),
            Fault::Duplicates => self.fake.list_twice(),
            Fault::Gone => {
                self.fake.inject(http::Fault::answer("results%2F", 200, "<html>not a record"))
            }
            other => return Err(Skip::new(format!("nobody knows how to provoke {other}"))),
        }
        Ok(self.platform.clone())
    }

    fn shares_files(&self) -> bool {
        true
    }

    async fn reconnect(&self) -> Result<Arc<dyn AsyncPlatform>, Skip> {
        if !TASKS {
            return Err(Skip::new("calls end with the process that holds them open"));
        }
        Ok(Arc::new(Self::connect(&self.fake).await))
    }

    fn secrets(&self) -> Vec<String> {
        let key = fake::PRIVATE_KEY;
        let line = key.lines().nth(3).unwrap().to_owned();
        let marked = ["marked-access-token", "marked-id-token", "marked-signature"];
        marked.into_iter().map(str::to_owned).chain([line]).collect()
    }

    /// A thousand real functions store a thousand results: a machine that does much else takes its time.
    fn patience(&self) -> Duration {
        Duration::from_secs(if TASKS { 240 } else { 60 })
    }
}

mod calls {
    falco_testkit::conformance_tests!(super::Google<false>);
}

mod tasks {
    falco_testkit::conformance_tests!(super::Google<true>);
}
