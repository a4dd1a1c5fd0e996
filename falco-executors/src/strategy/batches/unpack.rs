//! From the answer for a batch to the answers for its inputs.

use std::time::Duration;

use falco_core::{
    Activation, Error, ErrorKind, FunctionError, FunctionErrorKind, Payload, Result, UsDollars,
};

use super::envelope::{Answer, answers};
use super::marks;

/// The answer for one input.
pub(super) struct Unpacked {
    pub(super) answer: Result<Activation>,
    /// The most inputs of the next batch that it travels in, where it is sent again because of its neighbours.
    pub(super) at_most: Option<usize>,
}

impl From<Result<Activation>> for Unpacked {
    fn from(answer: Result<Activation>) -> Self {
        Self { answer, at_most: None }
    }
}

/// Whether the function's process ended in the middle of its work, so that the answers of a whole batch are gone.
pub(super) fn is_cut_off(error: &FunctionError) -> bool {
    use FunctionErrorKind::{Crashed, OutOfMemory, Timeout, Unspecified};
    matches!(error.kind, Crashed | OutOfMemory | Timeout | Unspecified)
}

/// Divides the answer for a batch of `inputs`. `running` is the input that ran when the function was cut off.
pub(super) fn unpack(
    batch: Activation,
    inputs: usize,
    is_idempotent: bool,
    running: Option<usize>,
) -> Vec<Unpacked> {
    match &batch.outcome {
        Ok(result) => match answers(result, inputs) {
            Some(answers) => divided(&batch, answers, is_idempotent),
            None => {
                let error = Error::new(
                    ErrorKind::Protocol,
                    "the function was called with a batch of inputs, and answered something else",
                )
                .with_hint("its runtime does not know batches: run the stage without");
                repeat(inputs, || Err(error.clone()).into())
            }
        },
        Err(error) if is_cut_off(error) => cut_off(&batch, error, inputs, is_idempotent, running),
        Err(error) if error.kind == FunctionErrorKind::BadResult && is_idempotent && inputs > 1 => {
            let why = "the results of its batch were too long together";
            repeat(inputs, || deferred(why, half(inputs)))
        }
        Err(error) => (0..inputs)
            .map(|index| Ok(member(&batch, index, inputs, Err(error.clone()), Times::default())))
            .map(Unpacked::from)
            .collect(),
    }
}

fn repeat(inputs: usize, make: impl Fn() -> Unpacked) -> Vec<Unpacked> {
    std::iter::repeat_with(make).take(inputs).collect()
}

fn half(inputs: usize) -> usize {
    (inputs / 2).max(1)
}

fn divided(batch: &Activation, answers: Vec<Answer>, is_idempotent: bool) -> Vec<Unpacked> {
    let ran = answers.iter().filter(|answer| !matches!(answer, Answer::NotRun)).count();
    let mut begins = Duration::ZERO;
    let each = |(index, answer)| match answer {
        Answer::Ran { outcome, took } => {
            let times = Times { begins, took: Some(took) };
            begins += took;
            Ok(member(batch, index, ran, outcome, times)).into()
        }
        Answer::NoRoom if is_idempotent => {
            deferred("its result did not fit beside those of its batch", 1)
        }
        Answer::NoRoom => Err(unknown("its result did not fit beside those of its batch")).into(),
        Answer::NotRun => Err(not_run("the time of its batch was up before it ran")).into(),
    };
    answers.into_iter().enumerate().map(each).collect()
}

/// The process ended: the answers of those that ran before are gone with it, and those that follow did not run.
fn cut_off(
    batch: &Activation,
    error: &FunctionError,
    inputs: usize,
    is_idempotent: bool,
    running: Option<usize>,
) -> Vec<Unpacked> {
    let is_timeout = error.kind == FunctionErrorKind::Timeout;
    let each = |index: usize| match running {
        Some(running) if index > running => {
            deferred("its batch was cut off before it ran", half(inputs))
        }
        // It had a part of the time only; by itself it has all of it.
        Some(running) if index == running && is_timeout && index > 0 && is_idempotent => {
            deferred("its batch ran out of time while it ran", 1)
        }
        Some(running) if index == running => {
            let mut error = error.clone();
            error.trace = error.trace.as_deref().map(marks::after_last);
            error.trace = error.trace.filter(|trace| !trace.is_empty());
            Ok(member(batch, index, 1, Err(error), Times::default())).into()
        }
        _ if is_idempotent && inputs > 1 => {
            deferred("its answer was lost with those of its batch", half(inputs))
        }
        _ => {
            let what = format!(
                "its answer was lost with those of its batch, whose function ended: {error}"
            );
            Err(unknown(what)).into()
        }
    };
    (0..inputs).map(each).collect()
}

fn not_run(why: &str) -> Error {
    Error::new(ErrorKind::Deferred, why)
}

fn deferred(why: &str, at_most: usize) -> Unpacked {
    Unpacked { answer: Err(not_run(why)), at_most: Some(at_most) }
}

fn unknown(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Lost, what)
        .with_may_have_run(true)
        .with_retryable(false)
        .with_hint("call the stage idempotent, or use smaller batches")
}

/// When an input ran within its batch, as far as the shim says.
#[derive(Clone, Copy, Default)]
struct Times {
    begins: Duration,
    took: Option<Duration>,
}

/// The activation of one input: its own outcome and times, and its share of what the batch cost.
fn member(
    batch: &Activation,
    index: usize,
    sharers: usize,
    outcome: Result<Payload, FunctionError>,
    Times { begins, took }: Times,
) -> Activation {
    let mut activation = Activation::new(batch.id.of_member(index), outcome);
    let is_first = index == 0;
    let init = batch.init.unwrap_or_default();
    let sharers = u32::try_from(sharers).unwrap_or(u32::MAX).max(1);
    activation.started_at = match is_first {
        true => batch.started_at,
        false => batch.started_at.map(|at| at + init + begins),
    };
    let lasted = took.map(|took| if is_first { init + took } else { took });
    activation.ended_at = match (activation.started_at, lasted) {
        (Some(at), Some(lasted)) => Some(at + lasted),
        _ => batch.ended_at,
    };
    activation.wait = batch.wait.map(|wait| wait + begins);
    activation.init = batch.init.filter(|_| is_first);
    activation.cold_start = batch.cold_start.map(|cold| cold && is_first);
    activation.execution = took.or(batch.execution);
    activation.billed = batch.billed.map(|billed| billed / sharers);
    activation.cost = batch.cost.map(|UsDollars(cost)| UsDollars(cost / f64::from(sharers)));
    activation.memory_mib = batch.memory_mib;
    activation.memory_used_bytes = batch.memory_used_bytes;
    activation.container.clone_from(&batch.container);
    activation.host.clone_from(&batch.host);
    activation.region.clone_from(&batch.region);
    activation.code_version.clone_from(&batch.code_version);
    activation.booted_at = batch.booted_at;
    activation.request_id.clone_from(&batch.request_id);
    activation.attributes.clone_from(&batch.attributes);
    activation
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn batch(outcome: Result<Payload, FunctionError>) -> Activation {
        let mut batch = Activation::new("a", outcome);
        batch.started_at = Some(SystemTime::UNIX_EPOCH);
        batch.init = Some(Duration::from_secs(1));
        batch.cold_start = Some(true);
        batch.billed = Some(Duration::from_secs(6));
        batch.cost = Some(UsDollars(4.0));
        batch
    }

    fn kinds(unpacked: &[Unpacked]) -> Vec<String> {
        let kind = |it: &Unpacked| match &it.answer {
            Ok(activation) => match &activation.outcome {
                Ok(_) => "ok".to_owned(),
                Err(error) => error.kind.to_string(),
            },
            Err(error) => format!("{} {:?}", error.kind(), it.at_most),
        };
        unpacked.iter().map(kind).collect()
    }

    #[test]
    fn each_input_has_its_own_times_and_its_share_of_the_cost() {
        let json = r#"{"falco:batch":[{"ok":{},"ms":2000},{"ok":{},"ms":500},null]}"#;
        let unpacked = unpack(batch(Ok(Payload::from_bytes(json).unwrap())), 3, false, None);
        assert_eq!(kinds(&unpacked), ["ok", "ok", "deferred None"]);
        let [first, second] = [0, 1].map(|at| unpacked[at].answer.as_ref().unwrap());
        let since = |at: Option<SystemTime>| {
            at.unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()
        };
        assert_eq!((since(first.started_at), since(first.ended_at)), (0, 3000));
        assert_eq!((since(second.started_at), since(second.ended_at)), (3000, 3500));
        assert_eq!((first.cost, second.cost), (Some(UsDollars(2.0)), Some(UsDollars(2.0))));
        assert_eq!([first.billed, second.billed], [Some(Duration::from_secs(3)); 2]);
        assert_eq!((first.cold_start, second.cold_start), (Some(true), Some(false)));
        assert_eq!(second.id, "a#1");
    }

    #[test]
    fn a_crash_is_the_failure_of_the_input_that_ran_and_of_no_other() {
        let crash = FunctionError::new(FunctionErrorKind::Crashed, "died")
            .with_trace("falco:input 0a1b2c3d 1\nbad");
        let crashed = || batch(Err(crash.clone()));
        let idempotent = unpack(crashed(), 4, true, Some(1));
        let expected =
            ["deferred Some(2)", "function crashed", "deferred Some(2)", "deferred Some(2)"];
        assert_eq!(kinds(&idempotent), expected);
        let named = idempotent[1].answer.as_ref().unwrap().outcome.as_ref().unwrap_err();
        assert_eq!(named.trace.as_deref(), Some("bad"));
        let once = unpack(crashed(), 3, false, Some(1));
        assert_eq!(kinds(&once), ["lost None", "function crashed", "deferred Some(1)"]);
        assert!(once[0].answer.as_ref().unwrap_err().may_have_run());
        assert_eq!(
            kinds(&unpack(crashed(), 2, true, None)),
            ["deferred Some(1)", "deferred Some(1)"]
        );
        assert_eq!(kinds(&unpack(crashed(), 2, false, None)), ["lost None", "lost None"]);
        assert_eq!(kinds(&unpack(crashed(), 1, true, None)), ["lost None"], "it had no neighbours");
    }

    #[test]
    fn an_input_whose_batch_ran_out_of_time_gets_all_of_it_by_itself() {
        let timeout = || batch(Err(FunctionError::new(FunctionErrorKind::Timeout, "slow")));
        assert_eq!(kinds(&unpack(timeout(), 2, true, Some(1)))[1], "deferred Some(1)");
        assert_eq!(kinds(&unpack(timeout(), 2, true, Some(0)))[0], "function timed out");
        assert_eq!(kinds(&unpack(timeout(), 2, false, Some(1)))[1], "function timed out");
    }

    #[test]
    fn results_that_are_too_long_together_are_made_again_in_halves_where_that_does_no_harm() {
        let too_long = || batch(Err(FunctionError::new(FunctionErrorKind::BadResult, "long")));
        assert_eq!(kinds(&unpack(too_long(), 4, true, None)), ["deferred Some(2)"; 4]);
        let kind = FunctionErrorKind::BadResult.to_string();
        assert_eq!(kinds(&unpack(too_long(), 4, false, None)), vec![kind.clone(); 4]);
        assert_eq!(kinds(&unpack(too_long(), 1, true, None)), [kind]);
    }

    #[test]
    fn a_function_that_knows_no_batches_is_reported_as_such() {
        let unpacked = unpack(batch(Ok(Payload::empty())), 2, true, None);
        let error = unpacked[1].answer.as_ref().unwrap_err();
        assert!(error.may_have_run() && error.to_string().contains("batches"), "{error}");
    }
}
