//! Whole runs in which one of two platforms goes down.

use std::sync::Arc;

use falco_core::*;
use falco_executors::report::StageReport;
use falco_executors::{
    AsyncExecutor, DriverExt, ExecutionOptions, OnFailure, ParallelExecutor, RunOptions, RunOutcome,
};
use falco_layers::{HeldPolicy, Part, Share, Spread, Stack};
use falco_testkit::{InMemory, Latency, Line, Outages, Settings};
use tokio::time::{Instant, sleep};

use crate::support::*;

const INVOCATIONS: usize = 100;
const SHARES: [Share; 4] = [Share::FreeCapacity, Share::Weight, Share::Price, Share::Overflow];

#[derive(Debug)]
struct Hundred {
    idempotent: bool,
}

impl Driver for Hundred {
    fn name(&self) -> &str {
        "hundred"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        let function = function().with_scaling(Scaling::default().with_timeout(secs(30)));
        let stage = Stage::from_fn("map", function, |index| {
            (index < INVOCATIONS).then(|| Ok(Payload::empty()))
        });
        ExecutionPlan::new(vec![if self.idempotent { stage.idempotent() } else { stage }])
    }
}

/// How calls are made.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Invoked,
    Submitted,
    Held,
}

const KINDS: [Kind; 3] = [Kind::Invoked, Kind::Submitted, Kind::Held];

type Away = Arc<Outages<InMemory>>;

/// A platform that runs ten calls at once, each for a second.
fn ten_at_once() -> Away {
    let settings = Settings {
        capacity: Some(10),
        latency: Latency::fixed(secs(1)),
        record_delay: Latency::fixed(millis(50)),
        ..Settings::default()
    };
    Arc::new(Outages::new(InMemory::new(settings)))
}

struct Ran {
    outcome: RunOutcome,
    parts: [Away; 2],
    /// The calls that the first part had in flight when it went down.
    in_flight: u64,
}

impl Ran {
    fn stage(&self) -> &StageReport {
        &self.outcome.report.stages[0]
    }
}

/// Runs all of them while the line to the first part is as given for `away` seconds.
async fn run(kind: Kind, share: Share, idempotent: bool, line: Line, away: u64) -> Ran {
    run_with(kind, share, idempotent, line, away, |part| part).await
}

/// As [`run`], with changed parts.
async fn run_with(
    kind: Kind,
    share: Share,
    idempotent: bool,
    line: Line,
    away: u64,
    change: fn(Part) -> Part,
) -> Ran {
    let parts = [ten_at_once(), ten_at_once()];
    let both = [("a", &parts[0]), ("b", &parts[1])];
    let both = both.map(|(name, part)| change(Part::new(part.clone()).named(name)));
    let stack = match kind {
        Kind::Held => Stack::new().with_held(HeldPolicy::default()),
        _ => Stack::new(),
    };
    let spread = Arc::new(Spread::with_stack(share, both, &stack).unwrap());
    let options = ExecutionOptions::default().with_on_failure(OnFailure::Continue);
    let strategy: Arc<dyn ExecutionStrategy> = match kind {
        Kind::Invoked => {
            Arc::new(ParallelExecutor::with_concurrency(40).unwrap().with_options(options))
        }
        _ => Arc::new(AsyncExecutor::with_window(40).unwrap().with_options(options)),
    };
    let first = parts[0].clone();
    let (sender, in_flight) = tokio::sync::oneshot::channel();
    let outage = tokio::spawn(async move {
        // Not at a full second, where calls end.
        sleep(millis(2_525)).await;
        let counters = first.inner().counters();
        let _ = sender.send(counters.running + counters.unreleased);
        first.set(line);
        sleep(secs(away)).await;
        first.set(Line::Up);
    });
    let outcome = Hundred { idempotent }.run(RunOptions::new(spread, strategy)).await.unwrap();
    outage.abort();
    Ran { outcome, parts, in_flight: in_flight.await.unwrap() }
}

#[tokio::test(start_paused = true)]
async fn a_platform_that_goes_down_in_a_run_costs_no_idempotent_invocation() {
    for kind in KINDS {
        for (share, away) in SHARES.into_iter().flat_map(|share| [(share, 20), (share, 100_000)]) {
            let ran = run(kind, share, true, Line::Cut, away).await;
            let (stage, case) = (ran.stage(), format!("{kind:?} {share:?} {away}"));
            assert!(ran.in_flight > 0, "{case}: nothing was at stake");
            assert_eq!(stage.invocations.succeeded, 100, "{case}: {stage:?}");
            // What is in flight is given up soon, and the other part needs a second for ten.
            assert!(stage.wall < secs(60), "{case}: {:?}", stage.wall);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_platform_that_goes_down_in_a_run_costs_what_it_has_in_flight_and_may_not_repeat() {
    for kind in KINDS {
        for share in SHARES {
            let ran = run(kind, share, false, Line::Cut, 100_000).await;
            let (stage, case) = (ran.stage(), format!("{kind:?} {share:?}"));
            let counts = &stage.invocations;
            assert!(ran.in_flight > 0, "{case}: nothing was at stake");
            assert_eq!(counts.succeeded + counts.unknown, 100, "{case}: {stage:?}");
            assert!(
                counts.unknown <= ran.in_flight,
                "{case}: {} in flight, {counts:?}",
                ran.in_flight
            );
            let started: u64 = ran.parts.iter().map(|part| part.inner().counters().started).sum();
            assert_eq!(started, 100, "{case}: nothing ran twice");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_submitted_to_a_platform_that_comes_back_is_not_lost() {
    for share in SHARES {
        let ran = run(Kind::Submitted, share, false, Line::Cut, 60).await;
        assert_eq!(ran.stage().invocations.succeeded, 100, "{share:?}: {:?}", ran.stage());
    }
}

#[tokio::test(start_paused = true)]
async fn a_platform_that_answers_nothing_in_a_run_costs_no_idempotent_invocation() {
    for kind in KINDS {
        let ran = run(kind, Share::FreeCapacity, true, Line::Hung, 100_000).await;
        assert!(ran.in_flight > 0, "{kind:?}: nothing was at stake");
        assert_eq!(ran.stage().invocations.succeeded, 100, "{kind:?}: {:?}", ran.stage());
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_platform_that_answers_nothing_is_not_sent_there() {
    for kind in KINDS {
        let ran =
            run_with(kind, Share::Weight, false, Line::Hung, 100_000, |it| it.with_concurrency(10));
        let ran = ran.await;
        let (counts, case) = (&ran.stage().invocations, format!("{kind:?}: {:?}", ran.stage()));
        assert!(ran.in_flight > 0, "{case}: nothing was at stake");
        // Ten calls have a slot there, and ten more wait for one until the first fail.
        assert!(counts.unknown <= 10, "{case}");
        assert_eq!(counts.succeeded + counts.unknown, 100, "{case}");
    }
}

/// Collects until something has finished.
async fn next_finished(
    spread: &Spread,
    deployment: &Deployment,
    pending: &[Pending],
) -> Vec<Activation> {
    loop {
        let collected = spread.collect(deployment, pending).await.unwrap();
        if !collected.finished.is_empty() {
            return collected.finished;
        }
        sleep(collected.poll_after).await;
    }
}

/// Takes the result of the part `b`, which is there soon although the other part hangs.
async fn take_soon(spread: &Spread, deployment: &Deployment, pending: &mut Vec<Pending>) {
    let begun = Instant::now();
    let found = next_finished(spread, deployment, pending).await;
    assert_eq!((found.len(), found[0].attribute("platform")), (1, Some("b")));
    assert!(begun.elapsed() < secs(5), "{:?}", begun.elapsed());
    spread.release(deployment, &[found[0].id.clone()], Release::Taken);
    pending.retain(|it| it.id != found[0].id);
}

#[tokio::test(start_paused = true)]
async fn a_platform_that_answers_nothing_does_not_delay_the_results_of_the_other() {
    let parts = [ten_at_once(), ten_at_once()];
    let both = [("a", &parts[0]), ("b", &parts[1])];
    let both = both.map(|(name, part)| Part::new(part.clone()).named(name));
    let spread = Spread::new(Share::Weight, both).unwrap();
    let deployment = deployed(&spread).await;
    let mut pending = Vec::new();
    for n in 0..2 {
        pending.push(spread.submit(&deployment, &invocation(&n.to_string())).await.unwrap());
    }
    parts[0].set(Line::Hung);
    take_soon(&spread, &deployment, &mut pending).await;
    // What is submitted while the other is asked comes as soon.
    let later = spread.submit(&deployment, &invocation("2")).await;
    let later = match later {
        Ok(later) if later.id.as_str().starts_with("b/") => later,
        _ => spread.submit(&deployment, &invocation("3")).await.unwrap(),
    };
    pending.push(later);
    take_soon(&spread, &deployment, &mut pending).await;
    // Once it is back, it answers for what it had.
    parts[0].set(Line::Up);
    let found = next_finished(&spread, &deployment, &pending).await;
    assert_eq!((found.len(), found[0].attribute("platform")), (1, Some("a")));
}

#[tokio::test(start_paused = true)]
async fn what_a_platform_that_is_away_keeps_of_a_run_is_reported_and_removed_later() {
    let ran = run(Kind::Invoked, Share::FreeCapacity, true, Line::Cut, 100_000).await;
    let [away, up] = &ran.parts;
    assert!(up.inner().list_deployments().await.unwrap().is_empty(), "the other part is cleared");
    assert_eq!(away.inner().list_deployments().await.unwrap().len(), 1);
    assert_eq!(ran.outcome.leftovers.len(), 1, "{:?}", ran.outcome.leftovers);
    // It is back, and the removal needs no word on where the function is left.
    away.set(Line::Up);
    let both = [Part::new(away.clone()).named("a"), Part::new(up.clone()).named("b")];
    let spread = Spread::new(Share::FreeCapacity, both).unwrap();
    for deployment in spread.list_deployments().await.unwrap() {
        spread.remove(&deployment).await.unwrap();
    }
    assert!(away.inner().list_deployments().await.unwrap().is_empty());
}
