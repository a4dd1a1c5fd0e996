//! The platform passes the suite that every platform passes, on a real daemon, over each protocol.

use std::sync::Arc;
use std::time::Duration;

use falco_core::{AsyncPlatform, Deployable, RuntimeName, async_trait};
use falco_docker::{DockerConfigBuilder, DockerPlatform, WorkerLimits};
use falco_testkit::conformance::{Fault, Harness, Skip};
use falco_testkit::{conformance_tests, fixture, shim_tests};

use crate::{daemon, image};

const NO_DAEMON: &str = "there is no Docker daemon";

async fn connect(config: DockerConfigBuilder) -> Arc<DockerPlatform> {
    let workers = WorkerLimits::default()
        .with_max_workers(2)
        .with_max_payload(1 << 20)
        .with_max_result(1 << 20);
    Arc::new(DockerPlatform::connect(config.workers(workers).build().unwrap()).await.unwrap())
}

fn runtimes() -> Vec<RuntimeName> {
    // The native fixture is an executable in Python.
    ["python:3", "nodejs", "native"].map(|runtime| runtime.parse().unwrap()).into()
}

/// Whether the fixture acknowledges its start: as an executable with an entry point.
fn never(_: &RuntimeName) -> bool {
    false
}

/// A harness over one protocol: its name, its configuration if there is a daemon, whether its fixture acknowledges its start,
/// and what it leaves out.
macro_rules! harness {
    ($name:ident, $config:expr, $acknowledges:expr, $exempt:expr) => {
        struct $name(Option<Arc<DockerPlatform>>);

        #[async_trait]
        impl Harness for $name {
            async fn start() -> Self {
                let Some(host) = daemon::host() else { return Self(None) };
                let Some(config) = $config(&host).await else { return Self(None) };
                Self(Some(connect(config).await))
            }

            fn platform(&self) -> Arc<dyn AsyncPlatform> {
                self.0.clone().expect("without a daemon every case is exempt")
            }

            fn runtimes(&self) -> Vec<RuntimeName> {
                runtimes()
            }

            fn fixture(&self, name: &str, runtime: &RuntimeName) -> Option<Deployable> {
                let function = fixture::function(name, runtime)?;
                Some(if $acknowledges(runtime) {
                    function.with_entry_point("fixture")
                } else {
                    function
                })
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

            fn exempt(&self, case: &str) -> Option<Skip> {
                let reason: Option<&'static str> = match &self.0 {
                    None => Some(NO_DAEMON),
                    Some(_) => $exempt(case),
                };
                reason.map(Skip::new)
            }

            fn exempt_runtime(&self, case: &str, runtime: &RuntimeName) -> Option<Skip> {
                let of_library = [
                    "a_batch_is_answered_input_by_input",
                    "stored_arguments_lie_beneath_each_payload",
                ];
                ($acknowledges(runtime) && of_library.contains(&case))
                    .then(|| Skip::new("the fixture does not do what falco-function does"))
            }

            fn patience(&self) -> Duration {
                Duration::from_secs(120)
            }
        }
    };
}

/// Lines over the attached streams.
mod pipe {
    use super::*;

    async fn config(host: &str) -> Option<DockerConfigBuilder> {
        Some(daemon::config(host).await)
    }

    fn exempt(_: &str) -> Option<&'static str> {
        None
    }

    /// Only such an executable can say that it marks the end of each call's log.
    fn acknowledges(runtime: &RuntimeName) -> bool {
        runtime.family() == "native"
    }

    harness!(Daemon, config, acknowledges, exempt);
    conformance_tests!(Daemon);
    shim_tests!(Daemon);
}

/// The same, whose containers see the loopback interface of this machine: the store of the data suite is there.
mod on_this_network {
    use falco_docker::Isolation;

    use super::*;

    async fn config(host: &str) -> Option<DockerConfigBuilder> {
        let isolation = Isolation::default().with_network("host");
        Some(daemon::config(host).await.isolation(isolation))
    }

    fn exempt(_: &str) -> Option<&'static str> {
        None
    }

    harness!(OnThisNetwork, config, never, exempt);
    falco_fakes::data_tests!(OnThisNetwork);
}

/// OpenWhisk's interface, with what `falco-openwhisk` uploads.
mod action {
    use super::*;

    async fn config(host: &str) -> Option<DockerConfigBuilder> {
        image::make_action(&daemon::docker(host).await).await;
        Some(daemon::config_with(host, image::ACTION).await)
    }

    /// As for OpenWhisk, whose runtime is the same.
    fn exempt(case: &str) -> Option<&'static str> {
        match case {
            "shim_node_never" => {
                Some("the runtime's server keeps the event loop alive until the timeout")
            }
            "shim_native_string" => Some("the proxy does not say what the result was"),
            "shim_python_idle" | "shim_native_idle" | "shim_node_idle" => {
                Some("the proxy takes the call, and answers for the process that has died")
            }
            _ => None,
        }
    }

    harness!(Action, config, never, exempt);
    conformance_tests!(Action);
    shim_tests!(Action);
}

/// Lambda's emulator with AWS's own runtimes, with what `falco-aws` uploads.
mod lambda {
    use super::*;

    async fn config(host: &str) -> Option<DockerConfigBuilder> {
        if !image::make_lambda(&daemon::docker(host).await).await {
            return None;
        }
        Some(daemon::config_with(host, image::LAMBDA).await)
    }

    fn exempt(case: &str) -> Option<&'static str> {
        match case {
            "shim_python_idle" | "shim_native_idle" | "shim_node_idle" => {
                Some("the emulator takes the call, and answers for the process that has died")
            }
            _ => None,
        }
    }

    harness!(Emulator, config, never, exempt);
    conformance_tests!(Emulator);
    shim_tests!(Emulator);
}
