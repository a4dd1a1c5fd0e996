//! Outages over time, without a platform.

use super::*;

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn refused() -> Error {
    Error::new(ErrorKind::Unavailable, "connection refused").with_unreachable(true)
}

/// A platform that nobody reaches since 0 ms, with a probe due half a second after 20 ms.
fn away() -> Reach {
    let mut reach = Reach { random: fastrand::Rng::with_seed(1), ..Reach::default() };
    for now in [0, 10] {
        assert!(reach.heard(at(now), at(0), false, Heard::Silence(&refused())).is_none());
    }
    let change = reach.heard(at(20), at(0), false, Heard::Silence(&refused()));
    assert!(matches!(change, Some(Change::Started(_))));
    reach
}

#[test]
fn connections_that_break_among_answers_are_not_an_outage() {
    let mut reach = Reach::default();
    for now in 0..100 {
        for _ in 0..2 {
            assert!(reach.heard(at(now), at(now), false, Heard::Silence(&refused())).is_none());
        }
        assert!(reach.heard(at(now), at(now), false, Heard::Answer).is_none());
        assert_eq!(reach.way(at(now)), Way::Open);
    }
}

#[test]
fn one_call_at_a_time_probes_with_pauses_that_grow_to_ten_seconds() {
    let mut reach = away();
    let mut now = at(20);
    let mut pauses = Vec::new();
    for _ in 0..12 {
        let Way::Shut(probe_at) = reach.way(now) else { panic!("open at {now:?}") };
        pauses.push(probe_at - now);
        now = probe_at;
        assert_eq!(reach.way(now), Way::Probe);
        assert!(reach.sent(now, false), "it is a probe");
        assert!(matches!(reach.way(now), Way::Shut(_)), "a second one");
        assert!(reach.heard(now, now, true, Heard::Silence(&refused())).is_none());
    }
    assert!(pauses[0] >= at(500) && pauses[0] <= at(600), "{pauses:?}");
    assert!(pauses[1] >= at(800) && pauses[1] <= at(1_200), "{pauses:?}");
    assert!(pauses[2] >= at(1_600) && pauses[2] <= at(2_400), "{pauses:?}");
    assert!(pauses[11] >= at(8_000) && pauses[11] <= at(10_000), "{pauses:?}");
}

#[test]
fn a_probe_that_is_answered_ends_it_and_calls_follow_in_growing_batches() {
    let mut reach = away();
    assert!(reach.sent(at(1_000), false));
    let change = reach.heard(at(1_100), at(1_000), true, Heard::Answer);
    assert!(matches!(change, Some(Change::Ended(lasted)) if lasted == at(1_100)));
    let mut sent = 0;
    let mut by_step = Vec::new();
    for step in 0..5 {
        let now = at(1_100 + 500 * step);
        while reach.way(now) == Way::Open {
            reach.sent(now, false);
            sent += 1;
        }
        assert_eq!(reach.way(now), Way::Shut(now + at(1)), "there is room for the next one then");
        by_step.push(sent);
    }
    assert_eq!(by_step, [4, 8, 16, 32, 64]);
}

#[test]
fn an_answer_to_a_call_that_was_sent_before_does_not_end_it() {
    let mut reach = away();
    assert!(reach.heard(at(50), at(0), false, Heard::Answer).is_none() || !reach.is_away());
    let mut reach = Reach::default();
    for now in [100, 110, 120] {
        reach.heard(at(now), at(now), false, Heard::Silence(&refused()));
    }
    assert!(reach.heard(at(130), at(50), false, Heard::Answer).is_none());
    assert!(reach.is_away());
}

#[test]
fn a_probe_that_runs_a_long_function_ends_it_before_its_answer_and_a_query_does_not() {
    let mut reach = away();
    assert!(reach.sent(at(600), true));
    assert!(reach.review(at(20_599)).is_none());
    assert_eq!(reach.way(at(20_599)), Way::Shut(at(20_600)));
    assert!(matches!(reach.review(at(20_600)), Some(Change::Ended(_))));
    assert_eq!(reach.way(at(20_600)), Way::Open);
    let mut reach = away();
    assert!(reach.sent(at(600), false));
    assert!(reach.review(at(3_600_000)).is_none());
}

#[test]
fn a_probe_of_an_earlier_outage_is_not_taken_for_the_one_of_this_outage() {
    let mut reach = away();
    assert!(reach.sent(at(600), true));
    assert!(matches!(reach.review(at(20_600)), Some(Change::Ended(_))));
    for now in [21_000, 21_010, 21_020] {
        reach.heard(at(now), at(now), false, Heard::Silence(&refused()));
    }
    assert!(reach.sent(at(30_000), false));
    reach.heard(at(30_001), at(600), true, Heard::Silence(&refused()));
    assert_eq!(reach.way(at(30_001)), Way::Shut(Duration::MAX), "a second probe");
}

#[test]
fn a_dropped_probe_leaves_the_next_one_to_somebody_else() {
    let mut reach = away();
    let Way::Shut(probe_at) = reach.way(at(20)) else { panic!("open") };
    assert!(reach.sent(probe_at, false));
    reach.heard(probe_at, probe_at, true, Heard::Nothing);
    assert_eq!(reach.way(probe_at), Way::Probe);
}

#[test]
fn when_patience_is_over_the_error_says_since_when_and_what_was_tried_last() {
    let reach = away();
    assert!(reach.given_up(at(59_999), at(60_000)).is_none());
    let error = reach.given_up(at(60_000), at(60_000)).unwrap();
    assert!(error.is_exhausted() && error.is_unreachable() && !error.may_have_run());
    let text = error.to_string();
    assert!(text.contains("nobody has answered since 2"), "{text}");
    assert!(text.contains("(1m)") && text.contains("connection refused"), "{text}");
}
