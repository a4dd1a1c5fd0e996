//! The suite that every platform passes, over the fake with real functions.

use std::sync::Arc;

use falco_core::{AsyncPlatform, RuntimeName, async_trait};
use falco_fakes::http;
use falco_fakes::openwhisk::{FAKE_AUTH, FakeOpenWhisk};
use falco_openwhisk::OpenWhisk;
use falco_testkit::conformance::{self, Fault, Harness, Skip};
use falco_testkit::{TcpProxy, conformance_tests, shim_tests};

struct OverTheFake {
    fake: FakeOpenWhisk,
    platform: Arc<OpenWhisk>,
}

#[async_trait]
impl Harness for OverTheFake {
    async fn start() -> Self {
        let fake = FakeOpenWhisk::start();
        let platform = OpenWhisk::connect(fake.config().build().unwrap()).await.unwrap();
        Self { fake, platform: Arc::new(platform) }
    }

    fn platform(&self) -> Arc<dyn AsyncPlatform> {
        self.platform.clone()
    }

    fn runtimes(&self) -> Vec<RuntimeName> {
        ["python:3", "nodejs:20", "native"].map(|runtime| runtime.parse().unwrap()).to_vec()
    }

    fn fake(&self) -> Option<&dyn conformance::Fake> {
        Some(&self.fake)
    }

    async fn provoke(&self, fault: Fault) -> Result<Arc<dyn AsyncPlatform>, Skip> {
        self.fake.change(|settings| match fault {
            Fault::Unauthorized => settings.knows_the_key = false,
            Fault::Throttled => settings.invocations_per_minute = 0,
            Fault::Duplicates => settings.lists_twice = true,
            _ => {}
        });
        let calls = "POST /api/v1/namespaces/";
        match fault {
            Fault::Silent => self.fake.inject(http::Fault::silence("")),
            Fault::LostAnswer => self.fake.inject(http::Fault::reset(calls).after_doing_it()),
            _ => {}
        }
        match fault {
            Fault::Gone => {
                Err(Skip::new("OpenWhisk says of lost records what it says of late ones"))
            }
            Fault::Unreachable => {
                let proxy = TcpProxy::start(self.fake.url()).await.unwrap();
                let config = self.fake.config().apihost(proxy.url()).build().unwrap();
                let platform = Arc::new(OpenWhisk::connect(config).await.unwrap());
                proxy.end().await;
                Ok(platform)
            }
            _ => Ok(self.platform.clone()),
        }
    }

    fn exempt(&self, case: &str) -> Option<Skip> {
        let reason = match case {
            "shim_node_never" => {
                "the runtime's server keeps the event loop alive until the timeout"
            }
            "shim_native_instance" => "the server does not say where an executable runs",
            "shim_native_string" => "the proxy does not say what the result was",
            "shim_native_half_value" | "shim_native_half_key" | "shim_native_error_half" => {
                "the server replaces halves of surrogate pairs by question marks"
            }
            "shim_python_idle" | "shim_native_idle" => {
                "the proxy takes the call, and answers for the process that has died"
            }
            _ => return None,
        };
        Some(Skip::new(reason))
    }

    fn exempt_runtime(&self, case: &str, runtime: &RuntimeName) -> Option<Skip> {
        let is_native_half = case == "a_result_that_json_cannot_hold_is_a_bad_result"
            && runtime.family() == "native";
        is_native_half
            .then(|| Skip::new("the server replaces halves of surrogate pairs by question marks"))
    }

    fn shares_files(&self) -> bool {
        true
    }

    async fn reconnect(&self) -> Result<Arc<dyn AsyncPlatform>, Skip> {
        let platform = OpenWhisk::connect(self.fake.config().build().unwrap()).await.unwrap();
        Ok(Arc::new(platform))
    }

    fn secrets(&self) -> Vec<String> {
        let (_, key) = FAKE_AUTH.split_once(':').unwrap();
        vec![FAKE_AUTH.into(), key.into()]
    }
}

conformance_tests!(OverTheFake);
shim_tests!(OverTheFake);
falco_fakes::data_tests!(OverTheFake);
