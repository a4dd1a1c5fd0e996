//! The suite that every platform passes, with real functions in Python and Node: once with calls and once with tasks.

use std::sync::Arc;
use std::time::Duration;

use falco_core::{AsyncPlatform, RuntimeName, async_trait};
use falco_fakes::gcp::{self as fake, FakeGcp};
use falco_fakes::http;
use falco_gcp::{CloudTasks, GcpConfigBuilder, GcpFunctions, GcpWaits, Submission};
use falco_testkit::conformance::{Fault, Harness, Skip};
use falco_testkit::{Line, TcpProxy};

struct Google {
    fake: FakeGcp,
    platform: Arc<GcpFunctions>,
    proxy: TcpProxy,
}

impl Google {
    async fn start(configure: fn(GcpConfigBuilder) -> GcpConfigBuilder) -> Self {
        let fake = FakeGcp::start();
        let proxy = TcpProxy::start(fake.url()).await.unwrap();
        fake.stand_behind(proxy.url());
        let platform = Arc::new(connect(&fake, configure).await);
        Self { fake, platform, proxy }
    }

    /// The first platform sees the fault as well: every case needs it no longer.
    fn provoke(&self, fault: Fault) -> Result<Arc<dyn AsyncPlatform>, Skip> {
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
}

async fn connect(
    fake: &FakeGcp,
    configure: fn(GcpConfigBuilder) -> GcpConfigBuilder,
) -> GcpFunctions {
    GcpFunctions::connect(configure(fake.config()).build().unwrap()).await.unwrap()
}

fn secrets() -> Vec<String> {
    let key = fake::PRIVATE_KEY;
    let line = key.lines().nth(3).unwrap().to_owned();
    let marked = ["marked-access-token", "marked-id-token", "marked-signature"];
    marked.into_iter().map(str::to_owned).chain([line]).collect()
}

fn runtimes() -> Vec<RuntimeName> {
    ["python:3", "nodejs:22"].map(|name| name.parse().unwrap()).to_vec()
}

mod calls {
    use super::*;

    struct Calls(Google);

    #[async_trait]
    impl Harness for Calls {
        async fn start() -> Self {
            Self(Google::start(|config| config).await)
        }

        fn platform(&self) -> Arc<dyn AsyncPlatform> {
            self.0.platform.clone()
        }

        fn runtimes(&self) -> Vec<RuntimeName> {
            runtimes()
        }

        async fn provoke(&self, fault: Fault) -> Result<Arc<dyn AsyncPlatform>, Skip> {
            self.0.provoke(fault)
        }

        fn calls(&self) -> Option<u64> {
            Some(self.0.fake.requests_to("POST /run/").len() as u64)
        }

        async fn place_stranger(&self) -> Result<String, Skip> {
            self.0.fake.place_function("stranger");
            Ok("stranger".to_owned())
        }

        fn secrets(&self) -> Vec<String> {
            secrets()
        }
    }

    falco_testkit::conformance_tests!(Calls);
}

mod tasks {
    use super::*;

    struct Tasks(Google);

    fn tasks(config: GcpConfigBuilder) -> GcpConfigBuilder {
        // Listing a thousand results every few milliseconds would keep a slow machine from making them.
        let mut waits = GcpWaits::every(Duration::from_millis(10));
        waits.results = Duration::from_millis(200);
        config.waits(waits).submission(Submission::CloudTasks(CloudTasks::default()))
    }

    #[async_trait]
    impl Harness for Tasks {
        async fn start() -> Self {
            Self(Google::start(tasks).await)
        }

        fn platform(&self) -> Arc<dyn AsyncPlatform> {
            self.0.platform.clone()
        }

        fn runtimes(&self) -> Vec<RuntimeName> {
            runtimes()
        }

        async fn provoke(&self, fault: Fault) -> Result<Arc<dyn AsyncPlatform>, Skip> {
            self.0.provoke(fault)
        }

        fn calls(&self) -> Option<u64> {
            Some(self.0.fake.requests_to("POST /run/").len() as u64)
        }

        async fn place_stranger(&self) -> Result<String, Skip> {
            self.0.fake.place_function("stranger");
            Ok("stranger".to_owned())
        }

        async fn reconnect(&self) -> Result<Arc<dyn AsyncPlatform>, Skip> {
            Ok(Arc::new(connect(&self.0.fake, tasks).await))
        }

        fn secrets(&self) -> Vec<String> {
            secrets()
        }

        /// A thousand real functions store a thousand results: a machine that does much else takes its time.
        fn patience(&self) -> Duration {
            Duration::from_secs(240)
        }
    }

    falco_testkit::conformance_tests!(Tasks);
}
