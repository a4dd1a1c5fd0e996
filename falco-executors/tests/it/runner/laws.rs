//! Laws of whole runs, over plans and faults by chance.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use falco_core::{
    Completion, Driver, Error, Event, ExecutionPlan, ExecutionStrategy, Monitor, Platform, Stage,
    Verdict,
};
use falco_executors::report::StageState;
use falco_executors::{
    Chunks, DriverExt, FanIn, FanOut, KeepResults, Merge, ParallelExecutor, RunOptions, RunOutcome,
};
use falco_testkit::{Fates, InMemory, Latency, Odds, Reply, Settings};
use proptest::prelude::*;
use serde_json::json as value;

use super::support::{Plan, any_strategy, function, json, numbers};

/// Counts by itself what a report has to say.
#[derive(Debug, Default)]
struct Tally(Mutex<HashMap<String, [u64; 3]>>);

const ADMITTED: usize = 0;
const COMPLETED: usize = 1;
const SKIPPED: usize = 2;

impl Tally {
    fn add(&self, stage: &str, what: usize, number: u64) {
        self.0.lock().unwrap().entry(stage.to_owned()).or_default()[what] += number;
    }

    fn of(&self, stage: &str) -> [u64; 3] {
        self.0.lock().unwrap().get(stage).copied().unwrap_or_default()
    }
}

impl Monitor for Tally {
    fn event(&self, event: &Event<'_>) -> Verdict {
        match event {
            Event::Admitted { invocation } => self.add(invocation.stage().as_str(), ADMITTED, 1),
            Event::Completed { completion } => self.add(completion.stage.as_str(), COMPLETED, 1),
            Event::Skipped { stage, invocations } => {
                self.add(stage.as_str(), SKIPPED, *invocations)
            }
            _ => {}
        }
        Verdict::Continue
    }
}

/// A plan whose hooks count, too.
#[derive(Debug)]
struct Hooked(Plan, Mutex<u64>);

impl Driver for Hooked {
    fn name(&self) -> &str {
        "hooked"
    }

    fn plan(&self) -> falco_core::Result<ExecutionPlan> {
        self.0.plan()
    }

    fn on_completion(&self, _: &Completion) -> Verdict {
        *self.1.lock().unwrap() += 1;
        Verdict::Continue
    }
}

/// A stage follows some of those before it: by bits, one for each.
fn stages(links: &[(u8, u8)], inputs: usize) -> Vec<Stage> {
    let mut stages = vec![numbers("s0", inputs)];
    for (at, (bits, kind)) in links.iter().enumerate() {
        let name = format!("s{}", at + 1);
        let upstream: Vec<String> =
            (0..=at).filter(|bit| bits >> bit & 1 == 1).map(|bit| format!("s{bit}")).collect();
        let function = function(&name);
        stages.push(match (upstream.is_empty(), kind % 4) {
            (true, _) => numbers(&name, inputs / 2),
            (_, 0) => Stage::derived(name, function, upstream, Merge::new()),
            (_, 1) => Stage::derived(name, function, upstream, FanIn::new()),
            (_, 2) => Stage::derived(name, function, upstream, Chunks::of(3).unwrap()),
            (_, _) => Stage::derived(name, function, upstream, FanOut::of_field("items")),
        });
    }
    stages
}

/// Every function answers with what any derivation can use, and that depends on its argument only.
fn platform(seed: u64, odds: Odds) -> InMemory {
    let settings = Settings {
        latency: Latency::uniform(Duration::ZERO, Duration::from_millis(50)),
        fates: Fates::random(seed, odds),
        seed,
        ..Settings::default()
    };
    InMemory::new(settings).with_function("python", |call| {
        let argument = call.payload().as_str();
        Reply::succeeded(json(value!({
            "length": argument.len(),
            "items": [{"first": argument.len() % 7}, {"second": argument.len() % 5}],
        })))
    })
}

fn run(
    plan: Vec<Stage>,
    platform: InMemory,
    strategy: Arc<dyn ExecutionStrategy>,
    stop: Option<u64>,
) -> Seen {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let names = plan.iter().map(|stage| stage.name.clone()).collect();
        let driver = Hooked(Plan(plan), Mutex::new(0));
        let (platform, tally) = (Arc::new(platform), Arc::new(Tally::default()));
        let mut options = RunOptions::new(platform.clone(), strategy)
            .with_monitor(tally.clone())
            .with_kept_results(KeepResults::Stages(names));
        if let Some(millis) = stop {
            options = options.with_stop(tokio::time::sleep(Duration::from_millis(millis)));
        }
        let outcome = tokio::time::timeout(Duration::from_secs(86_400), driver.run(options)).await;
        let outcome = outcome.expect("the run ends");
        let hooked = *driver.1.lock().unwrap();
        assert_eq!(platform.list_deployments().await.unwrap(), []);
        // A submission whose answer was lost runs on, and nobody knows its id.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(platform.counters().running, 0);
        Seen { outcome, tally, hooked }
    })
}

struct Seen {
    outcome: falco_core::Result<RunOutcome>,
    tally: Arc<Tally>,
    hooked: u64,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_fails_every_input_is_accounted_for(
        links in proptest::collection::vec((any::<u8>(), any::<u8>()), 0..6),
        inputs in 0..40usize,
        strategy in any_strategy(),
        seed: u64,
        raised in prop_oneof![Just(0.0), 0.0..0.2],
        lost in prop_oneof![Just(0.0), 0.0..0.1],
        stop in proptest::option::of(0..600u64),
    ) {
        let plan = stages(&links, inputs);
        let odds = Odds {
            raised,
            reset: lost,
            unavailable: lost,
            // An invoke that is lost hangs, which ends by a layer's timeout only.
            lost: if strategy.submits() { lost / 2.0 } else { 0.0 },
            gone: lost / 2.0,
            panicked: lost / 4.0,
            collect_failed: lost,
            ..Odds::default()
        };
        let is_naive = format!("{strategy:?}").starts_with("Naive");
        // It neither survives a platform that panics nor gives up waiting.
        let odds = if is_naive { Odds { raised, ..Odds::default() } } else { odds };
        let seen = run(plan.clone(), platform(seed, odds), strategy, stop);
        let Ok(outcome) = seen.outcome else {
            prop_assert!(stop.is_some(), "only a stop while deploying ends without an outcome");
            return Ok(());
        };
        let mut entered = 0;
        for report in &outcome.report.stages {
            let counts = report.invocations;
            let [admitted, completed, skipped] = seen.tally.of(report.stage.as_str());
            prop_assert_eq!(admitted, completed, "one out for each in, in {}", &report.stage);
            prop_assert_eq!(counts.entered(), completed);
            prop_assert_eq!(counts.skipped, skipped);
            let is_derived = !plan.iter().find(|stage| stage.name == report.stage).unwrap().upstream().is_empty();
            prop_assert!(is_derived || !counts.skipped_is_lower_bound, "in {}", &report.stage);
            entered += completed;
            let results = outcome.partial_results(report.stage.as_str()).unwrap().len() as u64;
            prop_assert_eq!(counts.succeeded, results);
            match report.state {
                StageState::Succeeded => prop_assert_eq!(counts.entered(), counts.succeeded),
                _ => prop_assert!(report.error.is_some() && outcome.error().is_some()),
            }
        }
        prop_assert_eq!(seen.hooked, entered);
        // Stages with inputs of their own know how many they have.
        for (stage, count) in plan.iter().filter(|stage| stage.upstream().is_empty()).zip(
            std::iter::once(inputs).chain(std::iter::repeat(inputs / 2))
        ) {
            let report = outcome.report.stage(stage.name.as_str()).unwrap();
            let counts = report.invocations;
            prop_assert_eq!(counts.entered() + counts.skipped, count as u64, "{:?}", counts);
        }
    }

    #[test]
    fn results_do_not_depend_on_strategies_windows_or_latencies(
        links in proptest::collection::vec((any::<u8>(), any::<u8>()), 0..5),
        inputs in 0..30usize,
        (left, right) in ((any_strategy(), any::<u64>()), (any_strategy(), any::<u64>())),
    ) {
        let mut all = Vec::new();
        for (strategy, seed) in [left, right] {
            let seen = run(stages(&links, inputs), platform(seed, Odds::default()), strategy, None);
            let outcome = seen.outcome.unwrap();
            prop_assert!(outcome.is_success(), "{:?}", outcome.error());
            let names: Vec<_> = outcome.report.stages.iter().map(|stage| stage.stage.clone()).collect();
            let results = names.iter().map(|name| outcome.results(name.as_str()).unwrap().to_vec());
            all.push(results.collect::<Vec<_>>());
        }
        prop_assert_eq!(&all[0], &all[1]);
    }
}

/// Paused time has one thread, so that no two tasks of a run ever meet there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_holds_on_several_threads() {
    for round in 0..12u64 {
        let links = [(1, 0), (1, 3), (0b110, 0), (0b1000, 1), (0b101, 2)];
        let mut plan = stages(&links, 90);
        if round % 2 == 1 {
            plan[0] = Stage::from_fn("s0", function("s0"), |index| match index {
                0..60 => Some(Ok(json(value!({ "n": index })))),
                _ => Some(Err(Error::invalid_input("no more"))),
            });
        }
        let platform = Arc::new(platform(round, Odds::default()));
        platform.configure(|settings| settings.latency = Latency::ZERO);
        let tally = Arc::new(Tally::default());
        let executor = ParallelExecutor::with_concurrency(1 + round as usize % 7).unwrap();
        let options = RunOptions::new(platform.clone(), Arc::new(executor));
        let outcome = Plan(plan).run(options.with_monitor(tally.clone())).await.unwrap();
        assert_eq!(outcome.is_success(), round % 2 == 0, "{:?}", outcome.error());
        for report in &outcome.report.stages {
            let [admitted, completed, skipped] = tally.of(report.stage.as_str());
            let counts = report.invocations;
            assert_eq!((counts.entered(), counts.entered()), (admitted, completed));
            assert_eq!(counts.skipped, skipped, "in round {round}");
        }
        if round % 2 == 0 {
            let succeeded = |stage| outcome.report.stage(stage).unwrap().invocations.succeeded;
            let counts = ["s0", "s1", "s2", "s3", "s4", "s5"].map(succeeded);
            assert_eq!(counts, [90, 90, 180, 270, 1, 90]);
        }
        assert_eq!(platform.list_deployments().await.unwrap(), []);
    }
}
