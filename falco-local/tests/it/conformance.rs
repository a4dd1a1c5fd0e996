//! The local platform passes the suite that every platform passes, with real interpreters.

use std::sync::Arc;

use falco_core::{AsyncPlatform, RuntimeName, async_trait};
use falco_local::{ForkedWorkers, LocalConfig, LocalPlatform, WorkerLimits};
use falco_testkit::conformance::{Fault, Harness, Skip};
use falco_testkit::{conformance_tests, shim_tests};
use tempfile::TempDir;

use crate::support::has;

struct ThisMachine {
    platform: Arc<LocalPlatform>,
    /// Dropped after the platform.
    _directory: TempDir,
}

impl ThisMachine {
    async fn with(forked_workers: ForkedWorkers) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let workers = WorkerLimits::default()
            .with_max_workers(2)
            .with_max_payload(1 << 20)
            .with_max_result(1 << 20);
        let config = LocalConfig::builder()
            .directory(directory.path())
            .workers(workers)
            .forked_workers(forked_workers);
        let platform = LocalPlatform::connect(config.build().unwrap()).await.unwrap();
        Self { platform: Arc::new(platform), _directory: directory }
    }
}

#[async_trait]
impl Harness for ThisMachine {
    async fn start() -> Self {
        // Another suite, below, has workers of Python that start by themselves.
        Self::with(ForkedWorkers::Always).await
    }

    fn platform(&self) -> Arc<dyn AsyncPlatform> {
        self.platform.clone()
    }

    fn runtimes(&self) -> Vec<RuntimeName> {
        // The native fixture is an executable in Python.
        let known = [("python3", "python:3"), ("node", "nodejs"), ("python3", "native")];
        let found = known.iter().filter(|(program, _)| has(program));
        found.map(|(_, runtime)| runtime.parse().unwrap()).collect()
    }

    fn shares_files(&self) -> bool {
        true
    }

    async fn reconnect(&self) -> Result<Arc<dyn AsyncPlatform>, Skip> {
        Err(Skip::new("results live as long as the platform that took the submission"))
    }

    async fn provoke(&self, fault: Fault) -> Result<Arc<dyn AsyncPlatform>, Skip> {
        match fault {
            // It reports every result until it is released.
            Fault::Duplicates => Ok(self.platform.clone()),
            Fault::Throttled => Err(Skip::new("it queues what it cannot run at once")),
            Fault::Unreachable => Err(Skip::new(
                "no network lies between the driver and its workers: a worker that dies is a failure of its function, \
                 and the next call starts another one",
            )),
            other => {
                Err(Skip::new(format!("this machine itself is the provider, and knows no {other}")))
            }
        }
    }
}

conformance_tests!(ThisMachine);
shim_tests!(ThisMachine);
falco_fakes::data_tests!(ThisMachine);

/// Workers of Python that start by themselves, as those of other languages always do.
mod alone {
    use super::*;

    struct Alone(ThisMachine);

    #[async_trait]
    impl Harness for Alone {
        async fn start() -> Self {
            Self(ThisMachine::with(ForkedWorkers::Never).await)
        }

        fn platform(&self) -> Arc<dyn AsyncPlatform> {
            self.0.platform()
        }

        fn runtimes(&self) -> Vec<RuntimeName> {
            let all = self.0.runtimes();
            all.into_iter().filter(|runtime| runtime.family() == "python").collect()
        }

        fn shares_files(&self) -> bool {
            true
        }

        async fn reconnect(&self) -> Result<Arc<dyn AsyncPlatform>, Skip> {
            self.0.reconnect().await
        }

        async fn provoke(&self, fault: Fault) -> Result<Arc<dyn AsyncPlatform>, Skip> {
            self.0.provoke(fault).await
        }
    }

    shim_tests! { Alone;
        shim_python_calls: "python" Calls,
        shim_python_sources: "python" Sources,
        shim_python_at_once: "python" AtOnce,
        shim_python_idle: "python" Idle,
        shim_python_endless: "python" Endless,
    }
}
