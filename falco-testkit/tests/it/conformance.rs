//! The platform in memory passes the suite, on paused time.

use std::sync::Arc;

use falco_core::{AsyncPlatform, Capabilities, RuntimeName, async_trait};
use falco_testkit::conformance::{Fault, Harness, Skip};
use falco_testkit::fixture::Fixture;
use falco_testkit::{Fate, Fates, InMemory, Settings, conformance_tests};

struct Memory(Arc<InMemory>);

#[async_trait]
impl Harness for Memory {
    async fn start() -> Self {
        let defaults = Settings::default();
        let settings = Settings {
            capabilities: Capabilities {
                max_payload: Some(6 << 20),
                max_submit_payload: Some(1 << 20),
                max_result: Some(1 << 20),
                ..defaults.capabilities
            },
            capacity: Some(20),
            ..defaults
        };
        let respond = |call: &falco_testkit::FunctionCall<'_>| {
            Fixture::of_code(call.code).unwrap().reply(call)
        };
        let platform = InMemory::new(settings)
            .with_function("python", respond)
            .with_function("nodejs", respond);
        Self(Arc::new(platform))
    }

    fn platform(&self) -> Arc<dyn AsyncPlatform> {
        self.0.clone()
    }

    fn runtimes(&self) -> Vec<RuntimeName> {
        vec!["python:3".parse().unwrap(), "nodejs:22".parse().unwrap()]
    }

    async fn provoke(&self, fault: Fault) -> Result<Arc<dyn AsyncPlatform>, Skip> {
        self.0.configure(|settings| match fault {
            Fault::Unauthorized => settings.unauthorized = true,
            Fault::Throttled => settings.fates = of_invocations(Fate::throttle(None)),
            Fault::Silent => settings.fates = Fates::by(|_| Fate::Hang),
            Fault::Gone => settings.fates = of_invocations(Fate::Vanish),
            Fault::Duplicates => settings.duplicates = 1.0,
            other => panic!("teach the test {other:?}"),
        });
        Ok(self.0.clone())
    }
}

fn of_invocations(fate: Fate) -> Fates {
    Fates::by(move |call| call.invocation.map_or(Fate::Serve, |_| fate.clone()))
}

conformance_tests!(Memory, tokio::test(start_paused = true));
