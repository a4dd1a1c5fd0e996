//! Plans of what to ask for.

use super::*;
use falco_core::Payload;

const BEGIN: u64 = 1_700_000_000_000;
const LIST: How = How::List { from_top: true };
const ALLOWANCES: Allowances = Allowances {
    tolerance: Duration::from_millis(10),
    behind: Duration::ZERO,
    patience: Duration::from_secs(70),
};

fn id(n: u64) -> ActivationId {
    format!("{n:032x}").into()
}

fn at(offset: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(BEGIN + offset)
}

/// Waits for these, submitted a millisecond apart; a full page of others began a second later.
fn overtaken(count: u64) -> Outstanding {
    let mut outstanding = Outstanding::new();
    for n in 0..count {
        outstanding.expect(&Pending::new(id(n), at(n)), Instant::now());
    }
    for n in 0..PAGE as u64 {
        outstanding.see(&Row { id: 1_000_000 + u128::from(n), start: BEGIN + 1000 + n });
    }
    outstanding
}

fn plan(outstanding: &mut Outstanding, after: Duration) -> Plan {
    outstanding.plan(Instant::now() + after, LIST, &ALLOWANCES)
}

#[test]
fn the_list_is_read_from_the_earliest_start_that_is_possible() {
    let mut outstanding = Outstanding::new();
    for n in [7, 3, 5] {
        outstanding.expect(&Pending::new(id(n), at(n)), Instant::now());
    }
    let allowances = Allowances { behind: Duration::from_secs(1), ..ALLOWANCES };
    let plan = outstanding.plan(Instant::now(), LIST, &allowances);
    assert_eq!(plan.since, Some(BEGIN + 3 - 10 - 1000));
    assert!(plan.by_id.is_empty());
}

#[test]
fn few_that_are_behind_are_asked_for_by_id_and_more_and_more_seldom() {
    let mut outstanding = overtaken(3);
    let plan_at = |outstanding: &mut Outstanding, seconds| {
        let plan = plan(outstanding, Duration::from_secs(seconds));
        assert_eq!(plan.since, None);
        plan.by_id.len()
    };
    let asked: Vec<_> = (2..60).map(|second| plan_at(&mut outstanding, second)).collect();
    assert_eq!(asked[0], 3);
    assert!(asked.iter().all(|count| [0, 3].contains(count)), "{asked:?}");
    assert!(asked.iter().sum::<usize>() < 3 * 20, "{asked:?}");
}

#[test]
fn the_list_is_read_again_for_many_that_are_behind() {
    let mut outstanding = overtaken(50);
    let plan = plan(&mut outstanding, Duration::from_secs(2));
    assert_eq!((plan.since, plan.by_id.len()), (Some(BEGIN - 10), 0));
}

#[test]
fn old_activations_are_asked_for_by_id_a_few_at_a_time() {
    let mut outstanding = overtaken(50);
    let plan = plan(&mut outstanding, ALLOWANCES.patience);
    assert_eq!((plan.since, plan.by_id.len()), (None, MAX_STRAGGLERS));
}

#[test]
fn a_record_that_was_seen_before_its_submission_returned_is_found_or_asked_for() {
    let mut outstanding = Outstanding::new();
    let (kept, passed) = (Pending::new(id(1), at(0)), Pending::new(id(2), at(0)));
    for n in [1, 2] {
        outstanding.see(&Row { id: n, start: BEGIN });
    }
    assert!(!outstanding.wants(&passed.id, MAX_UNCLAIMED_BYTES + 1));
    outstanding.pass_over(&Row { id: 2, start: BEGIN });
    let now = Instant::now();
    let activation = Activation::succeeded(kept.id.clone(), Payload::empty());
    assert_eq!(outstanding.deliver(&kept.id, Ok(activation), now), None);
    outstanding.expect(&kept, now);
    outstanding.expect(&passed, now);
    assert_eq!(outstanding.found(&[kept]).0.len(), 1);
    assert_eq!(plan(&mut outstanding, Duration::ZERO).by_id, [passed.id]);
}

#[test]
fn looking_further_back_than_before_reads_all_of_the_list() {
    let mut outstanding = Outstanding::new();
    assert!(outstanding.cover(BEGIN));
    assert!(!outstanding.cover(BEGIN + 5));
    assert!(outstanding.cover(BEGIN - 5));
    assert!(!outstanding.cover(BEGIN - 5));
}

#[test]
fn few_are_each_asked_for_at_the_expected_age_and_then_the_more_seldom() {
    let mut outstanding = Outstanding::new();
    let begin = Instant::now();
    for n in 0..3 {
        outstanding.expect(&Pending::new(id(n), at(n)), begin);
    }
    let first = Duration::from_millis(40);
    let mut asked = Vec::new();
    for millis in 0..200 {
        let now = begin + Duration::from_millis(millis);
        let plan = outstanding.plan(now, How::ById { first }, &ALLOWANCES);
        assert_eq!(plan.since, None);
        match plan.by_id.len() {
            0 => assert!(outstanding.next_due(first).unwrap() > now),
            count => {
                assert_eq!(count, 3);
                asked.push(millis);
            }
        }
    }
    assert_eq!(asked, [40, 50, 63, 79, 99, 124, 155, 194]);
}

#[test]
fn an_answer_of_the_platform_that_failed_is_kept_as_an_error() {
    let mut outstanding = Outstanding::new();
    let now = Instant::now();
    let pending = Pending::new(id(1), at(0));
    outstanding.expect(&pending, now);
    let error = Error::new(falco_core::ErrorKind::Unavailable, "no invoker");
    let age = outstanding.deliver(&pending.id, Err(error), now + Duration::from_secs(1));
    assert_eq!(age, Some(Duration::from_secs(1)));
    let (finished, gone) = outstanding.found(std::slice::from_ref(&pending));
    assert_eq!((finished.len(), gone.len(), outstanding.waiting()), (0, 1, 0));
    outstanding.release(&[pending.id]);
}

#[test]
fn it_is_news_once_that_something_was_submitted() {
    let mut outstanding = Outstanding::new();
    assert!(!outstanding.take_new());
    outstanding.expect(&Pending::new(id(1), at(0)), Instant::now());
    assert!(outstanding.take_new() && !outstanding.take_new());
    outstanding.expect(&Pending::new(id(1), at(0)), Instant::now());
    assert!(!outstanding.take_new(), "it was waited for already");
}

#[test]
fn an_activation_as_old_as_the_oldest_of_the_first_page_is_read_from_the_list() {
    for (offset, since) in [(999, None), (1000, Some(BEGIN + 990))] {
        let mut outstanding = overtaken(0);
        outstanding.expect(&Pending::new(id(1), at(offset)), Instant::now());
        assert_eq!(plan(&mut outstanding, Duration::from_secs(2)).since, since, "{offset}");
    }
}

#[test]
fn records_that_were_seen_are_forgotten_when_most_of_many_are_too_old() {
    let seen_of = |rows: u64| {
        let mut outstanding = Outstanding::new();
        for n in 0..rows {
            outstanding.see(&Row { id: n.into(), start: BEGIN + n });
        }
        assert_eq!(outstanding.seen_since(BEGIN + 1), rows - 1);
        outstanding.cover(BEGIN + rows - 2);
        outstanding.seen_since(0)
    };
    assert_eq!([seen_of(10), seen_of(10_002), seen_of(10_003)], [10, 10_002, 2]);
}
