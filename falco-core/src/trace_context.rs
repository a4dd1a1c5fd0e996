//! Ids of traces that follow from the identity of what they trace.

use std::fmt;

use crate::id::{InvocationId, RunId, StageName};

/// The ids of a span, as [W3C Trace Context](https://www.w3.org/TR/trace-context/) has them.
///
/// They are computed from the identity of what is traced and are never stored: they are the same in the trace file, in
/// a `traceparent` header, in a log, and after a restart. Every invocation is a trace of its own, with a span for each
/// attempt; a run and its stages are one more.
///
/// # Examples
///
/// ```
/// use falco_core::{Invocation, Payload};
///
/// let first = Invocation::new("run-1", "map", "chunk-7", Payload::empty());
/// let (one, two) = (first.trace_context(), first.next_attempt().trace_context());
/// assert_eq!(one.trace_id(), two.trace_id());
/// assert_ne!(one.span_id(), two.span_id());
/// assert_eq!(one.to_string().len(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".len());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
}

impl TraceContext {
    /// The span of a run.
    pub fn of_run(run: &RunId) -> Self {
        Self::new(&[run.as_str()], &[run.as_str(), "run"])
    }

    /// The span of a stage, in the trace of its run.
    pub fn of_stage(run: &RunId, stage: &StageName) -> Self {
        Self::new(&[run.as_str()], &[run.as_str(), stage.as_str()])
    }

    /// The span of an attempt, in the trace of its invocation.
    pub fn of_attempt(run: &RunId, stage: &StageName, id: &InvocationId, attempt: u32) -> Self {
        let invocation = [run.as_str(), stage.as_str(), id.as_str()];
        let attempt = attempt.to_string();
        let [run, stage, id] = invocation;
        Self::new(&invocation, &[run, stage, id, &attempt])
    }

    /// The span of a call within an attempt that the provider did not accept, so that its function never saw ids.
    pub fn of_call(
        run: &RunId,
        stage: &StageName,
        id: &InvocationId,
        attempt: u32,
        call: u32,
    ) -> Self {
        let invocation = [run.as_str(), stage.as_str(), id.as_str()];
        let (attempt, call) = (attempt.to_string(), call.to_string());
        let [run, stage, id] = invocation;
        Self::new(&invocation, &[run, stage, id, &attempt, &call])
    }

    fn new(trace: &[&str], span: &[&str]) -> Self {
        // Zero is not a valid id.
        Self { trace_id: hash(trace).max(1), span_id: (hash(span) as u64).max(1) }
    }

    /// The id of the trace.
    pub fn trace_id(&self) -> u128 {
        self.trace_id
    }

    /// The id of the span.
    pub fn span_id(&self) -> u64 {
        self.span_id
    }

    /// Whether the trace belongs to a sample of this ratio, from 0 to 1. A larger sample holds every trace of a smaller
    /// one.
    pub fn is_sampled(&self, ratio: f64) -> bool {
        // As OpenTelemetry has it: by the 56 low bits.
        let bits = (self.trace_id & ((1 << 56) - 1)) as f64;
        bits < ratio * (1_u64 << 56) as f64
    }

    /// The value of a `traceparent` header.
    pub fn traceparent(&self, sampled: bool) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(sampled))
    }
}

/// The value of a `traceparent` header of a trace that is sampled.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.traceparent(true))
    }
}

/// FNV-1a of 128 bits over the parts, with a NUL between them, and murmur3's finaliser: FNV alone is uneven in its high
/// bits, and ids that count up would be sampled in clumps.
fn hash(parts: &[&str]) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let mut hash = BASIS;
    for (at, part) in parts.iter().enumerate() {
        let separator = if at == 0 { &[][..] } else { &[0][..] };
        for byte in separator.iter().chain(part.as_bytes()) {
            hash = (hash ^ u128::from(*byte)).wrapping_mul(PRIME);
        }
    }
    finalise((hash >> 64) as u64, hash as u64)
}

fn finalise(high: u64, low: u64) -> u128 {
    let mix = |mut bits: u64| {
        bits = (bits ^ (bits >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        bits = (bits ^ (bits >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        bits ^ (bits >> 33)
    };
    let high = high.wrapping_add(low);
    let low = low.wrapping_add(high);
    let (high, low) = (mix(high), mix(low));
    let high = high.wrapping_add(low);
    let low = low.wrapping_add(high);
    (u128::from(high) << 64) | u128::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(id: &str, attempt: u32) -> TraceContext {
        TraceContext::of_attempt(&"run".into(), &"stage".into(), &id.into(), attempt)
    }

    #[test]
    fn ids_stay_the_same_from_release_to_release() {
        assert_eq!(
            of("1", 1).to_string(),
            "00-4fc9ceeadec0dee4215c665b276ab9b5-70da82735da95337-01"
        );
    }

    #[test]
    fn parts_that_are_divided_elsewhere_have_another_hash() {
        let shifted = TraceContext::of_attempt(&"runs".into(), &"tage".into(), &"1".into(), 1);
        assert_ne!(of("1", 1).trace_id(), shifted.trace_id());
    }

    #[test]
    fn a_call_that_was_refused_has_a_span_of_its_own_in_the_same_trace() {
        let refused = TraceContext::of_call(&"run".into(), &"stage".into(), &"1".into(), 1, 1);
        assert_eq!(refused.trace_id(), of("1", 1).trace_id());
        assert_ne!(refused.span_id(), of("1", 1).span_id());
    }

    #[test]
    fn a_stage_shares_the_trace_of_its_run_and_an_invocation_has_its_own() {
        let (run, stage) = ("run".into(), "stage".into());
        let (of_run, of_stage) = (TraceContext::of_run(&run), TraceContext::of_stage(&run, &stage));
        assert_eq!(of_run.trace_id(), of_stage.trace_id());
        assert_ne!(of_run.span_id(), of_stage.span_id());
        assert_ne!(of_run.trace_id(), of("1", 1).trace_id());
    }

    #[test]
    fn ids_that_count_up_are_sampled_evenly_and_a_larger_sample_holds_the_smaller() {
        let contexts: Vec<_> = (0..10_000).map(|n| of(&n.to_string(), 1)).collect();
        let tenths = contexts
            .chunks(1_000)
            .map(|some| some.iter().filter(|context| context.is_sampled(0.1)).count());
        for sampled in tenths {
            assert!((60..=140).contains(&sampled), "{sampled} of 1,000");
        }
        for context in contexts {
            assert!(context.is_sampled(1.0) && !context.is_sampled(0.0));
            assert!(context.is_sampled(0.2) || !context.is_sampled(0.1));
        }
    }
}
