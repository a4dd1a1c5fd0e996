//! The suite that every platform of Falco passes. A case that fails says what it demands and why.

use std::sync::Arc;
use std::time::Duration;

use falco_core::{AsyncPlatform, RuntimeName, async_trait};
use falco_fakes::openfaas::{FAKE_PASSWORD, FakeFunctions, FakeOpenFaas};
use falco_layers::{Held, HeldPolicy};
use falco_openfaas::{OpenFaas, OpenFaasWaits};
use falco_testkit::conformance::{self, Fault, Harness, Skip};
use falco_testkit::conformance_tests;

use crate::has_python;

/// The platform as it is, over real functions where there is a Python.
struct Gateway {
    fake: FakeOpenFaas,
    platform: Arc<OpenFaas>,
}

impl Gateway {
    async fn with(functions: FakeFunctions) -> Self {
        let fake = FakeOpenFaas::with(functions);
        let platform = Arc::new(OpenFaas::connect(fake.config().build().unwrap()).await.unwrap());
        Self { fake, platform }
    }

    /// The same, without waiting for the new code: throttled, it cannot be asked whether it answers.
    async fn impatient(&self) -> Arc<OpenFaas> {
        // A case may provoke one fault after the other.
        self.fake.heal();
        let waits = OpenFaasWaits::default()
            .with_rollout_interval(Duration::ZERO)
            .with_rollout_timeout(Duration::ZERO);
        let config = self.fake.config().waits(waits);
        Arc::new(OpenFaas::connect(config.build().unwrap()).await.unwrap())
    }
}

#[async_trait]
impl Harness for Gateway {
    async fn start() -> Self {
        let real = has_python();
        Self::with(if real { FakeFunctions::Processes } else { FakeFunctions::Emulated }).await
    }

    fn platform(&self) -> Arc<dyn AsyncPlatform> {
        self.platform.clone()
    }

    fn runtimes(&self) -> Vec<RuntimeName> {
        vec!["python:3".parse().unwrap()]
    }

    fn fake(&self) -> Option<&dyn conformance::Fake> {
        Some(&self.fake)
    }

    fn secrets(&self) -> Vec<String> {
        vec![FAKE_PASSWORD.to_owned()]
    }

    async fn provoke(&self, fault: Fault) -> Result<Arc<dyn AsyncPlatform>, Skip> {
        match fault {
            Fault::Unauthorized | Fault::Throttled | Fault::Silent | Fault::LostAnswer => {
                let impatient = self.impatient().await;
                self.fake.misbehave(fault);
                Ok(impatient)
            }
            other => Err(Skip::new(format!("a platform that only invokes knows no {other}"))),
        }
    }

    fn shares_files(&self) -> bool {
        has_python()
    }
}

// The other sections are about processes that answer more than one call.
falco_testkit::shim_tests! { Gateway;
    shim_python_calls: "python" Calls,
    shim_python_sources: "python" Sources,
}
conformance_tests!(Gateway);
falco_fakes::data_tests! { Gateway;
    data_python_objects: "python" Objects,
    data_python_values: "python" Values,
    data_python_at_once: "python" AtOnce,
}

mod held {
    use super::*;

    /// Much shorter than the fake takes to lose a call.
    fn policy() -> HeldPolicy {
        HeldPolicy::default().with_acceptance(Duration::from_millis(50))
    }

    /// Longer than any refusal takes, however slow the machine is.
    fn patient() -> HeldPolicy {
        HeldPolicy::default().with_acceptance(Duration::from_secs(30))
    }

    /// With `Held` around it, it submits too.
    struct Submitting {
        gateway: Gateway,
        held: Held<Arc<OpenFaas>>,
    }

    #[async_trait]
    impl Harness for Submitting {
        async fn start() -> Self {
            let gateway = Gateway::with(FakeFunctions::Emulated).await;
            let held = Held::new(gateway.platform.clone(), policy());
            Self { gateway, held }
        }

        fn platform(&self) -> Arc<dyn AsyncPlatform> {
            Arc::new(self.held.clone())
        }

        fn runtimes(&self) -> Vec<RuntimeName> {
            self.gateway.runtimes()
        }

        fn secrets(&self) -> Vec<String> {
            self.gateway.secrets()
        }

        fn calls(&self) -> Option<u64> {
            self.gateway.calls()
        }

        async fn reconnect(&self) -> Result<Arc<dyn AsyncPlatform>, Skip> {
            Err(Skip::new("calls that are held open go with the process that holds them"))
        }

        async fn provoke(&self, fault: Fault) -> Result<Arc<dyn AsyncPlatform>, Skip> {
            // It reports every result until it is released.
            if fault == Fault::Duplicates {
                return Ok(self.platform());
            }
            if fault == Fault::Unreachable {
                return Err(Skip::new("the fake stays reachable"));
            }
            let impatient = self.gateway.impatient().await;
            self.gateway.fake.misbehave(fault);
            let refuses = matches!(fault, Fault::Unauthorized | Fault::Throttled);
            let policy = if refuses { patient() } else { policy() };
            Ok(Arc::new(Held::new(impatient, policy)))
        }

        fn exempt(&self, case: &str) -> Option<Skip> {
            match case {
                "collecting_unknown_ids_is_no_news" => {
                    Some(Skip::new("Held knows that calls of another process will never answer"))
                }
                "a_call_to_a_silent_peer_can_be_dropped" => {
                    Some(Skip::new("Held takes a call for accepted that is not refused at once"))
                }
                "a_batch_is_answered_input_by_input"
                | "stored_arguments_lie_beneath_each_payload" => Some(Skip::new(
                    "the stand-in without processes has no shim; the harness with them has",
                )),
                _ => None,
            }
        }
    }

    falco_testkit::conformance_tests!(Submitting);
}
