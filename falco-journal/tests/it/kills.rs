//! Drivers that die at any point, or with the power, in this process: the provider outlives them, and the next driver has
//! what was on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use falco_core::{AsyncPlatform, Driver, ExecutionPlan, OnFailure, Stage, StagePolicy};
use falco_executors::{
    AsyncExecutor, DriverExt, OneToOne, ParallelExecutor, Patience, RunOptions, SequentialExecutor,
};
use falco_journal::{Durability, JournalConfig, Part, ResumeOptions, RunJournal};
use falco_layers::{HeldPolicy, Stack};
use falco_testkit::{InMemory, Reply, Settings};
use serde_json::Value;

use crate::death::{Death, Life};
use crate::mortal::Mortal;
use crate::support::{RUN, folder, function, payload};

/// Set to any value, each test kills at every point, and not only at some.
const LONG: &str = "FALCO_TEST_ALL_KILLS";

/// How invocations are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    OneByOne,
    Parallel,
    Submitted,
    /// Held open by the layer that submits for platforms which cannot.
    Held,
    /// By each process in another way than by the one before.
    InTurns,
}

/// How a run is driven.
#[derive(Clone, Copy, Debug)]
struct Way {
    sending: Sending,
    idempotent: bool,
    death: Death,
    without: Option<Part>,
    invocations: usize,
    /// How many of them are in flight at the same time.
    window: u32,
}

/// One stage, or two of which the second is derived.
#[derive(Debug)]
struct Pipeline(Way);

impl Driver for Pipeline {
    fn name(&self) -> &str {
        "pipeline"
    }

    fn plan(&self) -> falco_core::Result<ExecutionPlan> {
        let echo = function("def main(args): return args");
        let inputs = self.0.invocations;
        let map =
            Stage::from_fn_sized("map", echo.clone(), inputs, |index| Ok(payload(index as u64)));
        let policy = StagePolicy::default().with_on_failure(OnFailure::Continue);
        ExecutionPlan::new(match self.0.idempotent {
            false => vec![map.with_policy(policy)],
            true => {
                let again = Stage::derived("again", echo, ["map"], OneToOne::new());
                vec![map.idempotent(), again.idempotent()]
            }
        })
    }
}

/// The provider, with how often each invocation ran.
struct Provider {
    platform: Arc<InMemory>,
    ran: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl Provider {
    fn new(submits: bool) -> Self {
        let ran: Arc<Mutex<BTreeMap<String, u32>>> = Arc::default();
        let noted = ran.clone();
        let platform = InMemory::new(Settings::default());
        platform.configure(|settings| settings.capabilities.submit = submits);
        let platform = platform.with_function("python", move |call| {
            let key = format!("{}/{}", call.invocation.stage(), call.invocation.id());
            *noted.lock().unwrap().entry(key).or_default() += 1;
            // Some take longer, so that others are submitted and recorded meanwhile.
            let is_long = call.invocation.id().as_str().ends_with(['0', '3']);
            let takes = Duration::from_millis(if is_long { 5 } else { 0 });
            Reply::succeeded(call.payload().clone()).after(takes)
        });
        Self { platform: Arc::new(platform), ran }
    }
}

/// The outcome of a run.
#[derive(Debug)]
struct Came {
    deaths: u32,
    ran: BTreeMap<String, u32>,
    succeeded: u64,
    unknown: u64,
    /// Those that were known to be submitted and have no result.
    lost: BTreeSet<String>,
    /// Points that the last driver passed.
    points: i64,
}

/// Drives a run to its end; the first drivers die after so many points.
async fn drive(way: Way, deaths: &[i64]) -> Came {
    let provider = Provider::new(way.sending != Sending::Held);
    let mut directory = folder();
    for died in 0.. {
        let points = deaths.get(died).copied().unwrap_or(i64::MAX);
        let mut config = JournalConfig::new(directory.path()).with_durability(Durability::Machine);
        if let Some(part) = way.without {
            config = config.with_part_left_out(part);
        }
        let journal = match directory.path().join(RUN).join("000001.log").exists() {
            false => RunJournal::create(&config, RUN.into()),
            true => RunJournal::resume(&config, &RUN.into(), ResumeOptions::default()),
        };
        let journal = journal.unwrap();
        let grave = folder();
        let life = Life::new(directory.path(), grave.path(), points, way.death);
        let mortal = Mortal::new(provider.platform.clone(), life.clone());
        let sending = match way.sending {
            Sending::InTurns => {
                [Sending::Submitted, Sending::OneByOne, Sending::Parallel][died % 3]
            }
            sending => sending,
        };
        let platform: Arc<dyn AsyncPlatform> = match sending {
            Sending::Held => Stack::new()
                .with_held(HeldPolicy::default())
                .with_journal(journal.clone())
                .wrap(Arc::new(mortal))
                .unwrap(),
            _ => Arc::new(mortal),
        };
        let window = way.window as usize;
        let options = RunOptions::from(platform);
        let options = match sending {
            Sending::OneByOne => options.with_strategy(SequentialExecutor::new()),
            Sending::Parallel => {
                options.with_strategy(ParallelExecutor::with_concurrency(window).unwrap())
            }
            _ => {
                // What the provider has lost is waited for in vain.
                let patience = Patience::default()
                    .with_function_timeout(Duration::ZERO)
                    .with_margin(Duration::from_secs(if way.without.is_some() { 1 } else { 60 }));
                let executor = AsyncExecutor::with_window(window).unwrap();
                options.with_strategy(executor.with_patience(patience))
            }
        };
        let pipeline = Pipeline(way);
        let options = options.with_monitor(life.clone()).with_journal(journal.clone());
        let outcome = tokio::select! {
            outcome = pipeline.run(options) => Some(outcome.unwrap()),
            () = life.ended.cancelled() => None,
        };
        drop(journal);
        // One that dies at its last point may have come to the end of its code.
        let outcome = outcome.filter(|_| !life.has_ended());
        let Some(outcome) = outcome else {
            directory = grave;
            continue;
        };
        let counts = outcome.report.invocations;
        assert_eq!(counts.failed(), 0, "{:?}", outcome.error());
        let ran = provider.ran.lock().unwrap().clone();
        let lost = lost(directory.path());
        let points = i64::MAX - life.points_left();
        let (succeeded, unknown) = (counts.succeeded, counts.unknown);
        return Came { deaths: died as u32, ran, succeeded, unknown, lost, points };
    }
    unreachable!()
}

/// Those that the log knows as submitted and has no result of: it could have been collected.
fn lost(directory: &Path) -> BTreeSet<String> {
    let mut lost = BTreeSet::new();
    let mut submitted = BTreeSet::new();
    let mut logs: Vec<_> =
        std::fs::read_dir(directory.join(RUN)).unwrap().map(|it| it.unwrap().path()).collect();
    logs.sort();
    for path in logs.iter().filter(|path| path.extension().is_some_and(|it| it == "log")) {
        let log = std::fs::read(path).unwrap();
        for line in log.split(|byte| *byte == b'\n') {
            let json = line.get(9..).and_then(|json| serde_json::from_slice::<Value>(json).ok());
            let Some(record) = json else { continue };
            let id = || record["i"].as_str().unwrap().to_owned();
            match (record["k"].as_str(), record["o"].as_str()) {
                (Some("s"), _) => drop(submitted.insert(id())),
                (Some("c"), Some("u")) if submitted.contains(&id()) => drop(lost.insert(id())),
                (Some("c"), _) => drop(lost.remove(&id())),
                _ => {}
            }
        }
    }
    lost
}

impl Came {
    /// Nothing is lost, nothing runs twice where that does harm, and nothing unknown is called known.
    fn check(&self, way: Way) -> Result<(), String> {
        let stages = if way.idempotent { 2 } else { 1 };
        let all = (way.invocations * stages) as u64;
        let is_sound = match way.idempotent {
            true => (self.succeeded, self.unknown) == (all, 0) && self.ran.len() as u64 == all,
            false => {
                self.ran.values().all(|times| *times == 1)
                    && self.succeeded + self.unknown == all
                    && self.ran.len() as u64 >= self.succeeded
                    // What can be in doubt was being sent when a driver died.
                    && self.unknown <= u64::from(self.deaths * way.window)
                    && self.lost.is_empty()
            }
        };
        if is_sound { Ok(()) } else { Err(format!("{way:?}: {self:?}")) }
    }
}

/// Kills at `some` points of a run, each once more in the resume, and returns what came of each run.
async fn killed(way: Way, some: i64) -> Vec<Came> {
    let whole = drive(Way { without: None, ..way }, &[]).await;
    whole.check(way).unwrap();
    let step = if std::env::var_os(LONG).is_some() { 1 } else { (whole.points / some).max(1) };
    let mut all = Vec::new();
    for point in (1..=whole.points).step_by(step as usize) {
        all.push(drive(way, &[point, point / 2 + 1]).await);
    }
    all
}

const WAY: Way = Way {
    sending: Sending::Submitted,
    idempotent: false,
    death: Death::Process,
    without: None,
    invocations: 6,
    window: 3,
};

/// Each way of sending, for work that may and that may not run twice.
const WAYS: [(Sending, bool); 7] = [
    (Sending::OneByOne, false),
    (Sending::Parallel, false),
    (Sending::Parallel, true),
    (Sending::Submitted, false),
    (Sending::Submitted, true),
    (Sending::Held, false),
    (Sending::InTurns, false),
];

#[tokio::test]
async fn a_driver_that_is_killed_at_any_point_loses_and_doubles_nothing() {
    let mut deaths = 0;
    for (sending, idempotent) in WAYS {
        let way = Way { sending, idempotent, ..WAY };
        for came in killed(way, 12).await {
            came.check(way).unwrap();
            deaths += came.deaths;
        }
    }
    assert!(deaths > 60, "{deaths}");
}

#[tokio::test]
async fn a_driver_whose_machine_loses_power_at_any_point_loses_and_doubles_nothing() {
    for (sending, idempotent) in WAYS {
        let way = Way { sending, idempotent, death: Death::Machine, ..WAY };
        for came in killed(way, 12).await {
            came.check(way).unwrap();
        }
    }
}

#[tokio::test]
async fn a_run_of_two_thousand_calls_that_is_killed_at_random_loses_and_doubles_nothing() {
    for (sending, death) in [
        (Sending::Parallel, Death::Process),
        (Sending::Submitted, Death::Machine),
        (Sending::InTurns, Death::Process),
    ] {
        let way = Way { sending, death, invocations: 2000, window: 64, ..WAY };
        let points: Vec<_> = (0..4).map(|_| fastrand::i64(1..4000)).collect();
        let came = drive(way, &points).await;
        came.check(way).unwrap_or_else(|said| panic!("killed at {points:?}: {said}"));
    }
}

/// Whether a run breaks a law when a part of the journal is left out.
async fn breaks(sending: Sending, death: Death, part: Part) -> bool {
    let way = Way { sending, death, without: Some(part), ..WAY };
    let whole = drive(Way { without: None, ..way }, &[]).await;
    for point in 1..=whole.points {
        if drive(way, &[point]).await.check(way).is_err() {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn without_intents_something_runs_twice() {
    assert!(breaks(Sending::Parallel, Death::Process, Part::Intents).await);
}

#[tokio::test]
async fn with_intents_that_are_not_awaited_something_runs_twice_after_the_loss_of_power() {
    assert!(breaks(Sending::Parallel, Death::Machine, Part::Waits).await);
}

#[tokio::test]
async fn with_releases_before_the_disk_a_result_is_lost_with_the_power() {
    assert!(breaks(Sending::Submitted, Death::Machine, Part::Order).await);
}
