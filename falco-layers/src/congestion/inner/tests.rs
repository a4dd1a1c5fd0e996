//! A gate in an outage, to the millisecond.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use falco_core::congestion::SignalKind;
use falco_core::{Error, ErrorKind, Event, Monitor, Verdict};
use tokio::time::Instant;

use crate::congestion::{Fixed, Gate};
use crate::silence::Heard;

/// The pause between two calls that try whether the platform is back. Its random part is cut off at this bound.
const PAUSE: Duration = Duration::from_millis(4500);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn silence() -> Error {
    Error::new(ErrorKind::Unavailable, "no answer").with_unreachable(true)
}

/// A gate without limits whose platform has not answered three times in a row.
async fn away() -> Gate {
    let gate = Gate::new(Fixed::unlimited()).with_outage_pauses(PAUSE, PAUSE);
    for _ in 0..3 {
        assert!(!gate.is_away());
        let permit = gate.admit().await;
        permit.finish_heard(SignalKind::Abandoned, None, Heard::Silence(&silence()));
    }
    assert!(gate.is_away());
    gate
}

/// A call in line, and how long it has waited when it is let through.
fn in_line(gate: &Gate) -> tokio::task::JoinHandle<Duration> {
    let gate = gate.clone();
    let came = Instant::now();
    tokio::spawn(async move {
        drop(gate.admit().await);
        came.elapsed()
    })
}

#[tokio::test(start_paused = true)]
async fn the_first_call_tries_the_platform_after_the_pause_and_the_state_says_how_long_it_is_shut()
{
    let gate = away().await;
    assert_eq!(gate.state().paused, Some(Duration::from_secs(1)), "nobody knows until when");
    let began = Instant::now();
    let probe = gate.admit().await;
    assert_eq!(began.elapsed(), PAUSE);
    assert!(gate.is_away(), "it is not answered yet");
    probe.finish_heard(SignalKind::Abandoned, Some(ms(30_000)), Heard::Silence(&silence()));
    assert_eq!(gate.state().paused, Some(ms(30_000)), "the wait that was suggested is longer");
    drop(gate.admit().await);
    assert_eq!(began.elapsed(), PAUSE + ms(30_000));
}

#[tokio::test(start_paused = true)]
async fn a_call_in_line_goes_at_the_moment_in_which_the_platform_answers_again() {
    let gate = away().await;
    let probe = gate.pass(Duration::MAX, false).await.unwrap();
    let waiting = in_line(&gate);
    let passing = tokio::spawn({
        let gate = gate.clone();
        async move { drop(gate.pass(Duration::MAX, false).await.unwrap()) }
    });
    tokio::time::sleep(ms(300)).await;
    probe.heard(Heard::Answer);
    assert!(!gate.is_away());
    assert_eq!(waiting.await.unwrap(), ms(300));
    // What takes no slot looks again once a second.
    let began = Instant::now();
    passing.await.unwrap();
    assert!(began.elapsed() <= ms(700), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_call_of_before_the_outage_was_seen_lets_those_in_line_go_at_once() {
    let gate = Gate::new(Fixed::unlimited()).with_outage_pauses(PAUSE, PAUSE);
    let fail = async || {
        let permit = gate.admit().await;
        permit.finish_heard(SignalKind::Abandoned, None, Heard::Silence(&silence()));
    };
    fail().await;
    let sent = gate.pass(Duration::MAX, false).await.unwrap();
    fail().await;
    fail().await;
    assert!(gate.is_away());
    let waiting = in_line(&gate);
    tokio::time::sleep(ms(300)).await;
    sent.heard(Heard::Answer);
    assert_eq!(waiting.await.unwrap(), ms(300));
}

#[tokio::test(start_paused = true)]
async fn when_the_call_that_tries_is_dropped_the_next_one_tries_at_once() {
    let gate = away().await;
    let probe = gate.pass(Duration::MAX, false).await.unwrap();
    let waiting = in_line(&gate);
    tokio::time::sleep(ms(300)).await;
    drop(probe);
    assert_eq!(waiting.await.unwrap(), ms(300));
    assert!(gate.is_away());
}

/// Remembers what it hears of outages.
#[derive(Debug, Default)]
struct Heeding(Mutex<Vec<&'static str>>);

impl Monitor for Heeding {
    fn event(&self, event: &Event<'_>) -> Verdict {
        self.0.lock().unwrap().push(match event {
            Event::OutageStarted { .. } => "away",
            Event::OutageEnded { .. } => "back",
            _ => "else",
        });
        Verdict::Continue
    }
}

#[tokio::test(start_paused = true)]
async fn watchers_hear_of_the_outage_of_this_moment_and_that_a_long_call_has_ended_it() {
    let gate = away().await;
    let heeding = Arc::new(Heeding::default());
    let monitor: Arc<dyn Monitor> = heeding.clone();
    gate.watch(Arc::downgrade(&monitor));
    assert_eq!(*heeding.0.lock().unwrap(), ["away"]);
    // It runs a function, and that it has not failed after two pauses shows that the platform has taken it.
    let running = gate.admit().await;
    let waited = in_line(&gate).await.unwrap();
    assert!((PAUSE * 2..=PAUSE * 2 + ms(1000)).contains(&waited), "{waited:?}");
    assert_eq!(*heeding.0.lock().unwrap(), ["away", "back"]);
    drop(running);
}
