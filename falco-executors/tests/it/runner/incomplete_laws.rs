//! Whatever the plan, the strategy, the faults and the stop: a stage is whole, or an error names the first reason.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, SystemTime};

use falco_core::{
    Activation, Attempts, Capabilities, Completion, Derivation, DerivationContext, Deriver, Error,
    Event, ExecutionStrategy, Input, Invocation, InvocationId, Monitor, Outcome, Payload, Platform,
    Result, Stage, StageName, StageSource, Verdict,
};
use falco_executors::report::{StageReport, StageState};
use falco_executors::{
    Chunks, DriverExt, FanIn, FanOut, KeepResults, Merge, OneToOne, RunOptions, RunOutcome,
    Shuffle, StopSignal,
};
use falco_testkit::{Fates, InMemory, Latency, Odds, Reply, Settings};
use proptest::prelude::*;
use serde_json::json as value;
use tokio::time::sleep;

use super::incomplete::{SECOND, all_of, report};
use super::support::{Plan, any_strategy, function, json, numbers};

/// The result of every function, which any derivation can use and which depends on the argument only.
fn answer(argument: &Payload) -> Payload {
    let length = argument.len();
    json(value!({
        "length": length,
        "items": [{"first": length % 7}, {"second": length % 5}],
        "pairs": {"a": length % 3, format!("k{}", length % 4): length},
    }))
}

/// A derivation that fails at the second result, by an error or by a panic.
#[derive(Clone, Copy, Debug)]
struct Fragile {
    panics: bool,
    seen: u64,
}

impl Derivation for Fragile {
    fn start(&self, _: DerivationContext) -> Result<Box<dyn Deriver>> {
        Ok(Box::new(*self))
    }
}

impl Deriver for Fragile {
    fn on_completion(&mut self, _: &Completion) -> Result<Vec<Input>> {
        self.seen += 1;
        assert!(self.seen < 2 || !self.panics, "derived on purpose");
        if self.seen < 2 { Ok(Vec::new()) } else { Err(Error::invalid_input("derived on purpose")) }
    }

    fn finish(&mut self) -> Result<Vec<Input>> {
        Ok(Vec::new())
    }
}

const KINDS: u8 = 8;

/// A stage follows some of those before it: by bits, one for each.
fn plan_of(links: &[(u8, u8, Option<u64>)], inputs: usize) -> Vec<Stage> {
    let mut stages = vec![numbers("s0", inputs)];
    for (at, (bits, kind, deadline)) in links.iter().enumerate() {
        let name = format!("s{}", at + 1);
        let upstream: Vec<String> =
            (0..=at).filter(|bit| bits >> bit & 1 == 1).map(|bit| format!("s{bit}")).collect();
        let names: Vec<String> = upstream.iter().map(|stage| format!("of_{stage}")).collect();
        let function = function(&name);
        let stage = match kind % KINDS {
            _ if upstream.is_empty() => numbers(&name, inputs / 2),
            0 if upstream.len() == 1 => Stage::derived(name, function, upstream, OneToOne::new()),
            1 => Stage::derived(name, function, upstream, FanIn::new()),
            2 => Stage::derived(name, function, upstream, FanIn::named(names)),
            3 => Stage::derived(name, function, upstream, Chunks::of(3).unwrap()),
            4 => Stage::derived(name, function, upstream, FanOut::of_field("items")),
            5 => Stage::derived(name, function, upstream, Shuffle::of_field("pairs", 3).unwrap()),
            7 => {
                let fragile = Fragile { panics: bits & 1 == 1, seen: 0 };
                Stage::derived(name, function, upstream, fragile)
            }
            _ => Stage::derived(name, function, upstream, Merge::new()),
        };
        stages.push(match deadline {
            Some(millis) => stage.with_deadline(Duration::from_millis(*millis)),
            None => stage,
        });
    }
    stages
}

type Results = Vec<(InvocationId, Payload)>;

/// The results of every stage as a loop without faults would make them; `None` where that is not possible.
fn expected(plan: &[Stage], inputs: usize) -> BTreeMap<StageName, Option<Results>> {
    let mut all: BTreeMap<StageName, Option<Results>> = BTreeMap::new();
    for stage in plan {
        let made = match &stage.source {
            StageSource::Derived { upstream, derivation } => {
                let upstream = upstream.iter().map(|name| Some((name, all[name].clone()?)));
                let upstream: Option<Vec<_>> = upstream.collect();
                upstream.and_then(|upstream| derive(stage, &**derivation, &upstream))
            }
            _ => {
                let count = if stage.name == "s0" { inputs } else { inputs / 2 };
                let input = |n| Input::numbered(n, json(value!({ "n": n })));
                Some((0..count).map(input).collect())
            }
        };
        let results = made.map(|inputs: Vec<Input>| {
            let mut results: Results =
                inputs.into_iter().map(|input| (input.id, answer(&input.payload))).collect();
            results.sort_by(|(left, _), (right, _)| left.cmp(right));
            results
        });
        all.insert(stage.name.clone(), results);
    }
    all
}

fn derive(
    stage: &Stage,
    derivation: &dyn Derivation,
    upstream: &[(&StageName, Results)],
) -> Option<Vec<Input>> {
    let total: usize = upstream.iter().map(|(_, results)| results.len()).sum();
    if format!("{derivation:?}").starts_with("Fragile") && total > 1 {
        return None;
    }
    let names = upstream.iter().map(|(name, _)| (*name).clone()).collect();
    let context = DerivationContext::new(stage.name.clone(), names, Capabilities::default());
    let mut derive = derivation.start(context).unwrap();
    let mut inputs = Vec::new();
    for (name, results) in upstream {
        for (id, result) in results {
            let invocation = Invocation::new("run", (*name).clone(), id.clone(), Payload::empty());
            let outcome = Outcome::from_activation(Activation::succeeded("a", result.clone()));
            let now = SystemTime::UNIX_EPOCH;
            let completion = invocation.complete(outcome, Attempts::default(), now, Duration::ZERO);
            inputs.extend(derive.on_completion(&completion).unwrap());
        }
    }
    inputs.extend(derive.finish().unwrap());
    Some(inputs)
}

/// Stops the run at the n-th event.
#[derive(Debug)]
struct StopAt(u64, AtomicU64);

impl Monitor for StopAt {
    fn event(&self, _: &Event<'_>) -> Verdict {
        match self.1.fetch_add(1, SeqCst) + 1 == self.0 {
            true => Verdict::Stop,
            false => Verdict::Continue,
        }
    }
}

/// When, and by what, a run is ended before its time.
#[derive(Clone, Copy, Debug)]
struct Ends {
    stop: Option<u64>,
    leave: Option<u64>,
    event: Option<u64>,
}

fn run(
    plan: Vec<Stage>,
    platform: InMemory,
    strategy: Arc<dyn ExecutionStrategy>,
    keep: KeepResults,
    ends: Ends,
) -> Result<RunOutcome> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let platform = Arc::new(platform);
        let mut options = RunOptions::new(platform.clone(), strategy).with_kept_results(keep);
        let after = |millis: Option<u64>| async move {
            match millis {
                Some(millis) => sleep(Duration::from_millis(millis)).await,
                None => std::future::pending().await,
            }
        };
        options =
            options.with_stop(StopSignal::new(after(ends.stop)).with_leave(after(ends.leave)));
        if let Some(event) = ends.event {
            options = options.with_monitor(Arc::new(StopAt(event, AtomicU64::new(0))));
        }
        let outcome = tokio::time::timeout(SECOND * 86_400, Plan(plan).run(options)).await;
        let outcome = outcome.expect("the run ends");
        if ends.leave.is_none() {
            assert_eq!(platform.list_deployments().await.unwrap(), []);
        }
        outcome
    })
}

/// Whether an error of a stage names a first reason: a deadline, a stop, a failed invocation, a derivation.
fn names_a_reason(error: &str) -> bool {
    ["its deadline of", "did not succeed; first ", "the run was", "stopped the run", "on purpose"]
        .iter()
        .any(|reason| error.contains(reason))
}

fn any_end(most: u64) -> impl Strategy<Value = Option<u64>> {
    prop_oneof![2 => Just(None), 1 => (0..most).prop_map(Some)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_stage_is_whole_or_an_error_that_names_the_first_reason(
        links in proptest::collection::vec((any::<u8>(), any::<u8>(), any_end(300)), 0..6),
        inputs in 0..25usize,
        strategy in any_strategy(),
        seed: u64,
        (raised, lost) in (prop_oneof![Just(0.0), 0.0..0.1], prop_oneof![Just(0.0), 0.0..0.05]),
        keeps_all: bool,
        (stop, leave, event) in (any_end(400), any_end(600), any_end(300)),
    ) {
        let plan = plan_of(&links, inputs);
        let is_naive = format!("{strategy:?}").starts_with("Naive");
        let odds = Odds { raised, unavailable: lost, panicked: lost / 2.0, ..Odds::default() };
        // It does not survive a platform that panics.
        let odds = if is_naive { Odds { raised, ..Odds::default() } } else { odds };
        let settings = Settings {
            latency: Latency::uniform(Duration::ZERO, Duration::from_millis(50)),
            fates: Fates::random(seed, odds),
            seed,
            ..Settings::default()
        };
        let platform = InMemory::new(settings)
            .with_function("python", |call| Reply::succeeded(answer(call.payload())));
        let keep = if keeps_all { all_of(&plan) } else { KeepResults::Last };
        let ends = Ends { stop, leave, event };
        let Ok(outcome) = run(plan.clone(), platform, strategy, keep, ends) else {
            prop_assert!(stop.is_some() || leave.is_some() || event.is_some());
            return Ok(());
        };
        let expected = expected(&plan, inputs);
        let mut all_succeeded = true;
        for stage in &plan {
            let name = stage.name.as_str();
            let StageReport { state, error, invocations: counts, .. } = report(&outcome, name);
            let wanted = expected[&stage.name].as_ref();
            let succeeded = |name: &StageName| {
                report(&outcome, name.as_str()).state == StageState::Succeeded
            };
            let is_kept = outcome.partial_results(name).is_ok();
            if *state == StageState::Succeeded {
                prop_assert!(stage.upstream().iter().all(succeeded), "upstream of {}", name);
                let Some(wanted) = wanted else {
                    return Err(TestCaseError::fail(format!("{name} cannot succeed")));
                };
                prop_assert_eq!(counts.succeeded, wanted.len() as u64, "in {}", name);
                prop_assert_eq!(counts.skipped, 0);
                prop_assert!(!counts.skipped_is_lower_bound);
                if is_kept {
                    prop_assert_eq!(outcome.results(name).unwrap(), wanted.as_slice());
                }
                continue;
            }
            all_succeeded = false;
            let error = error.as_ref().unwrap().to_string();
            prop_assert!(names_a_reason(&error), "in {}: {}", name, error);
            prop_assert_eq!(outcome.results(name).unwrap_err().to_string(), error);
            // Every input is accounted for, or at least so many.
            let known = counts.entered() + counts.skipped;
            if let Some(wanted) = wanted {
                let wanted = wanted.len() as u64;
                match counts.skipped_is_lower_bound {
                    true => prop_assert!(known <= wanted, "{} of {} in {}", known, wanted, name),
                    false => prop_assert_eq!(known, wanted, "in {}", name),
                }
            }
            if stage.upstream().is_empty() && leave.is_none() {
                prop_assert!(!counts.skipped_is_lower_bound, "in {}", name);
            }
        }
        prop_assert_eq!(outcome.is_success(), all_succeeded, "{:?}", outcome.error());
    }
}
