//! The suite that every platform of Falco passes. A case that fails says what it demands and why.

use std::sync::Arc;
use std::time::Duration;

use falco_core::{AsyncPlatform, RuntimeName, async_trait};
use falco_testkit::conformance::{Fault, Harness, Skip};
use falco_testkit::conformance_tests;
use falco_{{name}}::{{Name}};

use crate::fake::{Fake, TOKEN};

struct Gateway {
    fake: Fake,
    platform: Arc<{{Name}}>,
}

#[async_trait]
impl Harness for Gateway {
    async fn start() -> Self {
        let fake = Fake::start();
        let config = fake.config(Duration::from_secs(30));
        Self { platform: Arc::new({{Name}}::connect(config).await.unwrap()), fake }
    }

    fn platform(&self) -> Arc<dyn AsyncPlatform> {
        self.platform.clone()
    }

    fn runtimes(&self) -> Vec<RuntimeName> {
        vec!["python:3".parse().unwrap()]
    }

    fn secrets(&self) -> Vec<String> {
        vec![TOKEN.to_owned()]
    }

    async fn provoke(&self, fault: Fault) -> Result<Arc<dyn AsyncPlatform>, Skip> {
        self.fake.http.heal();
        // Where nothing answers, `deploy` would wait in vain.
        let impatient = {{Name}}::connect(self.fake.config(Duration::ZERO)).await.unwrap();
        if self.fake.misbehave(fault) {
            return Ok(Arc::new(impatient));
        }
        // Teach the fake the others; until then the cases that need them say so.
        Err(Skip::new(format!("the fake in tests/it/fake.rs cannot do this yet: {fault}")))
    }

    fn exempt(&self, case: &str) -> Option<Skip> {
        match case {
            "shim_python_instance" => Some(Skip::new("the transport does not say where it runs")),
            "shim_python_trace" => Some(Skip::new("the transport hands no trace context on")),
            _ => None,
        }
    }

    fn calls(&self) -> Option<u64> {
        // The requests that run a function.
        Some(self.fake.http.requests_to("POST /functions/").len() as u64)
    }

    /// Functions run on this machine.
    fn shares_files(&self) -> bool {
        true
    }

    async fn place_stranger(&self) -> Result<String, Skip> {
        self.fake.place("stranger");
        Ok("stranger".to_owned())
    }

    fn leftovers(&self) -> Option<Vec<String>> {
        Some(self.fake.names())
    }

    async fn stop_after(&self, requests: u64) -> Result<(), Skip> {
        self.fake.http.hold_after(requests - 1, true);
        Ok(())
    }

    async fn stopped(&self) {
        self.fake.http.held().await;
    }

    fn go_on(&self) {
        self.fake.http.go_on();
    }
}

// The other sections are about processes that answer more than one call.
falco_testkit::shim_tests! { Gateway;
    shim_python_calls: "python" Calls,
    shim_python_sources: "python" Sources,
}
conformance_tests!(Gateway);
