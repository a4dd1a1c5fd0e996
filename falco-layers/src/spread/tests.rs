//! Tests of the parts of a spread, without the retries around them.

use std::sync::Arc;
use std::time::Duration;

use falco_core::congestion::SignalKind;
use falco_core::{
    Activation, AsyncPlatform, Collected, Deployable, Deployment, Error, ErrorKind, Invocation,
    Payload, Pending, Platform, Release, Result,
};
use falco_testkit::{Fate, Fates, InMemory, Latency, Line, Outages, Settings};
use futures_util::poll;
use tokio::time::{Instant, sleep};

use super::parts::Parts;
use super::questions::Questions;
use super::{Part, Share};
use crate::held::HeldPolicy;
use crate::several::ASK_AGAIN;
use crate::stack::Stack;

const PATIENCE: Duration = Duration::from_secs(20);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn invocation(id: &str) -> Invocation {
    Invocation::new("run", "stage", id, Payload::empty())
}

fn away() -> Error {
    let error = Error::new(ErrorKind::Unavailable, "no route");
    error.with_unreachable(true).with_may_have_run(false)
}

/// Two parts, `a` and `b`, and a function on both.
struct Two {
    parts: Parts,
    platforms: [Arc<Outages<InMemory>>; 2],
    deployment: Deployment,
}

impl Two {
    async fn new(share: Share, stack: &Stack, settings: [Settings; 2]) -> Self {
        let platforms = settings.map(|it| Arc::new(Outages::new(InMemory::new(it))));
        let member = |name: &str, platform: &Arc<Outages<InMemory>>| {
            Part::new(platform.clone()).named(name).connect(stack).unwrap()
        };
        let members = vec![member("a", &platforms[0]), member("b", &platforms[1])];
        let parts = Parts::new(share, members, PATIENCE);
        let function = Deployable::python("f", "def main(args): return args");
        let deployment = parts.deploy(&function).await.unwrap();
        Self { parts, platforms, deployment }
    }

    /// Parts that take turns, whose functions take so long.
    async fn in_turns(latencies: [Duration; 2]) -> Self {
        let settings = latencies.map(|latency| Settings {
            latency: Latency::fixed(latency),
            fates: Fates::of_invocation("vanishes", Fate::Vanish),
            ..Settings::default()
        });
        Self::new(Share::Weight, &Stack::new(), settings).await
    }

    /// Parts that meet all calls so; the first gets a call first.
    async fn with_fates(fates: [Fate; 2]) -> Self {
        let settings = fates.map(|fate| {
            let fates = Fates::by(move |call| match call.invocation {
                Some(_) => fate.clone(),
                None => Fate::Serve,
            });
            Settings { fates, ..Settings::default() }
        });
        Self::new(Share::Overflow, &Stack::new(), settings).await
    }

    async fn invoke(&self, id: &str) -> Result<Activation> {
        self.parts.invoke(&self.deployment, &invocation(id)).await
    }

    /// Submits to the part whose turn it is.
    async fn submit(&self, part: &str, id: &str, is_idempotent: bool) -> Pending {
        let invocation = invocation(id).with_idempotent(is_idempotent);
        let pending = self.parts.submit(&self.deployment, &invocation).await.unwrap();
        assert!(pending.id.as_str().starts_with(part), "{}", pending.id);
        pending
    }

    async fn collect(&self, pending: &[Pending]) -> Result<Collected> {
        self.parts.collect(&self.deployment, pending).await
    }

    /// Whether a question to the first part is kept; it is taken out.
    fn has_question(&self) -> bool {
        let held = self.parts.held(&self.deployment, "collect").unwrap();
        self.parts.members[0].questions.take(&held[0].1).is_some()
    }
}

#[tokio::test(start_paused = true)]
async fn calls_in_flight_and_calls_that_wait_at_the_gate_take_a_parts_room() {
    let part = Part::new(InMemory::default()).with_concurrency(2);
    let member = part.connect(&Stack::new()).unwrap();
    assert_eq!(member.room(), 2);
    let first = member.gate.admit().await;
    assert_eq!(member.room(), 1);
    let _second = member.gate.admit().await;
    assert_eq!(member.room(), 0);
    let mut third = Box::pin(member.gate.admit());
    assert!(poll!(&mut third).is_pending());
    assert_eq!(member.room(), -1);
    drop(third);
    first.finish(SignalKind::Throttled, Some(ms(1_000)));
    assert_eq!(member.room(), 0, "it asked for a pause");
}

#[tokio::test(start_paused = true)]
async fn the_error_of_a_call_that_no_part_takes_is_that_of_the_last_part_that_answered() {
    let throttles = || Fate::throttle(Some(ms(1_000)));
    let is_away = || Fate::Refuse(away());
    for (fates, kind, part) in [
        ([throttles(), throttles()], ErrorKind::Throttled, "b: "),
        ([throttles(), is_away()], ErrorKind::Throttled, "a: "),
        ([is_away(), throttles()], ErrorKind::Throttled, "b: "),
        ([is_away(), is_away()], ErrorKind::Unavailable, "b: "),
    ] {
        let error = Two::with_fates(fates).await.invoke("1").await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().starts_with(part), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_part_gets_a_call_that_another_did_not_take_only_if_that_did_not_answer() {
    for (first, tried) in [(Fate::throttle(None), 0), (Fate::Refuse(away()), 1)] {
        let two = Two::with_fates([first, Fate::Serve]).await;
        two.parts.members[1].silence.hear_error(&away());
        let outcome = two.invoke("1").await;
        assert_eq!(two.platforms[1].inner().counters().invokes, tried, "{outcome:?}");
        assert_eq!(outcome.is_ok(), tried == 1, "{outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_run_again_is_given_up_when_its_part_could_not_be_asked_for_ten_seconds() {
    let (idempotent, other_answers) = (true, true);
    for (is_idempotent, is_other_up, after, is_given_up) in [
        (idempotent, other_answers, ms(9_999), false),
        (idempotent, other_answers, ms(10_000), true),
        // Nobody could run it again.
        (idempotent, false, ms(10_000), false),
        (idempotent, false, PATIENCE, false),
        (false, other_answers, ms(10_000), false),
        (false, other_answers, PATIENCE - ms(1), false),
        (false, other_answers, PATIENCE, true),
    ] {
        let case = format!("{is_idempotent} {is_other_up} {after:?}");
        let two = Two::in_turns([ms(0), ms(0)]).await;
        let pending = [two.submit("a", "1", is_idempotent).await];
        two.platforms[0].set(Line::Cut);
        if !is_other_up {
            two.parts.members[1].silence.hear_error(&away());
        }
        assert!(two.collect(&pending).await.unwrap_err().is_unreachable(), "{case}");
        sleep(after).await;
        let outcome = two.collect(&pending).await;
        if !is_given_up {
            assert!(outcome.unwrap_err().is_unreachable(), "{case}");
            continue;
        }
        let Collected { gone, poll_after, .. } = outcome.unwrap();
        assert_eq!((gone.len(), &gone[0].0), (1, &pending[0].id), "{case}");
        assert!(gone[0].1.may_have_run(), "{case}: {}", gone[0].1);
        assert_eq!(poll_after, ms(0), "nothing is left to ask for: {case}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_given_up_is_reported_until_it_is_released_and_takes_no_memory_then() {
    let two = Two::in_turns([ms(0), ms(0)]).await;
    let mut pending = vec![two.submit("a", "1", true).await];
    two.submit("b", "2", true).await;
    pending.push(two.submit("a", "3", false).await);
    two.platforms[0].set(Line::Cut);
    two.collect(&pending).await.unwrap_err();
    sleep(ms(10_000)).await;
    for _ in 0..2 {
        let collected = two.collect(&pending).await.unwrap();
        assert_eq!((collected.gone.len(), &collected.gone[0].0), (1, &pending[0].id));
        assert_eq!(collected.poll_after, ASK_AGAIN, "the other is asked for again");
    }
    assert_eq!(two.parts.idempotent().len(), 2);
    two.parts.release(&two.deployment, &[pending[0].id.clone()], Release::Abandoned);
    assert_eq!(two.parts.idempotent().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn that_no_part_can_be_asked_is_an_error_only_when_all_have_said_so() {
    for (line, is_error) in [(Line::Cut, true), (Line::Hung, false)] {
        let two = Two::in_turns([ms(0), ms(0)]).await;
        let pending = [two.submit("a", "1", false).await, two.submit("b", "2", false).await];
        two.platforms[0].set(line);
        two.platforms[1].set(Line::Cut);
        let outcome = two.collect(&pending).await;
        assert_eq!(outcome.is_err(), is_error, "{line:?}: {outcome:?}");
        if let Ok(collected) = outcome {
            assert!(collected.is_empty());
            assert_eq!(collected.poll_after, ASK_AGAIN);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_question_for_results_ends_a_silence_unless_it_is_from_memory() {
    let held = Stack::new().with_held(HeldPolicy::default());
    for (stack, is_silent) in [(Stack::new(), false), (held, true)] {
        let settings = [Settings::default(), Settings::default()];
        let two = Two::new(Share::Weight, &stack, settings).await;
        let pending = [two.submit("a", "1", false).await];
        let silence = &two.parts.members[0].silence;
        silence.hear_error(&away());
        assert_eq!(two.collect(&pending).await.unwrap().finished.len(), 1);
        assert_eq!(silence.is_silent(), is_silent);
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_that_has_answered_for_everything_does_not_say_when_to_ask_again() {
    let two = Two::in_turns([ms(0), ms(3_000)]).await;
    let mut pending = Vec::new();
    for (part, id) in [("a", "1"), ("b", "2"), ("a", "vanishes")] {
        pending.push(two.submit(part, id, false).await);
    }
    let collected = two.collect(&pending).await.unwrap();
    assert_eq!((collected.finished.len(), collected.gone.len()), (1, 1));
    assert_eq!(collected.poll_after, ms(3_000));
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_does_not_name_what_is_awaited_no_longer() {
    let settings = || Settings {
        control_latency: ms(10),
        fates: Fates::of_invocation("vanishes", Fate::Vanish),
        ..Settings::default()
    };
    let two = Two::new(Share::Weight, &Stack::new(), [settings(), settings()]).await;
    let mut pending = Vec::new();
    for (part, id) in [("a", "1"), ("b", "2"), ("a", "vanishes"), ("b", "3"), ("a", "4")] {
        pending.push(two.submit(part, id, false).await);
    }
    let cut_off = async {
        sleep(ms(5)).await;
        two.platforms[0].set(Line::Hung);
    };
    let (early, ()) = tokio::join!(two.collect(&pending), cut_off);
    assert_eq!(early.unwrap().finished.len(), 2, "those of the other part");
    two.platforms[0].set(Line::Up);
    let begun = Instant::now();
    let late = two.collect(&pending[4..]).await.unwrap();
    assert_eq!(begun.elapsed(), ms(0), "it is the answer to the earlier question");
    let finished: Vec<_> = late.finished.iter().map(|it| &it.id).collect();
    assert_eq!((finished, late.gone.len()), (vec![&pending[4].id], 0));
}

#[tokio::test(start_paused = true)]
async fn a_question_is_dropped_when_nothing_of_its_part_is_awaited_or_the_function_is_removed() {
    let two = Two::in_turns([ms(0), ms(0)]).await;
    let pending = [two.submit("a", "1", false).await, two.submit("b", "2", false).await];
    two.platforms[0].set(Line::Hung);
    two.collect(&pending).await.unwrap();
    assert!(two.has_question());
    for is_removed in [false, true] {
        two.collect(&pending).await.unwrap();
        if is_removed {
            two.platforms[0].set(Line::Up);
            two.parts.remove(&two.deployment).await.unwrap();
        } else {
            two.collect(&pending[1..]).await.unwrap();
        }
        assert!(!two.has_question(), "{is_removed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_is_kept_for_less_than_five_seconds() {
    let deployment = Deployment::new("f", "python:3".parse().unwrap());
    let questions = Questions::default();
    for (after, is_there) in [(ms(4_999), true), (ms(5_000), false)] {
        questions.keep(&deployment, Box::pin(std::future::pending()));
        sleep(after).await;
        assert_eq!(questions.take(&deployment).is_some(), is_there, "{after:?}");
        assert!(questions.take(&deployment).is_none(), "it is taken once");
    }
}
