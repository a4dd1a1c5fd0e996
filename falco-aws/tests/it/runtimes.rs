//! Functions run under AWS's own runtime interface clients where `cargo xtask runtimes` has installed them.

use std::sync::Arc;

use falco_core::{Deployable, Platform};
use falco_testkit::runtimes;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Aws, invocation};

const PYTHON: &str = "import sys, time\n\
                      def main(args):\n    time.sleep(0.2)\n    \
                      return {'n': args['n'], 'client': 'awslambdaric.bootstrap' in sys.modules}\n";

const NODE: &str = "async function main(args) {\n  await new Promise((done) => setTimeout(done, 200));\n  \
                    return { n: args.n, client: process.argv[1].endsWith('aws-lambda-ric/index.mjs') };\n}\n";

/// Makes several calls at once, each of which has an environment of its own, and then others in the same environments.
async fn runs_calls_at_once(runtime: &str, source: &str) {
    let aws = Arc::new(Aws::start().await);
    let function = Deployable::from_source("f", runtime.parse().unwrap(), source);
    let deployment = aws.deploy(&function).await;
    for round in 0..2 {
        let calls = (0..4).map(|n| {
            let (aws, deployment) = (aws.clone(), deployment.clone());
            async move {
                let argument = invocation(json!({"n": n}));
                let activation = aws.platform.invoke(&deployment, &argument).await.unwrap();
                assert_eq!(activation.cold_start, Some(round == 0));
                let result: Value = activation.outcome.unwrap().parse().unwrap();
                assert_eq!(result, json!({"n": n, "client": true}));
            }
        });
        join_all(calls).await;
    }
    aws.platform.remove(&deployment).await.unwrap();
    assert!(aws.fake.leftovers().is_empty(), "{:?}", aws.fake.leftovers());
}

#[tokio::test(flavor = "multi_thread")]
async fn python_functions_run_at_once_under_awslambdaric() {
    if runtimes::find("awslambdaric").is_some() {
        runs_calls_at_once("python:3", PYTHON).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn node_functions_run_at_once_under_aws_lambda_ric() {
    if runtimes::find("aws-lambda-ric").is_some() && runtimes::find("nodejs-24").is_some() {
        runs_calls_at_once("nodejs:24", NODE).await;
    }
}
