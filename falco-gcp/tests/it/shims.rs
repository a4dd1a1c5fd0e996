//! The shim conformance suite, under Google's own Functions Frameworks where they are installed; Node.js is 24 there.

use std::sync::Arc;

use falco_core::{AsyncPlatform, RuntimeName, async_trait};
use falco_fakes::gcp::FakeGcp;
use falco_gcp::GcpFunctions;
use falco_testkit::conformance::{Fault, Harness, Skip};
use falco_testkit::runtimes;

use crate::support::connect;

struct Google {
    platform: Arc<GcpFunctions>,
    _fake: FakeGcp,
}

#[async_trait]
impl Harness for Google {
    async fn start() -> Self {
        for name in ["functions-framework-python", "functions-framework-nodejs", "nodejs-24"] {
            runtimes::find(name);
        }
        let fake = FakeGcp::start();
        let platform = Arc::new(connect(fake.config()).await);
        Self { platform, _fake: fake }
    }

    fn platform(&self) -> Arc<dyn AsyncPlatform> {
        self.platform.clone()
    }

    fn runtimes(&self) -> Vec<RuntimeName> {
        ["python:3", "nodejs:24", "native"].map(|name| name.parse().unwrap()).to_vec()
    }

    async fn provoke(&self, _fault: Fault) -> Result<Arc<dyn AsyncPlatform>, Skip> {
        Err(Skip::new("the shims are the same under every fault of the provider's"))
    }
}

falco_testkit::shim_tests!(Google);
falco_fakes::data_tests!(Google);
