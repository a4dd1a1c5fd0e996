//! The suite that every platform of Falco passes. A case that fails says what it demands and why.

use std::sync::Arc;

use falco_core::{AsyncPlatform, RuntimeName, async_trait};
use falco_testkit::conformance::{Fault, Harness, Skip};
use falco_testkit::conformance_tests;
use falco_{{name}}::{{Name}};

use crate::fake::Fake;

struct Gateway {
    fake: Fake,
    platform: Arc<{{Name}}>,
}

#[async_trait]
impl Harness for Gateway {
    async fn start() -> Self {
        let fake = Fake::start();
        let platform = Arc::new({{Name}}::connect(fake.config()).await.unwrap());
        Self { fake, platform }
    }

    fn platform(&self) -> Arc<dyn AsyncPlatform> {
        self.platform.clone()
    }

    fn runtimes(&self) -> Vec<RuntimeName> {
        vec!["python:3".parse().unwrap()]
    }

    fn secrets(&self) -> Vec<String> {
        vec![self.fake.token().to_owned()]
    }

    async fn provoke(&self, fault: Fault) -> Result<Arc<dyn AsyncPlatform>, Skip> {
        if self.fake.misbehave(fault) {
            return Ok(self.platform.clone());
        }
        // Teach the fake the others; until then the cases that need them say so.
        Err(Skip::new(format!("the fake in tests/it/fake.rs cannot do this yet: {fault}")))
    }

    fn calls(&self) -> Option<u64> {
        // The requests that run a function.
        Some(self.fake.http.requests_to("POST /functions/").len() as u64)
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

conformance_tests!(Gateway);
