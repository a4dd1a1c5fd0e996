//! Calls at once in one instance, under Google's own Functions Frameworks.

use std::collections::BTreeSet;

use falco_core::{Deployable, Platform, Scaling};
use falco_fakes::gcp::FakeGcp;
use falco_package::Archive;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{connect, invocation, python};

/// Its argument goes into the log.
const NATIVE: &str = "#!/bin/sh\nwhile read -r line; do\n  \
                      case $line in *long*) sleep 1 ;; *) sleep 0.1 ;; esac\n  \
                      echo \"$line\"; echo '{\"pid\":'$$'}' >&3\ndone\n";
const PYTHON: &str = "import os, time\ndef main(args):\n    time.sleep(1 if 'long' in args else 0.1)\n    \
                      return {'pid': os.getpid(), 'n': args['n']}\n";
const NODE: &str = "async function main(args) {\n  \
                    await new Promise((done) => setTimeout(done, 'long' in args ? 1000 : 100));\n  \
                    return { pid: process.pid, n: args.n };\n}\n";

fn functions() -> [Deployable; 3] {
    let native = Archive::new().with_executable("exec", NATIVE).unwrap().to_zip().unwrap();
    let one_instance = Scaling::default().with_concurrency(64).with_cpus(1.0).with_max_instances(1);
    [
        python("many-python", PYTHON),
        Deployable::from_source("many-node", "nodejs:22".parse().unwrap(), NODE),
        Deployable::from_archive("many-native", "native".parse().unwrap(), native),
    ]
    .map(|function| function.with_scaling(one_instance.clone()))
}

#[tokio::test]
async fn one_instance_serves_1_2_16_and_64_calls_at_once() {
    for runtime in ["functions-framework-python", "functions-framework-nodejs"] {
        // Without them a runner with the same calling convention stands in.
        falco_testkit::runtimes::find(runtime);
    }
    let fake = FakeGcp::start();
    let platform = connect(fake.config()).await;
    for function in functions() {
        let deployment = platform.deploy(&function).await.unwrap();
        let mut containers = BTreeSet::new();
        for at_once in [1, 2, 16, 64] {
            let calls = (0..at_once).map(|n| {
                let (platform, deployment) = (&platform, &deployment);
                async move {
                    // Of two, the second comes before the first has ended, however busy the machine is.
                    let argument =
                        if at_once == 2 { json!({"n": n, "long": 1}) } else { json!({"n": n}) };
                    (n, platform.invoke(deployment, &invocation(&argument)).await.unwrap())
                }
            });
            let mut processes = BTreeSet::new();
            for (n, activation) in join_all(calls).await {
                containers.insert(activation.container.clone().unwrap());
                let result: Value = activation.outcome.unwrap().parse().unwrap();
                processes.insert(result["pid"].as_u64().unwrap());
                if function.runtime.family() != "native" {
                    assert_eq!(result["n"], n, "{}: {at_once} at once", function.name);
                }
            }
            // That calls overlap needs no more than two processes; how many there are is a matter of time.
            assert!(at_once == 1 || processes.len() > 1, "{}: {processes:?}", function.name);
        }
        assert_eq!(containers.len(), 1, "{}: one instance served all", function.name);
        platform.remove(&deployment).await.unwrap();
    }
}
