//! The conformance suite, over the fake.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use falco_aws::{AwsLambda, AwsWaits};
use falco_core::{AsyncPlatform, RuntimeName};
use falco_fakes::aws::{FAKE_SECRET, FakeAws, FakeSettings};
use falco_fakes::http;
use falco_testkit::conformance::{self, Fault, Harness, Skip};
use falco_testkit::{TcpProxy, conformance_tests};

struct Fake {
    fake: FakeAws,
    platform: Arc<AwsLambda>,
}

const TOKEN: &str = "marked-session-token";

async fn connect(fake: &FakeAws, url: &str) -> Arc<AwsLambda> {
    let config = fake
        .config()
        .endpoint_for_all(url)
        .static_credentials(falco_fakes::aws::FAKE_ACCESS_KEY, FAKE_SECRET, Some(TOKEN.into()))
        .waits(
            AwsWaits::default()
                .with_state_interval(Duration::from_millis(2))
                .with_role_interval(Duration::from_millis(2)),
        );
    Arc::new(AwsLambda::connect(config.build().unwrap()).await.unwrap())
}

#[async_trait]
impl Harness for Fake {
    async fn start() -> Self {
        // A log comes after its function may have been removed.
        let log_delay = Duration::from_millis(100);
        let fake = FakeAws::with(FakeSettings { log_delay, ..FakeSettings::default() });
        let platform = connect(&fake, fake.url()).await;
        Self { fake, platform }
    }

    fn platform(&self) -> Arc<dyn AsyncPlatform> {
        self.platform.clone()
    }

    fn runtimes(&self) -> Vec<RuntimeName> {
        static FOUND: OnceLock<Vec<RuntimeName>> = OnceLock::new();
        let there = |program: &str| {
            let version = std::process::Command::new(program).arg("--version").output();
            version.is_ok_and(|output| output.status.success())
        };
        // The fixture as an executable is a script of Python's; its bootstrap wants bash.
        let known = [("python3", "python:3"), ("node", "nodejs:22"), ("bash", "native")];
        let found = FOUND.get_or_init(|| {
            let found = known.into_iter().filter(|(program, _)| there(program));
            found.map(|(_, runtime)| runtime.parse().unwrap()).collect()
        });
        found.clone()
    }

    fn fake(&self) -> Option<&dyn conformance::Fake> {
        Some(&self.fake)
    }

    async fn provoke(&self, fault: Fault) -> Result<Arc<dyn AsyncPlatform>, Skip> {
        self.fake.change(|settings| settings.is_revoked = false);
        if fault == Fault::Unreachable {
            let proxy = TcpProxy::start(self.fake.url()).await.unwrap();
            let platform = connect(&self.fake, &proxy.url()).await;
            proxy.end().await;
            return Ok(platform);
        }
        let platform = connect(&self.fake, self.fake.url()).await;
        match fault {
            Fault::Unauthorized => self.fake.change(|settings| settings.is_revoked = true),
            Fault::Throttled => self.fake.change(|settings| settings.throttles = true),
            Fault::Silent => self.fake.hold_after(0, false),
            Fault::LostAnswer => self.fake.inject(http::Fault::reset("Invoke ").after_doing_it()),
            Fault::Gone => self.fake.change(|settings| settings.drops_events = true),
            Fault::Duplicates => self.fake.change(|settings| settings.records_come_twice = true),
            other => return Err(Skip::new(format!("the fake knows no {other}"))),
        }
        Ok(platform)
    }

    fn shares_files(&self) -> bool {
        true
    }

    async fn reconnect(&self) -> Result<Arc<dyn AsyncPlatform>, Skip> {
        Ok(connect(&self.fake, self.fake.url()).await)
    }

    fn secrets(&self) -> Vec<String> {
        vec![FAKE_SECRET.into(), TOKEN.into()]
    }
}

falco_testkit::shim_tests!(Fake);
falco_fakes::data_tests!(Fake);
conformance_tests!(Fake, tokio::test(flavor = "multi_thread", worker_threads = 2));
