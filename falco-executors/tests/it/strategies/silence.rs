//! How long an accepted invocation is waited for whose result never comes, by what the collects have shown.

use std::sync::Arc;
use std::time::Duration;

use falco_core::{
    AsyncPlatform, Collected, Deployment, Error, ErrorKind, Event, ExecutionStrategy, Invocation,
    Monitor, Pending, Platform, Result, Verdict, async_trait, forward,
};
use falco_executors::{AsyncExecutor, Patience};
use falco_testkit::{InMemory, Latency, Settings};
use futures_util::{FutureExt, StreamExt, stream};
use tokio::task::yield_now;
use tokio::time::{Instant, advance, sleep_until};

use super::fixture::{count, invocation, invocations, platform, target, target_of};

/// The fixture's function may run for a minute, and this is the margin.
const PATIENCE: Duration = Duration::from_secs(60 + 30);
/// How much longer it is waited for while nobody answers.
const OUTAGE: Duration = Duration::from_secs(200);
/// The pause after a collect that was answered.
const PAUSE: Duration = Duration::from_secs(7);

const MINUTE: Duration = Duration::from_secs(60);

/// The end of a collect, none of which has a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Answered,
    /// The answer comes, and the platform was not asked.
    FromMemory,
    Failed,
    /// The answer comes at this time after the beginning, when all that is due at that moment has had its turn.
    AnsweredAt(Duration),
}

/// A platform whose collects end as the test says, by the time since the beginning.
#[derive(Debug)]
struct Looked {
    inner: InMemory,
    begun: Instant,
    look: fn(Duration) -> Look,
}

#[async_trait]
impl Platform for Looked {
    forward! { self => self.inner;
        name, capabilities, account, deploy, fetch_deployment, list_deployments, scale, remove, invoke
    }
}

#[async_trait]
impl AsyncPlatform for Looked {
    forward! { self => self.inner; submit, release, activation_log }

    async fn collect(&self, _: &Deployment, _: &[Pending]) -> Result<Collected> {
        let look = (self.look)(self.begun.elapsed());
        if look == Look::Failed {
            return Err(Error::new(ErrorKind::Unavailable, "on purpose"));
        }
        if let Look::AnsweredAt(at) = look {
            sleep_until(self.begun + at).await;
            // The clock stands still meanwhile.
            for _ in 0..10 {
                yield_now().await;
            }
        }
        let nothing = Collected::new(Vec::new(), Vec::new(), PAUSE);
        Ok(nothing.with_from_memory(look == Look::FromMemory))
    }
}

/// How long an invocation is waited for.
async fn waited(look: fn(Duration) -> Look) -> Duration {
    let inner = InMemory::new(Settings::default());
    let looked = Arc::new(Looked { inner, begun: Instant::now(), look });
    let patience = Patience::default().with_margin(Duration::from_secs(30)).with_outage(OUTAGE);
    let executor = AsyncExecutor::new().with_patience(patience);
    let completions = executor.execute(target_of(looked).await, invocations(0..1));
    let completions: Vec<_> = completions.collect().await;
    assert_eq!(count(&completions, "unknown"), 1, "{completions:?}");
    completions[0].latency
}

#[tokio::test(start_paused = true)]
async fn while_collects_are_answered_patience_is_not_extended() {
    assert_eq!(waited(|_| Look::Answered).await, PATIENCE);
    assert_eq!(waited(|_| Look::FromMemory).await, PATIENCE);
}

#[tokio::test(start_paused = true)]
async fn a_collect_that_fails_extends_patience_until_the_platform_itself_answers() {
    assert_eq!(waited(|_| Look::Failed).await, PATIENCE + OUTAGE);
    let from_memory = waited(|at| if at < MINUTE { Look::Failed } else { Look::FromMemory });
    assert_eq!(from_memory.await, PATIENCE + OUTAGE);
    let answered = waited(|at| if at < MINUTE { Look::Failed } else { Look::Answered });
    assert_eq!(answered.await, PATIENCE);
    let both = waited(|at| match at {
        _ if at < MINUTE => Look::Failed,
        _ if at < MINUTE + PAUSE * 2 => Look::Answered,
        _ => Look::FromMemory,
    });
    assert_eq!(both.await, PATIENCE);
}

#[tokio::test(start_paused = true)]
async fn what_was_due_while_nobody_answered_is_given_up_with_the_next_answer() {
    const LATE: Duration = Duration::from_secs(60 + 30 + 5);
    let waited = waited(|at| if at < LATE { Look::Failed } else { Look::Answered }).await;
    // Pauses after failures are ten seconds at most.
    assert!((LATE..LATE + Duration::from_secs(10)).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_at_the_moment_at_which_patience_ends_is_an_answer() {
    let waited =
        waited(|at| if at < PATIENCE { Look::AnsweredAt(PATIENCE) } else { Look::Answered });
    assert_eq!(waited.await, PATIENCE);
}

/// Takes a minute for each answer, in which nothing else of the execution goes on.
#[derive(Debug)]
struct Slow;

impl Monitor for Slow {
    fn event(&self, event: &Event<'_>) -> Verdict {
        if let Event::Answered { .. } = event {
            // The clock leaps when it is polled first.
            let _ = advance(MINUTE).now_or_never();
        }
        Verdict::Continue
    }
}

#[tokio::test(start_paused = true)]
async fn a_collected_answer_has_the_time_at_which_it_came() {
    let second = Duration::from_secs(1);
    let platform = platform(Settings { latency: Latency::fixed(second), ..Settings::default() });
    let monitor: Arc<dyn Monitor> = Arc::new(Slow);
    let watched = move |id| -> Invocation { invocation(id).with_monitor(monitor.clone()) };
    let inputs = stream::iter((0..3).map(watched)).boxed();
    let completions = AsyncExecutor::new().execute(target(&platform).await, inputs);
    let latencies: Vec<_> = completions.map(|completion| completion.latency).collect().await;
    assert_eq!(latencies.len(), 3);
    assert!(latencies.iter().all(|latency| *latency < 2 * second), "{latencies:?}");
}
