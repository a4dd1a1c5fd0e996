//! All calls as columns of bytes: start, duration, line, stage, kind.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::collected::Collected;

/// Times are counted in units of 10 µs, so that 32 bits reach for twelve hours.
const UNIT: i64 = 10;

/// Twelve planes of one byte a call, in the order of the starts, deflated: four of the time since the start before, four
/// of the duration, two of the line, one of the stage and one of the kind.
pub(super) fn write(all: &Collected, lanes: &[u16]) -> Vec<u8> {
    let mut order: Vec<usize> = (0..all.calls.len()).collect();
    order.sort_by_key(|index| all.calls[*index].sent);
    let count = order.len();
    let mut planes = vec![0_u8; 12 * count];
    let mut before = 0;
    for (place, index) in order.into_iter().enumerate() {
        let call = &all.calls[index];
        let start = (call.sent.0.max(0) / UNIT).max(before);
        let delta = u32::try_from(start - before).unwrap_or(u32::MAX);
        before += i64::from(delta);
        let took = u32::try_from(call.done.since(call.sent).0 / UNIT).unwrap_or(u32::MAX);
        let mut put = |plane: usize, bytes: &[u8]| {
            for (offset, byte) in bytes.iter().enumerate() {
                planes[(plane + offset) * count + place] = *byte;
            }
        };
        put(0, &delta.to_le_bytes());
        put(4, &took.to_le_bytes());
        put(8, &lanes.get(index).copied().unwrap_or_default().to_le_bytes());
        put(10, &[u8::try_from(call.stage).unwrap_or(u8::MAX), call.kind]);
    }
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(&planes);
    encoder.finish().unwrap_or_default()
}
