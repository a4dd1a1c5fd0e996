//! The cost of a run under a budget: never more than its limit, whatever the platform does.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use falco_core::*;
use falco_executors::{
    AsyncExecutor, DriverExt, ExecutionOptions, OnFailure, ParallelExecutor, RepeatPolicy,
    RunOptions, RunOutcome, Speculation,
};
use falco_layers::{Budget, Part, Share, Spread, Stack};
use falco_testkit::{Fates, InMemory, Latency, Odds, Settings};
use proptest::prelude::*;

use crate::support::*;

/// A dollar for a second, and a tenth of a cent for a request.
fn prices() -> Prices {
    Prices::default().with_second(1.0).with_request(0.001)
}

/// The timeout of the function, and so the upper bound of a call: $2.001.
const TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct Many(usize);

impl Driver for Many {
    fn name(&self) -> &str {
        "many"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        let function = function().with_scaling(Scaling::default().with_timeout(TIMEOUT));
        let stage = Stage::from_fn_sized("map", function, self.0, |_| Ok(Payload::empty()));
        ExecutionPlan::new(vec![stage.idempotent()])
    }
}

/// A provider that keeps its own bill, in microdollars: of all that ran, whether it was answered or not.
fn provider(settings: Settings, seed: u64, surcharge: f64) -> (Arc<InMemory>, Arc<AtomicU64>) {
    let bill = Arc::new(AtomicU64::new(0));
    let billed = bill.clone();
    let latency = Latency::by(move |invocation| {
        let mut rng = fastrand::Rng::with_seed(
            seed ^ u64::from(invocation.attempt()) ^ invocation.id().as_str().len() as u64,
        );
        let took = Duration::from_millis(rng.u64(1..=TIMEOUT.as_millis() as u64));
        let cost = prices().cost(took, &Scaling::default()).0 * (1.0 + surcharge * rng.f64());
        billed.fetch_add((cost * 1e6).floor() as u64, SeqCst);
        took
    });
    let capabilities = settings.capabilities.clone().with_prices(prices());
    (Arc::new(InMemory::new(Settings { latency, capabilities, ..settings })), bill)
}

fn paused<F: Future>(future: F) -> F::Output {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(future)
}

async fn run(platform: &Arc<InMemory>, budget: &Budget, inputs: usize) -> RunOutcome {
    let options = RunOptions::from(platform.clone()).with_budget(budget.clone());
    Many(inputs).run(options).await.unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_bill_never_passes_the_budget(
        limit in 1.0..60.0_f64,
        seed in any::<u64>(),
        surcharge in prop_oneof![Just(0.0), 0.01..0.5_f64],
        (submits, has_layers, copies, is_spread) in any::<(bool, bool, bool, bool)>(),
        failures in 0.0..0.2_f64,
    ) {
        let odds = Odds {
            throttled: failures,
            unavailable: failures / 2.0,
            reset: failures / 4.0,
            // Without layers nobody ends a call that is never answered.
            lost: if submits || has_layers || is_spread { failures / 8.0 } else { 0.0 },
            gone: failures / 8.0,
            ..Odds::default()
        };
        let settings = Settings { fates: Fates::random(seed, odds), ..Settings::default() };
        let (platform, bill) = provider(settings.clone(), seed, surcharge);
        let (other, other_bill) = provider(settings, seed, surcharge);
        let budget = Budget::new(UsDollars(limit)).unwrap()
            .with_prices(prices().with_uncertainty(surcharge)).unwrap();
        let mut options = ExecutionOptions::default()
            .with_on_failure(OnFailure::Continue)
            .with_repeat_failed(RepeatPolicy::constant(2, millis(10)));
        if copies {
            options = options.with_speculation(Speculation::slower_than(1.5).unwrap());
        }
        let strategy: Arc<dyn ExecutionStrategy> = if submits {
            Arc::new(AsyncExecutor::with_window(16).unwrap().with_options(options))
        } else {
            Arc::new(ParallelExecutor::with_concurrency(16).unwrap().with_options(options))
        };
        let outcome = paused(async {
            let stack = Stack::new().with_budget(budget.clone());
            let run = if is_spread {
                let parts = [(&platform, "a"), (&other, "b")];
                let parts = parts.map(|(part, name)| Part::new(part.clone()).named(name));
                let spread = Spread::with_stack(Share::FreeCapacity, parts, &stack).unwrap();
                RunOptions::new(Arc::new(spread), strategy)
            } else if has_layers {
                let run = RunOptions::new(platform.clone(), strategy);
                run.with_layers(|platform| stack.wrap(platform)).unwrap()
            } else {
                RunOptions::new(platform.clone(), strategy)
            };
            let run = run.with_budget(budget.clone());
            tokio::time::timeout(secs(86_400), Many(40).run(run)).await.map(Result::unwrap)
        });
        prop_assert!(outcome.is_ok(), "the run hangs");
        let outcome = outcome.unwrap();
        let report = outcome.report.budget.clone().unwrap();
        let bill = (bill.load(SeqCst) + other_bill.load(SeqCst)) as f64 / 1e6;
        prop_assert!(report.spent.0 + report.in_doubt.0 <= limit, "{report}");
        // 8.004 and 2.001 are less than 10.005, as floating point adds.
        let rounding = 1e-9;
        let most = report.spent.0 + report.in_doubt.0 + report.uncertainty.0 + rounding;
        prop_assert!(bill <= most, "{bill}: {report}");
        prop_assert!(surcharge > 0.0 || bill <= limit, "{bill}: {report}");
        prop_assert_eq!(report.reserved, UsDollars(0.0));
        // A budget that stopped a run is reported as exhausted, and the error of the run names it.
        let is_stopped = outcome.error().is_some_and(|error| error.to_string().contains("budget"));
        prop_assert!(report.is_exhausted || !is_stopped, "{:?}", outcome.error());
        // A copy that there is no money for is left out, and its invocation succeeds anyway.
        prop_assert!(is_stopped || copies || !report.is_exhausted, "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_pays_for_each_call_exactly_is_enough() {
    let latency = Latency::fixed(TIMEOUT);
    let capabilities = Settings::default().capabilities.with_prices(prices());
    let settings = Settings { latency, capabilities, ..Settings::default() };
    let platform = Arc::new(InMemory::new(settings));
    let enough = Budget::new(UsDollars(3.0 * 2.001)).unwrap();
    let outcome = run(&platform, &enough, 3).await;
    assert!(outcome.is_success(), "{:?}", outcome.error());
    assert_eq!(enough.report().spent, UsDollars(6.003));
    let too_little = Budget::new(UsDollars(3.0 * 2.001 - 1e-9)).unwrap();
    let outcome = run(&platform, &too_little, 3).await;
    assert_eq!(outcome.report.invocations.succeeded, 2);
    assert!(too_little.report().is_exhausted);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_stopped_for_money_says_what_was_done_and_what_the_rest_takes() {
    let capabilities = Settings::default().capabilities.with_prices(prices());
    let latency = Latency::fixed(secs(1));
    let platform =
        Arc::new(InMemory::new(Settings { latency, capabilities, ..Settings::default() }));
    let budget = Budget::new(UsDollars(12.0)).unwrap();
    let outcome = run(&platform, &budget, 20).await;
    // Ten calls of $1.001, and not $2.001 for an eleventh.
    let counts = outcome.report.invocations;
    assert_eq!((counts.succeeded, counts.failed(), counts.unknown), (10, 0, 0), "{counts:?}");
    assert!(counts.cancelled > 0, "calls that wait for money are cancelled, not failed");
    let error = outcome.error().unwrap().to_string();
    for part in ["$10.01 spent of a budget of $12.00", "10 of 20", "about $10.01 more", "$22.03"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    // The budget that the error names is enough.
    let enough = Budget::new(UsDollars(22.03)).unwrap();
    assert!(run(&platform, &enough, 20).await.is_success());
    // Where nothing is done yet, it names what pays for one call: an upper bound of $2.001.
    let nothing = Budget::new(UsDollars(2.0)).unwrap();
    let error = run(&platform, &nothing, 20).await.error().unwrap().to_string();
    assert!(error.contains("a budget of $2.01 or more"), "{error}");
    let text = outcome.report.to_string();
    assert!(text.contains("price before the run: at most $40.02"), "{text}");
    let json = serde_json::to_value(&outcome.report).unwrap();
    assert_eq!(json["price"]["stages"][0]["inputs"], 20);
    assert_eq!(json["budget"]["is_exhausted"], true);
}

#[tokio::test(start_paused = true)]
async fn a_sample_is_answered_before_the_rest_is_sent_and_gives_an_estimate() {
    let capabilities = Settings::default().capabilities.with_prices(prices());
    let latency = Latency::fixed(secs(1));
    let platform =
        Arc::new(InMemory::new(Settings { latency, capabilities, ..Settings::default() }));
    let lines = Arc::new(Mutex::new(Vec::new()));
    let shown = lines.clone();
    let budget = Budget::unlimited()
        .with_sample(5, move |line| shown.lock().unwrap().push(line.to_owned()))
        .unwrap();
    let began = tokio::time::Instant::now();
    let outcome = run(&platform, &budget, 20).await;
    assert!(outcome.is_success());
    assert!(began.elapsed() >= secs(2), "two rounds of one second: {:?}", began.elapsed());
    let lines = lines.lock().unwrap().clone();
    assert_eq!(
        lines,
        ["estimate: stage map: $5.00 for 5 of 20 invocations, about $20.02 for all of them"]
    );
    let budget = outcome.report.budget.unwrap();
    assert_eq!((budget.stages[0].completed, budget.limit), (20, None));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_paid_for_or_counted_is_refused_before_anything_is_sent() {
    for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = Budget::new(UsDollars(wrong)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{wrong}");
    }
    assert!(Budget::unlimited().with_sample(0, |_| {}).is_err());
    let negative = Prices::default().with_request(-1.0);
    assert!(Budget::unlimited().with_prices(negative).is_err());

    let platform = Arc::new(InMemory::new(Settings::default()));
    let budget = Budget::new(UsDollars(1.0)).unwrap();
    let error = Many(1).run(RunOptions::from(platform.clone()).with_budget(budget.clone())).await;
    let error = error.unwrap_err();
    assert!(error.to_string().contains("prices of platform \"in-memory\""), "{error}");
    assert_eq!(platform.counters().deploys, 0);

    // Layers that do not hold it would let retries pass.
    let options = RunOptions::from(platform.clone())
        .with_budget(Budget::new(UsDollars(1.0)).unwrap().with_prices(prices()).unwrap())
        .with_layers(|platform| Stack::new().wrap(platform))
        .unwrap();
    let error = Many(1).run(options).await.unwrap_err();
    assert!(error.to_string().contains("do not hold the budget"), "{error}");
    assert_eq!(platform.counters().deploys, 0);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_counts_at_its_upper_bound_and_a_refused_one_not_at_all() {
    let capabilities = Settings::default().capabilities.with_prices(prices());
    let fates = Fates::sequence([falco_testkit::Fate::throttle(None)]);
    let latency = Latency::fixed(secs(1));
    let platform =
        Arc::new(InMemory::new(Settings { latency, capabilities, fates, ..Settings::default() }));
    let budget = Budget::new(UsDollars(5.0)).unwrap();
    let paid = budget.wrap(platform).unwrap();
    let function = function().with_scaling(Scaling::default().with_timeout(TIMEOUT));
    let deployment = paid.deploy(&function).await.unwrap();
    assert!(paid.invoke(&deployment, &invocation("refused")).await.is_err());
    assert_eq!(budget.report().in_doubt, UsDollars(0.0));
    let dropped = invocation("dropped");
    let dropped = tokio::time::timeout(millis(10), paid.invoke(&deployment, &dropped));
    assert!(dropped.await.is_err());
    assert_eq!(budget.report().in_doubt, UsDollars(2.001));
    // Outside of a run the refusal is an error.
    paid.invoke(&deployment, &invocation("paid")).await.unwrap();
    let error = paid.invoke(&deployment, &invocation("too much")).await.unwrap_err();
    assert!(!error.is_retryable() && error.to_string().contains("another call"), "{error}");
    // What was paid, what is in doubt, and one more call.
    assert!(error.to_string().contains("a budget of $5.01 or more"), "{error}");
}

/// A platform on which a call takes a second, in layers with the budget, and a function with a timeout of two.
async fn budgeted(budget: &Budget) -> (Arc<dyn AsyncPlatform>, Deployment) {
    let latency = Latency::fixed(secs(1));
    let platform =
        budget.wrap(Arc::new(InMemory::new(Settings { latency, ..Settings::default() })));
    let function = function().with_scaling(Scaling::default().with_timeout(TIMEOUT));
    let platform = platform.unwrap();
    let deployment = platform.deploy(&function).await.unwrap();
    (platform, deployment)
}

#[tokio::test(start_paused = true)]
async fn a_submission_is_paid_when_it_is_collected_and_in_doubt_when_it_is_given_up_before() {
    let budget = Budget::new(UsDollars(50.0)).unwrap().with_prices(prices()).unwrap();
    let (paid, deployment) = budgeted(&budget).await;
    let mut pending = Vec::new();
    for id in ["collected", "given up"] {
        pending.push(paid.submit(&deployment, &invocation(id)).await.unwrap());
    }
    let reserved = budget.report().reserved.0;
    assert!((reserved - 2.0 * 2.001).abs() < 1e-9, "{reserved}");
    paid.release(&deployment, &[pending[1].id.clone()], Release::Abandoned);
    tokio::time::sleep(secs(1)).await;
    let collected = paid.collect(&deployment, &pending[..1]).await.unwrap();
    assert_eq!(collected.finished.len(), 1);
    let report = budget.report();
    assert_eq!((report.spent, report.in_doubt), (UsDollars(1.001), UsDollars(2.001)));
    assert_eq!(report.reserved, UsDollars(0.0));
}

#[tokio::test(start_paused = true)]
async fn the_calls_that_an_earlier_process_has_paid_or_sent_count() {
    let prices = prices().with_uncertainty(0.5);
    let budget = Budget::new(UsDollars(50.0)).unwrap().with_prices(prices).unwrap();
    let (_paid, deployment) = budgeted(&budget).await;
    assert!(budget.suspends(), "so that another process can go on");
    let stage: StageName = "stage".into();
    let _ = budget.event(&Event::StageStarted { stage: &stage, deployment: &deployment });
    let now = std::time::SystemTime::now();
    let mut activation = Activation::succeeded("a-1", Payload::empty());
    activation.billed = Some(secs(1));
    let outcome = Outcome::from_activation(activation);
    let completion = invocation("1").complete(outcome, Attempts::default(), now, secs(1));
    let _ = budget.event(&Event::Recalled { completion: &completion });
    let sent = invocation("2").with_submitted(Pending::new("a-2", now));
    let _ = budget.event(&Event::Admitted { invocation: &sent });
    let report = budget.report();
    assert_eq!((report.spent, report.uncertainty), (UsDollars(1.001), UsDollars(0.5005)));
    assert_eq!(report.reserved, UsDollars(2.001));
    assert_eq!((report.stages[0].completed, report.stages[0].spent), (1, UsDollars(1.001)));
}
