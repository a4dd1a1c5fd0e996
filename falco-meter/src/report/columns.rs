//! All calls as columns of bytes, line by line: duration, gap, stage, kind.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use falco_trace::Micros;

use super::collected::Collected;
use super::lanes::Lanes;

/// Times are counted in ticks of 10 µs.
const TICK: i64 = 10;
/// The bytes of a duration's code, and of a gap.
const DURATION: usize = 2;
const GAP: usize = 5;
/// The bytes of a call.
const BYTES: usize = DURATION + GAP + 2;

/// The calls of each line in four planes of a byte a line, and then in nine planes of a byte a call, deflated: two of the
/// duration's [code](code), five of the gap since the call before on the line, one of the stage and one of the kind.
///
/// Calls stand in the order of their lines, so that a call says nothing of its line, and a gap is small where instances are
/// busy. Gaps are counted in units that follow from the call's own duration: of both, a 256th part of the call is kept.
///
/// On the line of an instance a call begins when it was taken out of the provider's queue, as far as that is known.
pub(super) fn write(all: &Collected, lanes: &Lanes) -> Vec<u8> {
    let start = |index: usize| {
        let call = &all.calls[index];
        let queue = if lanes.by_instance { i64::from(call.parts[0]) } else { 0 };
        Micros((call.sent.0 + queue).min(call.done.0).max(call.sent.0))
    };
    let lane = |index: usize| lanes.of_calls.get(index).copied().unwrap_or_default();
    let mut order: Vec<usize> = (0..all.calls.len()).collect();
    order.sort_by_key(|index| (lane(*index), start(*index)));
    let (count, lines) = (order.len(), lanes.count);
    let mut planes = vec![0_u8; 4 * lines + BYTES * count];
    let (of_lines, of_calls) = planes.split_at_mut(4 * lines);
    let mut on_line = vec![0_u32; lines];
    let (mut line, mut ended) = (u32::MAX, 0);
    for (place, index) in order.into_iter().enumerate() {
        if lane(index) != line {
            (line, ended) = (lane(index), 0);
        }
        if let Some(calls) = on_line.get_mut(line as usize) {
            *calls += 1;
        }
        let (call, begun) = (&all.calls[index], start(index));
        let span = Span::new(ended, begun.0 / TICK, call.done.since(begun).0 / TICK);
        ended = span.end(ended);
        let stage = u8::try_from(call.stage).unwrap_or(u8::MAX);
        let duration = span.code.to_le_bytes().into_iter();
        let gap = span.zigzag().to_le_bytes().into_iter().take(GAP);
        for (plane, byte) in duration.chain(gap).chain([stage, call.kind]).enumerate() {
            of_calls[plane * count + place] = byte;
        }
    }
    for (line, calls) in on_line.into_iter().enumerate() {
        for (plane, byte) in calls.to_le_bytes().into_iter().enumerate() {
            of_lines[plane * lines + line] = byte;
        }
    }
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(&planes);
    encoder.finish().unwrap_or_default()
}

/// A call on its line.
#[derive(Clone, Copy, Debug)]
struct Span {
    code: u16,
    /// Units of the call's own precision since the call before has ended, as far as that was kept.
    gap: i64,
}

impl Span {
    fn new(ended: i64, begun: i64, took: i64) -> Self {
        let code = code(took.max(0) as u64);
        let unit = 1 << exponent(code);
        let gap = (begun - ended + (unit >> 1)).div_euclid(unit);
        Self { code, gap }
    }

    fn begin(self, ended: i64) -> i64 {
        ended + (self.gap << exponent(self.code))
    }

    /// When it ends, as a reader sees it.
    fn end(self, ended: i64) -> i64 {
        self.begin(ended) + ticks(self.code)
    }

    /// The gap without a sign: 0, -1, 1, -2, 2 and so on. A gap of more than two months is cut.
    fn zigzag(self) -> u64 {
        (((self.gap << 1) ^ (self.gap >> 63)) as u64).min((1 << (8 * GAP)) - 1)
    }
}

/// A number in floating point: exact up to 511, and with nine binary digits above.
fn code(ticks: u64) -> u16 {
    let exponent = |ticks: u64| (64 - ticks.leading_zeros()).saturating_sub(9);
    let half = (1_u64 << exponent(ticks)) >> 1;
    let rounded = ticks.saturating_add(half).min(1 << 50);
    let shift = exponent(rounded);
    ((shift << 8) as u64 + (rounded >> shift)) as u16
}

fn exponent(code: u16) -> u32 {
    u32::from(code >> 8).saturating_sub(1)
}

fn ticks(code: u16) -> i64 {
    let exponent = exponent(code);
    (i64::from(code) - i64::from(exponent << 8)) << exponent
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_call_is_kept_within_a_256th_part_and_errors_do_not_add_up(
            calls in proptest::collection::vec((0_i64..5_000_000, 0_i64..3_000_000_000), 1..80),
        ) {
            let (mut clock, mut ended) = (0, 0);
            for (gap, took) in calls {
                let begun = clock + gap - 1_000;
                clock = begun + took;
                let span = Span::new(ended, begun, took);
                let allowed = took / 256 + 1;
                prop_assert!((span.begin(ended) - begun).abs() <= allowed, "{:?}", span);
                prop_assert!((ticks(span.code) - took).abs() <= allowed, "{:?}", span);
                let zigzag = span.zigzag();
                prop_assert_eq!((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64), span.gap);
                ended = span.end(ended);
            }
        }

        #[test]
        fn short_times_are_exact(took in 0_u64..512) {
            prop_assert_eq!(ticks(code(took)), took as i64);
        }
    }
}
