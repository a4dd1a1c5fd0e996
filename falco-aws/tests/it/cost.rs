//! The cost of activations: in the report of a run, with each activation, and by Lambda's own account.

use std::sync::Arc;
use std::time::Duration;

use falco_aws::{Architecture, AwsLambda, PriceTable};
use falco_core::{
    Deployable, Driver, ExecutionPlan, FunctionErrorKind, Payload, Platform, Scaling, Stage,
    UsDollars,
};
use falco_executors::{
    AsyncExecutor, DriverExt, ExecutionOptions, OnFailure, ParallelExecutor, RunOptions, RunOutcome,
};
use falco_fakes::aws::{FakeAws, FakeBill};
use serde_json::json;

use crate::support::{Aws, collect, echo, echoing, invocation, submit};

/// Functions that take their time, and sometimes fail, in each family of runtimes.
const SOURCES: [(&str, &str, &str); 3] = [
    (
        "python",
        "python:3",
        "import time\n\ndef main(args):\n    time.sleep(0.04)\n    return {'ok': 1 // args['n']}\n",
    ),
    (
        "node",
        "nodejs:22",
        "async function main(args) {\n  await new Promise((wake) => setTimeout(wake, 41));\n\
         \x20 if (!args.n) throw new Error('nothing');\n  return { ok: args.n };\n}\n",
    ),
    (
        "native",
        "native",
        "#!/bin/bash\nwhile read -r line; do\n  sleep 0.04\n  case $line in\n\
         \x20   *'\"n\":0'*) echo '{\"error\":\"nothing\"}' >&3 ;;\n    *) echo '{\"ok\":1}' >&3 ;;\n  esac\ndone\n",
    ),
];

/// The shortest sleep of each of them.
const SLEEP: Duration = Duration::from_millis(40);

/// How much later the fake, which sees more than a shim does, may see a start: processes report theirs in 1/100 s.
const TICK: Duration = Duration::from_millis(10);

const EACH: usize = 4;

#[derive(Debug)]
struct Slow;

impl Driver for Slow {
    fn name(&self) -> &str {
        "slow"
    }

    fn plan(&self) -> falco_core::Result<ExecutionPlan> {
        let stages = SOURCES.iter().map(|(name, runtime, source)| {
            let function = Deployable::from_source(*name, runtime.parse()?, *source)
                .with_scaling(Scaling::default().with_memory_mib(1024));
            // The first of each stage fails.
            let inputs = (0..EACH).map(|n| Payload::json(&json!({"n": n})));
            Ok(Stage::from_payloads(*name, function, inputs.collect::<falco_core::Result<_>>()?))
        });
        ExecutionPlan::new(stages.collect::<falco_core::Result<_>>()?)
    }
}

fn price(billed: Duration, memory_mib: u32) -> f64 {
    PriceTable::default().cost(Architecture::X86_64, billed, memory_mib, 512).0
}

fn charged(bills: &[FakeBill]) -> f64 {
    bills.iter().map(|bill| price(bill.billed, bill.memory_mib)).sum()
}

async fn run(aws: &Aws, strategy: Arc<dyn falco_core::ExecutionStrategy>) -> RunOutcome {
    let outcome = Slow.run(RunOptions::new(aws.platform.clone(), strategy)).await.unwrap();
    for stage in &outcome.report.stages {
        assert_eq!(stage.invocations.succeeded, EACH as u64 - 1, "{}", outcome.report);
        assert_eq!(stage.invocations.function_failed, 1, "{}", outcome.report);
    }
    assert_eq!(aws.fake.bills().len(), SOURCES.len() * EACH);
    outcome
}

fn options() -> ExecutionOptions {
    ExecutionOptions::default().with_on_failure(OnFailure::Continue)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cost_of_a_submitted_run_comes_from_its_shims_measurements() {
    let aws = Aws::start().await;
    let strategy = AsyncExecutor::with_window(4).unwrap().with_options(options());
    let outcome = run(&aws, Arc::new(strategy)).await;
    let reported = outcome.report.cost.unwrap().0;
    let activations = (SOURCES.len() * EACH) as f64;
    // Failed ones are charged like all others, and none is left out.
    let least = activations * price(SLEEP, 1024);
    let latest: f64 = aws
        .fake
        .bills()
        .iter()
        .map(|bill| price(bill.billed + if bill.cold_start { TICK } else { Duration::ZERO }, 1024))
        .sum();
    assert!((least..=latest).contains(&reported), "{least} <= {reported} <= {latest}");
    // Starting an instance is charged as well.
    for stage in &outcome.report.stages {
        assert!(stage.cold_starts > 0, "{}", outcome.report);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cost_of_an_awaited_run_is_what_lambda_charges() {
    let aws = Aws::start().await;
    let strategy = ParallelExecutor::with_concurrency(4).unwrap().with_options(options());
    let outcome = run(&aws, Arc::new(strategy)).await;
    let (reported, charged) = (outcome.report.cost.unwrap().0, charged(&aws.fake.bills()));
    // A report rounds each stage, and the whole, to 10⁻¹² dollars.
    assert!((reported - charged).abs() < 3e-12, "{reported} is not {charged}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cost_that_lambda_reports_replaces_the_measured_one() {
    let aws = Aws::start().await;
    let (name, runtime, source) = SOURCES[0];
    let deployment =
        aws.deploy(&Deployable::from_source(name, runtime.parse().unwrap(), source)).await;
    let mut pending = Vec::new();
    for n in 0..3 {
        pending.push(submit(&aws, &deployment, json!({"n": n})).await);
    }
    let mut found = collect(&aws, &deployment, &pending).await;
    for activation in &found {
        assert_eq!(activation.attributes["billed"], "estimated");
        assert!(activation.execution.unwrap() >= SLEEP);
        assert_eq!(activation.memory_mib, Some(256));
        let billed = activation.billed.unwrap();
        assert_eq!(billed.subsec_nanos() % 1_000_000, 0, "whole milliseconds");
        assert_eq!(activation.cost.unwrap().0, price(billed, 256));
        if let Err(error) = &activation.outcome {
            assert_eq!(error.message, "integer division or modulo by zero");
        }
    }
    aws.platform.add_bills(&deployment, &mut found).await.unwrap();
    let bills = aws.fake.bills();
    for activation in &found {
        let bill = bills.iter().find(|bill| activation.id == bill.id.as_str()).unwrap();
        assert_eq!(activation.billed, Some(bill.billed));
        assert!(!activation.attributes.contains_key("billed"), "{activation:?}");
        assert_eq!(activation.cost.unwrap().0, price(bill.billed, 256));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_ran_too_long_is_charged_for_all_of_its_time() {
    let aws = Aws::start().await;
    let source = "import time\ndef main(args):\n    time.sleep(60)\n";
    let function = Deployable::from_source("f", "python:3".parse().unwrap(), source)
        .with_scaling(Scaling::default().with_timeout(Duration::from_secs(1)));
    let deployment = aws.deploy(&function).await;
    let pending = [submit(&aws, &deployment, json!({})).await];
    let found = collect(&aws, &deployment, &pending).await;
    assert_eq!(found[0].outcome.as_ref().unwrap_err().kind, FunctionErrorKind::Timeout);
    assert_eq!(found[0].billed, Some(Duration::from_secs(1)));
    assert_eq!(found[0].cost.unwrap().0, price(Duration::from_secs(1), 256));
}

#[tokio::test]
async fn without_falcos_shim_the_cost_is_unknown_until_lambda_reports_it() {
    let aws = Aws::with(echoing()).await;
    let deployment = aws.deploy(&echo("f")).await;
    let mut pending = Vec::new();
    for n in 0..5 {
        pending.push(submit(&aws, &deployment, json!({"n": n})).await);
    }
    let mut found = collect(&aws, &deployment, &pending).await;
    assert!(found.iter().all(|activation| activation.cost.is_none()), "no guesses");
    aws.platform.add_bills(&deployment, &mut found).await.unwrap();
    for activation in &found {
        assert!(activation.cost.is_some() && activation.billed.is_some(), "{activation:?}");
        assert_eq!(activation.memory_mib, Some(256));
    }
}

#[tokio::test]
async fn prices_of_ones_own_are_those_that_count() {
    let fake = FakeAws::with(echoing());
    let prices = PriceTable::default().with_request(7.0).with_x86_64_gib_second(0.0);
    let platform = AwsLambda::connect(fake.config().prices(prices).build().unwrap()).await.unwrap();
    let deployment = platform.deploy(&echo("f")).await.unwrap();
    let activation = platform.invoke(&deployment, &invocation(json!({}))).await.unwrap();
    assert_eq!(activation.cost, Some(UsDollars(7.0)));
}
