//! All calls as columns of bytes: start, duration, line, stage, kind.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use falco_trace::Micros;

use super::collected::Collected;
use super::lanes::Lanes;

/// Times are counted in units of 10 µs, so that 32 bits reach for twelve hours.
const UNIT: i64 = 10;

/// Twelve planes of one byte a call, in the order of the starts, deflated: four of the time since the start before, four
/// of the duration, two of the line, one of the stage and one of the kind.
///
/// On the line of an instance a call begins when it was taken out of the provider's queue, as far as that is known.
pub(super) fn write(all: &Collected, lanes: &Lanes) -> Vec<u8> {
    let start = |index: usize| {
        let call = &all.calls[index];
        let queue = if lanes.by_instance { i64::from(call.parts[0]) } else { 0 };
        Micros((call.sent.0 + queue).min(call.done.0).max(call.sent.0))
    };
    let mut order: Vec<usize> = (0..all.calls.len()).collect();
    order.sort_by_key(|index| start(*index));
    let count = order.len();
    let mut planes = vec![0_u8; 12 * count];
    let mut before = 0;
    for (place, index) in order.into_iter().enumerate() {
        let call = &all.calls[index];
        let begun = start(index);
        let delta = (begun.0.max(0) / UNIT - before).max(0);
        let delta = u32::try_from(delta).unwrap_or(u32::MAX);
        before += i64::from(delta);
        let took = u32::try_from(call.done.since(begun).0 / UNIT).unwrap_or(u32::MAX);
        let mut put = |plane: usize, bytes: &[u8]| {
            for (offset, byte) in bytes.iter().enumerate() {
                planes[(plane + offset) * count + place] = *byte;
            }
        };
        put(0, &delta.to_le_bytes());
        put(4, &took.to_le_bytes());
        put(8, &lanes.of_calls.get(index).copied().unwrap_or_default().to_le_bytes());
        put(10, &[u8::try_from(call.stage).unwrap_or(u8::MAX), call.kind]);
    }
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(&planes);
    encoder.finish().unwrap_or_default()
}
