//! Laws that hold whatever happens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use falco_core::{BoxStream, Completion, ExecutionStrategy, Invocation, Target};
use falco_executors::{
    AsyncExecutor, ExecutionOptions, OnFailure, ParallelExecutor, Patience, RepeatPolicy,
    SequentialExecutor, Speculation,
};
use falco_testkit::{Fates, InMemory, Latency, Odds, Settings};
use futures_util::{FutureExt, StreamExt, stream};
use proptest::prelude::*;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::fixture::{Journal, invocation, ms, target_of, until};
use super::spy::Spy;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Sequential,
    Parallel(usize),
    Async(usize),
}

impl Kind {
    fn with(self, options: ExecutionOptions) -> Box<dyn ExecutionStrategy> {
        match self {
            Self::Sequential => Box::new(SequentialExecutor::new().with_options(options)),
            Self::Parallel(n) => {
                Box::new(ParallelExecutor::with_concurrency(n).unwrap().with_options(options))
            }
            Self::Async(n) => {
                // Short, so that a case with lost activations does not ask for them all day.
                let patience = Patience::default()
                    .with_function_timeout(Duration::from_secs(2))
                    .with_margin(Duration::from_secs(1));
                let executor = AsyncExecutor::with_window(n).unwrap();
                Box::new(executor.with_patience(patience).with_options(options))
            }
        }
    }

    fn window(self) -> usize {
        match self {
            Self::Sequential => 1,
            Self::Parallel(n) | Self::Async(n) => n,
        }
    }
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Sequential),
        (1_usize..12).prop_map(Kind::Parallel),
        (1_usize..12).prop_map(Kind::Async),
    ]
}

/// A run with everything in it that can go wrong.
#[derive(Clone, Debug)]
struct Scenario {
    kind: Kind,
    invocations: usize,
    idempotent: bool,
    goes_on: bool,
    repeat_failed: usize,
    repeat_lost: usize,
    speculates: bool,
    cancel_after: Option<u64>,
    limit: usize,
    seed: u64,
    odds: Odds,
    duplicates: f64,
    drop_collects: bool,
    consumer_pause: u64,
}

fn odds() -> impl Strategy<Value = Odds> {
    let calls = (0.0..0.1, 0.0..0.1, 0.0..0.1, 0.0..0.2, 0.0..0.05);
    let records = (0.0..0.1, 0.0..0.1, 0.0..0.1, 0.0..0.3);
    (calls, records).prop_map(
        |(
            (throttled, unavailable, reset, raised, hung),
            (lost, gone, panicked, collect_failed),
        )| {
            Odds {
                throttled,
                retry_after: None,
                unavailable,
                reset,
                raised,
                hung,
                lost,
                gone,
                panicked,
                collect_failed,
            }
        },
    )
}

fn scenarios() -> impl Strategy<Value = Scenario> {
    let run = (kinds(), 0_usize..40, prop::option::weighted(0.3, 0_u64..400), 0_u64..100);
    let options = (any::<bool>(), any::<bool>(), 0_usize..3, 0_usize..3, any::<bool>());
    let platform = (1_usize..12, any::<u64>(), odds(), 0.0..1.0, any::<bool>());
    (run, options, platform).prop_map(|(run, options, platform)| {
        let (kind, invocations, cancel_after, pause) = run;
        let (idempotent, goes_on, repeat_failed, repeat_lost, speculates) = options;
        let (limit, seed, odds, duplicates, drop_collects) = platform;
        // Half of the consumers don't pause at all.
        let consumer_pause = pause.saturating_sub(50);
        Scenario {
            kind,
            invocations,
            idempotent,
            goes_on,
            repeat_failed,
            repeat_lost,
            speculates,
            cancel_after,
            limit,
            seed,
            odds,
            duplicates,
            drop_collects,
            consumer_pause,
        }
    })
}

impl Scenario {
    fn platform(&self) -> Spy<InMemory> {
        let settings = Settings {
            latency: Latency::uniform(ms(1), ms(50)).with_stragglers(0.1, 20.0),
            record_delay: Latency::uniform(ms(0), ms(20)),
            control_latency: ms(1),
            duplicates: self.duplicates,
            fates: Fates::random(self.seed, self.odds.clone()),
            seed: self.seed,
            ..Settings::default()
        };
        let mut spy = Spy::with_limit(InMemory::new(settings), self.limit);
        spy.drop_collects = self.drop_collects;
        spy
    }

    fn options(&self) -> ExecutionOptions {
        let repeats = |times: usize| RepeatPolicy::constant(times as u32, ms(10));
        let options = ExecutionOptions::default()
            .with_on_failure(if self.goes_on { OnFailure::Continue } else { OnFailure::Stop })
            .with_repeat_failed(repeats(self.repeat_failed))
            .with_repeat_lost(repeats(self.repeat_lost))
            // What hangs has to end somehow: no timeout layer is there to do it.
            .with_deadline(Duration::from_secs(24 * 3600));
        match self.speculates {
            true => options.with_speculation(Speculation::slower_than(2.0).unwrap()),
            false => options,
        }
    }

    /// The invocations, and how many of them were taken.
    fn invocations(
        &self,
        journal: &Arc<Journal>,
    ) -> (BoxStream<'static, Invocation>, Arc<AtomicUsize>) {
        let taken = Arc::new(AtomicUsize::new(0));
        let (counter, journal, idempotent) = (taken.clone(), journal.clone(), self.idempotent);
        let invocations = stream::iter(0..self.invocations).map(move |id| {
            counter.fetch_add(1, Ordering::Relaxed);
            invocation(id).with_idempotent(idempotent).with_monitor(journal.clone())
        });
        (invocations.boxed(), taken)
    }

    async fn run(&self) -> Result<(), TestCaseError> {
        let platform = Arc::new(self.platform());
        let journal = platform.journal.clone();
        let token = CancellationToken::new();
        let target = until(target_of(platform.clone()).await, &token);
        let (invocations, taken) = self.invocations(&journal);
        let mut completions = self.kind.with(self.options()).execute(target, invocations);
        if let Some(millis) = self.cancel_after {
            let token = token.clone();
            tokio::spawn(async move {
                sleep(ms(millis)).await;
                token.cancel();
            });
        }
        let mut completed: Vec<Completion> = Vec::new();
        while let Some(completion) = completions.next().await {
            completed.push(completion);
            sleep(ms(self.consumer_pause)).await;
        }

        let taken = taken.load(Ordering::Relaxed);
        let ids: BTreeSet<_> = completed.iter().map(|c| c.invocation.clone()).collect();
        prop_assert_eq!(ids.len(), completed.len(), "an invocation has completed twice");
        prop_assert_eq!(completed.len(), taken, "taken in, and completed");
        prop_assert_eq!(journal.count("admitted"), taken);
        prop_assert_eq!(journal.count("completed"), taken);
        if self.goes_on
            && self.cancel_after.is_none()
            && completed.iter().all(|c| c.outcome.as_str() != "deadline exceeded")
        {
            prop_assert_eq!(taken, self.invocations, "nothing stopped it");
        }
        self.check_attempts(&platform, &completed)?;
        if matches!(self.kind, Kind::Sequential) {
            prop_assert!(completed.is_sorted_by(|a, b| a.invocation < b.invocation), "order");
        }
        self.check_rest(&platform).await
    }

    fn check_attempts(
        &self,
        platform: &Spy<InMemory>,
        completed: &[Completion],
    ) -> Result<(), TestCaseError> {
        let sent = platform.sent.lock().unwrap();
        for completion in completed {
            let sent = sent.get(completion.invocation.as_str()).copied().unwrap_or(0);
            // An attempt may end before it has got its permit.
            prop_assert!(
                sent <= completion.attempts as usize,
                "{completion:?} was sent {sent} times"
            );
            if !self.idempotent && self.repeat_failed == 0 {
                prop_assert!(
                    sent <= 1,
                    "{completion:?} is not idempotent and was sent {sent} times"
                );
            }
        }
        Ok(())
    }

    /// When the completions have ended, so has everything else.
    async fn check_rest(&self, platform: &Spy<InMemory>) -> Result<(), TestCaseError> {
        prop_assert_eq!(platform.in_use(), 0, "permits");
        prop_assert_eq!(platform.inner.counters().unreleased, 0);
        let asked_again = platform.asked_again.load(Ordering::Relaxed);
        prop_assert_eq!(asked_again, 0, "collected after it was released");
        // Submissions whose answer was lost cannot be stopped: nobody knows their ids. They end by themselves.
        sleep(Duration::from_secs(3600)).await;
        prop_assert_eq!(platform.inner.counters().running, 0);
        Ok(())
    }

    /// Drops the completions after some of them.
    async fn run_and_drop(&self) -> Result<(), TestCaseError> {
        let platform = Arc::new(self.platform());
        let journal = platform.journal.clone();
        let target = target_of(platform.clone()).await;
        let (invocations, taken) = self.invocations(&journal);
        let mut completions = self.kind.with(self.options()).execute(target, invocations);
        let window = self.kind.window();
        let mut seen = 0;
        let dropped_after = ms(self.cancel_after.unwrap_or(100));
        let _ = tokio::time::timeout(dropped_after, async {
            while completions.next().await.is_some() {
                seen += 1;
                sleep(ms(self.consumer_pause)).await;
            }
        })
        .await;
        prop_assert!(taken.load(Ordering::Relaxed) <= seen + window, "the window");
        drop(completions);
        tokio::task::yield_now().await;
        let entries = journal.entries().len();
        self.check_rest(&platform).await?;
        prop_assert_eq!(journal.entries().len(), entries, "something goes on");
        Ok(())
    }
}

fn paused<T>(test: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(test)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_invocation_that_entered_leaves_as_one_completion(scenario in scenarios()) {
        paused(scenario.run())?;
    }

    #[test]
    fn dropped_completions_leave_nothing_behind(scenario in scenarios()) {
        paused(scenario.run_and_drop())?;
    }

    #[test]
    fn fanned_out_stages_under_one_shared_limit_end(
        limit in 1_usize..6, first in kinds(), second in kinds(), inputs in 1_usize..12, fan_out in 1_usize..5,
    ) {
        paused(async {
            let settings = Settings { latency: Latency::uniform(ms(1), ms(30)), ..Settings::default() };
            let platform = Arc::new(Spy::with_limit(InMemory::new(settings), limit));
            let target = target_of(platform.clone()).await;
            let options = ExecutionOptions::default();
            let upstream = first.with(options.clone()).execute(
                target.clone(), stream::iter((0..inputs).map(invocation)).boxed(),
            );
            let derived = upstream.flat_map(move |completion| {
                let parent: usize = completion.invocation.as_str().parse().unwrap();
                stream::iter((0..fan_out).map(move |k| invocation(parent * fan_out + k)))
            });
            let downstream = second.with(options).execute(target, derived.boxed());
            // On paused time, whatever stands still takes this hour at once.
            let all = tokio::time::timeout(Duration::from_secs(3600), downstream.count()).await;
            prop_assert_eq!(all, Ok(inputs * fan_out));
            prop_assert_eq!(platform.in_use(), 0);
            Ok(())
        })?;
    }

    #[test]
    fn a_slow_consumer_changes_no_latency(kind in kinds(), pause in 1_u64..2_000, seed: u64) {
        let latencies = |pause| paused(async move {
            let settings = Settings {
                latency: Latency::by(|i| ms(10 + i.id().as_str().parse::<u64>().unwrap() * 7 % 40)),
                seed,
                ..Settings::default()
            };
            let target = target_of(Arc::new(InMemory::new(settings))).await;
            let invocations = stream::iter((0..20).map(invocation)).boxed();
            let mut completions = kind.with(ExecutionOptions::default()).execute(target, invocations);
            let mut latencies = BTreeMap::new();
            while let Some(completion) = completions.next().await {
                assert!(completion.is_success());
                latencies.insert(completion.invocation, completion.latency);
                sleep(ms(pause)).await;
            }
            latencies
        });
        if let Kind::Async(_) = kind {
            // Answers wait for the next collect, which comes sooner when more is in flight.
            let slowest = latencies(pause).into_values().max().unwrap();
            prop_assert!(slowest <= ms(49 + 40), "{slowest:?}");
        } else {
            prop_assert_eq!(latencies(0), latencies(pause));
        }
    }
}

#[test]
fn a_panic_in_the_input_reaches_the_consumer_and_leaves_nothing_behind() {
    paused(async {
        for kind in [Kind::Sequential, Kind::Parallel(4), Kind::Async(4)] {
            let settings = Settings { latency: Latency::fixed(ms(20)), ..Settings::default() };
            let platform = Arc::new(Spy::new(InMemory::new(settings)));
            let target: Target = target_of(platform.clone()).await;
            let invocations = stream::iter(0..6).map(|id| {
                assert!(id < 3, "no more inputs");
                invocation(id)
            });
            let completions =
                kind.with(ExecutionOptions::default()).execute(target, invocations.boxed());
            let seen = std::panic::AssertUnwindSafe(completions.count()).catch_unwind().await;
            let message = *seen.unwrap_err().downcast::<&str>().unwrap();
            assert_eq!(message, "no more inputs", "{kind:?}");
            assert_eq!(platform.in_use(), 0, "{kind:?}");
            assert_eq!(platform.inner.counters().running, 0, "{kind:?}");
            assert_eq!(platform.inner.counters().unreleased, 0, "{kind:?}");
        }
    });
}
