//! The platform passes the suite that every platform passes, on a real daemon.

use std::sync::Arc;
use std::time::Duration;

use falco_core::{AsyncPlatform, RuntimeName, async_trait};
use falco_docker::{DockerPlatform, Isolation, WorkerLimits};
use falco_testkit::conformance::{Fault, Harness, Skip};
use falco_testkit::{conformance_tests, shim_tests};

use crate::daemon;

struct Daemon(Option<Arc<DockerPlatform>>);

impl Daemon {
    async fn with(isolation: Isolation) -> Self {
        let Some(host) = daemon::host() else { return Self(None) };
        let workers = WorkerLimits::default()
            .with_max_workers(2)
            .with_max_payload(1 << 20)
            .with_max_result(1 << 20);
        let config = daemon::config(&host).await.isolation(isolation).workers(workers);
        let platform = DockerPlatform::connect(config.build().unwrap()).await.unwrap();
        Self(Some(Arc::new(platform)))
    }
}

#[async_trait]
impl Harness for Daemon {
    async fn start() -> Self {
        Self::with(Isolation::default()).await
    }

    fn platform(&self) -> Arc<dyn AsyncPlatform> {
        self.0.clone().expect("without a daemon every case is exempt")
    }

    fn runtimes(&self) -> Vec<RuntimeName> {
        // The native fixture is an executable in Python.
        ["python:3", "nodejs", "native"].map(|runtime| runtime.parse().unwrap()).into()
    }

    async fn reconnect(&self) -> Result<Arc<dyn AsyncPlatform>, Skip> {
        Err(Skip::new("results live as long as the platform that took the submission"))
    }

    async fn provoke(&self, fault: Fault) -> Result<Arc<dyn AsyncPlatform>, Skip> {
        match fault {
            // It reports every result until it is released.
            Fault::Duplicates => Ok(self.platform()),
            Fault::Throttled => Err(Skip::new("it queues what it cannot run at once")),
            other => Err(Skip::new(format!("a daemon on this machine knows no {other}"))),
        }
    }

    fn exempt(&self, _: &str) -> Option<Skip> {
        self.0.is_none().then(|| Skip::new("there is no Docker daemon"))
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(120)
    }
}

conformance_tests!(Daemon);
shim_tests!(Daemon);

/// The same, whose containers see the loopback interface of this machine: the store of the data suite is there.
struct OnThisNetwork(Daemon);

#[async_trait]
impl Harness for OnThisNetwork {
    async fn start() -> Self {
        Self(Daemon::with(Isolation::default().with_network("host")).await)
    }

    fn platform(&self) -> Arc<dyn AsyncPlatform> {
        self.0.platform()
    }

    fn runtimes(&self) -> Vec<RuntimeName> {
        self.0.runtimes()
    }

    async fn provoke(&self, fault: Fault) -> Result<Arc<dyn AsyncPlatform>, Skip> {
        self.0.provoke(fault).await
    }

    fn exempt(&self, case: &str) -> Option<Skip> {
        self.0.exempt(case)
    }
}

falco_fakes::data_tests!(OnThisNetwork);
