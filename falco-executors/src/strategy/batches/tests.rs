//! The parts of batches that a run does not show by itself.

use falco_core::{
    ActivationId, Capabilities, FunctionError, FunctionErrorKind, Payload, RuntimeLimits,
};
use falco_testkit::{Fate, Fates, InMemory, Operation, Settings};
use futures_util::FutureExt as _;
use serde_json::json;
use tokio::sync::oneshot;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn invocation(number: usize) -> Invocation {
    let payload = Payload::json(&json!({ "n": number })).unwrap();
    Invocation::new("run", "stage", number.to_string(), payload)
}

/// A platform in memory with these abilities, with an echo on it.
async fn platform(
    change: impl FnOnce(Capabilities) -> Capabilities,
) -> (Arc<InMemory>, Arc<Deployment>) {
    let capabilities = change(Settings::default().capabilities);
    with_echo(Settings { capabilities, ..Settings::default() }).await
}

async fn with_echo(settings: Settings) -> (Arc<InMemory>, Arc<Deployment>) {
    let platform = Arc::new(InMemory::new(settings));
    let function = falco_core::Deployable::python("echo", "def main(args): return args");
    let deployment = falco_core::Platform::deploy(&*platform, &function).await.unwrap();
    (platform, Arc::new(deployment))
}

async fn batches(
    batch: Batch,
    slots: usize,
    submits: bool,
    change: impl FnOnce(Capabilities) -> Capabilities,
) -> (Batches, Arc<InMemory>) {
    let (platform, deployment) = platform(change).await;
    let permits = Arc::new(Semaphore::new(slots));
    let batches = Batches::new(batch, platform.clone(), deployment, permits, slots, submits);
    (batches, platform)
}

#[tokio::test(start_paused = true)]
async fn as_many_inputs_are_taken_in_as_fill_two_batches_for_each_slot() {
    let (batches, _) = batches(Batch::of(100), 2, false, |it| it).await;
    assert_eq!(batches.permits.available_permits(), 400);
    batches.grant(&mut batches.lock());
    assert_eq!(batches.permits.available_permits(), 400, "none is granted twice");
}

#[tokio::test(start_paused = true)]
async fn no_more_inputs_are_taken_in_than_fit_into_memory() {
    let (batches, _) = batches(Batch::of(1 << 20), 4, false, |it| it).await;
    assert_eq!(batches.permits.available_permits(), MOST_IN_FLIGHT);
}

#[tokio::test(start_paused = true)]
async fn limits_are_those_of_the_way_in_which_calls_go() {
    let narrow: fn(Capabilities) -> Capabilities =
        |it| it.with_max_payload(1000).with_max_submit_payload(2000).with_max_result(50_000);
    for (submits, room) in [(false, 1000), (true, 2000)] {
        let (batches, _) = batches(Batch::of(2), 1, submits, narrow).await;
        assert_eq!((batches.room, batches.limits.bytes), (room, 50_000 - AROUND_RESULT));
        assert_eq!(batches.limits.time, USUAL_TIMEOUT / PART_OF_TIMEOUT);
    }
    for most in [None, Some(u64::MAX)] {
        let wide = |it: Capabilities| it.with_max_payload(None).with_max_result(most);
        let (batches, _) = batches(Batch::of(2), 1, false, wide).await;
        assert_eq!((batches.room, batches.limits.bytes), (u64::MAX, LONGEST_RESULT));
    }
}

#[tokio::test(start_paused = true)]
async fn limits_of_the_functions_runtime_narrow_those_of_the_platform() {
    let limits = RuntimeLimits::default()
        .with_max_payload(1000)
        .with_max_submit_payload(2000)
        .with_max_result(50_000);
    for (family, narrow) in [("python", true), ("nodejs", false)] {
        for (submits, room) in [(false, 1000), (true, 2000)] {
            let limited = |it: Capabilities| {
                let it = it.with_max_payload(70_000).with_max_submit_payload(70_000);
                it.with_max_result(70_000).with_runtime_limits(family, limits)
            };
            let (batches, _) = batches(Batch::of(2), 1, submits, limited).await;
            let wanted = if narrow { (room, 50_000) } else { (70_000, 70_000) };
            assert_eq!((batches.room, batches.limits.bytes + AROUND_RESULT), wanted, "{family}");
        }
    }
}

/// Puts an input into the queue.
fn enqueue(batches: &Batches, invocation: &Invocation) -> oneshot::Receiver<Result<Pending>> {
    let (reply, answer) = oneshot::channel();
    batches.enqueue(invocation, Reply::Submitted(reply));
    answer
}

/// How many of the inputs that wait go into the next batch.
fn next_batch(batches: &Batches) -> usize {
    let state = &mut *batches.lock();
    let choice = state.queue.choose(&state.sizing, batches.slots, batches.room, Supply::Ended);
    state.queue.take(choice.unwrap().inputs).len()
}

#[tokio::test(start_paused = true)]
async fn an_input_that_has_to_travel_alone_or_with_few_does_so_once() {
    let (batches, _) = batches(Batch::of(8), 1, true, |it| it).await;
    let fill = |first: &Invocation| {
        let inputs = [first.clone(), invocation(1), invocation(2), invocation(3)];
        inputs.map(|input| enqueue(&batches, &input))
    };
    let _waits = fill(&invocation(0).with_alone(true));
    assert_eq!((next_batch(&batches), next_batch(&batches)), (1, 3));
    batches.lock().at_most.insert("0".into(), 2);
    let _waits = fill(&invocation(0));
    assert_eq!((next_batch(&batches), next_batch(&batches)), (2, 2));
    let _waits = fill(&invocation(0));
    assert_eq!(next_batch(&batches), 4, "the limit was for one batch");
}

/// An input whose call has failed in this way, among so many; and how many may travel with it next time.
async fn failed(inputs: usize, error: &Error) -> (ErrorKind, Option<usize>) {
    let (batches, _) = batches(Batch::of(8), 1, true, |it| it).await;
    let mut answers: Vec<_> =
        (0..inputs).map(|number| enqueue(&batches, &invocation(number))).collect();
    let waiting = batches.lock().queue.take(inputs);
    batches.fail(waiting, error);
    let answer = answers.remove(0).await.unwrap().unwrap_err();
    let at_most = batches.lock().at_most.get(&InvocationId::from("0")).copied();
    (answer.kind(), at_most)
}

#[tokio::test(start_paused = true)]
async fn what_is_too_long_together_goes_again_in_halves_unless_it_may_have_run() {
    let too_long = Error::new(ErrorKind::PayloadTooLarge, "too long");
    assert_eq!(failed(6, &too_long).await, (ErrorKind::Deferred, Some(3)));
    assert_eq!(failed(1, &too_long).await, (ErrorKind::PayloadTooLarge, None));
    let ran = too_long.with_may_have_run(true);
    assert_eq!(failed(6, &ran).await, (ErrorKind::PayloadTooLarge, None));
    let other = Error::new(ErrorKind::Throttled, "later");
    assert_eq!(failed(6, &other).await, (ErrorKind::Throttled, None));
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_one_invocation_without_the_marks_of_its_first_input() {
    let (batches, _) = batches(Batch::of(8), 1, false, |it| it).await;
    let wait = |number| {
        let (reply, answer) = oneshot::channel();
        drop(answer);
        let invocation = invocation(number).with_unique(true);
        Waiting { invocation, at_most: 8, reply: Reply::Submitted(reply) }
    };
    let envelope = batches.envelope(&[wait(0), wait(1)], "mark").unwrap();
    assert_eq!(envelope.members().len(), 2);
    assert!(!envelope.is_unique() && envelope.is_result_read());
    let single = batches.envelope(&[wait(0)], "mark").unwrap();
    assert!(single.is_unique() && single.members().is_empty());
}

/// A batch of three inputs at the platform, and its id.
async fn submitted(batches: &Batches) -> ActivationId {
    let members: Vec<_> = (0..3).map(invocation).collect();
    let argument = envelope::argument(&members, batches.limits, "mark").unwrap();
    let envelope = members[0].clone().with_payload(argument).with_members(members);
    batches.platform.submit(&batches.deployment, &envelope).await.unwrap().id
}

fn pending(id: ActivationId) -> Pending {
    Pending::new(id, std::time::SystemTime::now())
}

/// The results of those that are finished.
async fn finished(batches: &Batches, ids: &[ActivationId]) -> Vec<(ActivationId, String)> {
    let pending: Vec<Pending> = ids.iter().cloned().map(pending).collect();
    for _ in 0..60 {
        let collected = batches.collect_inputs(&pending).await.unwrap();
        assert!(collected.gone.is_empty(), "{collected:?}");
        if !collected.finished.is_empty() {
            let result = |it: Activation| (it.id, it.outcome.unwrap().as_str().to_owned());
            return collected.finished.into_iter().map(result).collect();
        }
        sleep(SECOND).await;
    }
    Vec::new()
}

#[tokio::test(start_paused = true)]
async fn the_batch_of_an_earlier_process_is_divided_by_what_its_result_holds() {
    let (batches, platform) = batches(Batch::of(3), 1, true, |it| it).await;
    let batch = submitted(&batches).await;
    let [first, second] = [0, 1].map(|index| batch.of_member(index));
    // Nobody asks for the third input.
    let results = finished(&batches, &[second.clone(), first.clone()]).await;
    let expected = [(first.clone(), r#"{"n":0}"#.to_owned()), (second, r#"{"n":1}"#.to_owned())];
    assert_eq!(results, expected);
    // Other inputs of it may be asked for later, so that it is not let go of.
    batches.let_go(&[first], Release::Taken);
    assert_eq!(platform.counters().unreleased, 1);
    batches.let_go(&[batch], Release::Taken);
    assert_eq!((platform.counters().unreleased, platform.counters().taken), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_released_with_its_last_input_and_abandoned_if_one_was() {
    for (abandoned, taken) in [(None, 1), (Some(0), 0), (Some(2), 0)] {
        let (batches, platform) = batches(Batch::of(3), 1, true, |it| it).await;
        let batch = submitted(&batches).await;
        let members = (0..3).map(|number| invocation(number).id().clone()).collect();
        let known = Submitted::new(members, false, "mark".to_owned());
        batches.lock().submitted.insert(batch.clone(), known);
        for index in 0..3 {
            assert_eq!(platform.counters().unreleased, 1);
            let release = match abandoned {
                Some(of) if of == index => Release::Abandoned,
                _ => Release::Taken,
            };
            // An input that is let go of twice counts once.
            for _ in 0..2 {
                batches.let_go(&[batch.of_member(index)], release);
            }
        }
        let counters = platform.counters();
        assert_eq!((counters.unreleased, counters.taken), (0, taken), "{abandoned:?}");
        assert!(batches.lock().submitted.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn the_id_of_a_call_that_looks_like_that_of_an_input_stays_the_calls() {
    let (batches, _) = batches(Batch::of(3), 1, true, |it| it).await;
    let id: ActivationId = "odd#1".into();
    assert_eq!(batches.holder(&id), Some(("odd".into(), 1)));
    let known = Submitted::new(vec!["0".into()], false, String::new());
    batches.lock().submitted.insert(id.clone(), known);
    assert_eq!(batches.holder(&id), None);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_accepted_when_nobody_waits_for_it_is_released() {
    let (batches, platform) = batches(Batch::of(3), 1, true, |it| it).await;
    let batch = submitted(&batches).await;
    let answers = [0, 1, 2].map(|number| enqueue(&batches, &invocation(number)));
    let waiting = batches.lock().queue.take(3);
    drop(answers);
    batches.accept(waiting, String::new(), &pending(batch));
    assert_eq!(platform.counters().unreleased, 0);
}

#[tokio::test(start_paused = true)]
async fn an_input_that_was_submitted_by_itself_has_the_id_of_its_activation() {
    for (inputs, expected) in [(1, "a"), (2, "a#0")] {
        let (batches, _) = batches(Batch::of(2), 1, true, |it| it).await;
        let mut answers: Vec<_> =
            (0..inputs).map(|number| enqueue(&batches, &invocation(number))).collect();
        let waiting = batches.lock().queue.take(inputs);
        batches.accept(waiting, String::new(), &pending("a".into()));
        assert_eq!(answers.remove(0).await.unwrap().unwrap().id, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn calls_in_flight_are_no_more_than_slots_whether_they_are_accepted_or_not() {
    let (batches, platform) = batches(Batch::of(2), 2, true, |it| it).await;
    let answers: Vec<_> = (0..12).map(|number| enqueue(&batches, &invocation(number))).collect();
    let drive = std::future::poll_fn(|cx| {
        batches.poll(Supply::Ended, cx);
        Poll::<()>::Pending
    });
    assert!(tokio::time::timeout(SECOND, drive).await.is_err());
    assert_eq!(platform.counters().submits, 2);
    assert_eq!(answers.into_iter().filter_map(|answer| answer.now_or_never()).count(), 4);
}

/// Polls it for so long, and returns how many calls were submitted until then.
async fn submits_within(
    (batches, platform): &(Batches, Arc<InMemory>),
    supply: Supply,
    time: Duration,
) -> u64 {
    let drive = std::future::poll_fn(|cx| {
        batches.poll(supply, cx);
        Poll::<()>::Pending
    });
    assert!(tokio::time::timeout(time, drive).await.is_err());
    platform.counters().submits
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_not_full_waits_a_moment_for_more() {
    let of_four = batches(Batch::of(4), 1, true, |it| it).await;
    let _answers = [0, 1].map(|number| enqueue(&of_four.0, &invocation(number)));
    assert_eq!(submits_within(&of_four, Supply::Waits, LINGER / 2).await, 0);
    assert_eq!(submits_within(&of_four, Supply::Waits, LINGER).await, 1);
    // Where no more come, it does not.
    let of_four = batches(Batch::of(4), 1, true, |it| it).await;
    let _answers = [0, 1].map(|number| enqueue(&of_four.0, &invocation(number)));
    assert_eq!(submits_within(&of_four, Supply::Ended, LINGER / 2).await, 1);
}

#[tokio::test(start_paused = true)]
async fn more_inputs_are_let_in_where_all_of_them_do_not_fill_a_batch_of_bytes() {
    let of_bytes = batches(Batch::bytes(1 << 20), 1, true, |it| it).await;
    let _answers = [0, 1].map(|number| enqueue(&of_bytes.0, &invocation(number)));
    let before = of_bytes.0.permits.available_permits();
    // It is polled once: more permits come, and the inputs that they let in are waited for.
    let once = std::future::poll_fn(|cx| Poll::Ready(of_bytes.0.poll(Supply::Full, cx)));
    assert!(!once.await);
    assert_eq!(of_bytes.0.permits.available_permits(), 2 * before);
    assert_eq!(of_bytes.1.counters().submits, 0);
}

#[tokio::test(start_paused = true)]
async fn the_input_that_ran_is_looked_for_in_the_trace_and_then_for_five_seconds_in_the_log() {
    let (with_logs, deployment) = platform(|it| it.with_logs(true)).await;
    let (without, _) = platform(|it| it.with_logs(false)).await;
    let mut error = FunctionError::new(FunctionErrorKind::Crashed, "killed");
    let silent = Activation::failed("a", error.clone());
    error.trace = Some("falco:input 0a1b2c3d 2".into());
    let traced = Activation::failed("a", error);
    for (platform, batch, expected, takes) in [
        (&with_logs, &traced, Some(2), Duration::ZERO),
        (&without, &traced, Some(2), Duration::ZERO),
        (&with_logs, &silent, None, 5 * SECOND),
        (&without, &silent, None, Duration::ZERO),
    ] {
        let began = tokio::time::Instant::now();
        let found = running::running_input(&**platform, &deployment, batch, "0a1b2c3d").await;
        assert_eq!((found, began.elapsed()), (expected, takes), "{batch:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_measured_when_it_is_collected_for_the_first_time() {
    let (batches, _) = batches(Batch::auto(), 1, true, |it| it).await;
    let batch = submitted(&batches).await;
    let members = (0..3).map(|number| invocation(number).id().clone()).collect();
    batches.lock().submitted.insert(batch.clone(), Submitted::new(members, true, String::new()));
    assert_eq!(batches.lock().sizing.inputs(), 1);
    assert_eq!(finished(&batches, &[batch.of_member(0)]).await.len(), 1);
    // Quick batches may be four times as large, once for each of them.
    assert_eq!(batches.lock().sizing.inputs(), 12);
}

/// Three inputs whose batch has failed in this way, of this process or of an earlier one, and how many of them are over.
async fn failed_batch(kind: FunctionErrorKind, is_own: bool) -> (Batches, usize) {
    let error = FunctionError::new(kind, "on purpose");
    let fates = Fates::by(move |call| match call.operation {
        Operation::Submit => Fate::FailFunction(error.clone()),
        _ => Fate::Serve,
    });
    let (platform, deployment) = with_echo(Settings { fates, ..Settings::default() }).await;
    let permits = Arc::new(Semaphore::new(1));
    let batches = Batches::new(Batch::of(3), platform, deployment, permits, 1, true);
    let batch = submitted(&batches).await;
    let members: Vec<_> = (0..3).map(|number| invocation(number).id().clone()).collect();
    if is_own {
        let known = Submitted::new(members, true, String::new());
        batches.lock().submitted.insert(batch.clone(), known);
    }
    let inputs: Vec<_> = (0..3).map(|index| pending(batch.of_member(index))).collect();
    for _ in 0..60 {
        let collected = batches.collect_inputs(&inputs).await.unwrap();
        let over = collected.finished.len() + collected.gone.len();
        if over > 0 {
            return (batches, over);
        }
        sleep(SECOND).await;
    }
    (batches, 0)
}

#[tokio::test(start_paused = true)]
async fn results_that_are_too_long_together_are_asked_for_again_in_halves() {
    let (batches, over) = failed_batch(FunctionErrorKind::BadResult, true).await;
    assert_eq!(over, 3);
    let at_most = |number: usize| {
        batches.lock().at_most.get(&InvocationId::from(number.to_string())).copied()
    };
    assert_eq!([0, 1, 2].map(at_most), [Some(1); 3]);
}

#[tokio::test(start_paused = true)]
async fn each_input_of_an_earlier_process_hears_that_their_batch_has_failed() {
    let (_, over) = failed_batch(FunctionErrorKind::Raised, false).await;
    assert_eq!(over, 3);
}
