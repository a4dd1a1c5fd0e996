//! Query 12, ship modes and order priorities: two tables joined by an exchange.

use falco_executors::typed::List;
use falco_function::data::Groups;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::arguments::Split;
use crate::answer::{Answer, days};
use crate::failure::ScanError;
use crate::records::{KeyMap, Records, Wrote, each_record};
use crate::scan::each_row_group;

/// The argument of the join: what both scans wrote for the partitions of the call.
#[derive(Debug, Deserialize)]
pub(crate) struct Both {
    lines: Groups,
    orders: Groups,
}

const MODES: [&str; 2] = ["MAIL", "SHIP"];

/// Counts of a ship mode.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Count {
    high: u64,
    low: u64,
}

/// The counts of some partitions, by ship mode.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Counts {
    counts: [Count; MODES.len()],
}

const LINES: [&str; 5] =
    ["l_receiptdate", "l_commitdate", "l_shipdate", "l_shipmode", "l_orderkey"];

/// Takes the rows of `lineitem` that were late: key of the order, and number of the ship mode.
pub(crate) fn lines(Split { input, header, out }: Split) -> Result<Wrote, ScanError> {
    let (from, to) = (const { days(1994, 1, 1) }, const { days(1995, 1, 1) });
    let mut out = Records::<2>::new(out)?;
    each_row_group(&input, header.as_deref(), &LINES, |group| {
        let (received, committed) = (group.int32(LINES[0])?, group.int32(LINES[1])?);
        let (shipped, modes) = (group.int32(LINES[2])?, group.codes(LINES[3])?);
        let keys = group.int64(LINES[4])?;
        let wanted = modes.map(|text| MODES.iter().position(|mode| *mode == text));
        for row in 0..group.rows() {
            let is_late = (from..to).contains(&received[row])
                & (committed[row] < received[row])
                & (shipped[row] < committed[row]);
            if is_late && let Some(mode) = wanted[modes.codes[row] as usize] {
                out.add(keys[row], [keys[row], mode as i64])?;
            }
        }
        Ok(())
    })?;
    Ok(out.close()?)
}

/// Takes all rows of `orders`: twice the key, and one more where the priority is high.
pub(crate) fn orders(Split { input, header, out }: Split) -> Result<Wrote, ScanError> {
    let mut out = Records::<1>::new(out)?;
    each_row_group(&input, header.as_deref(), &["o_orderkey", "o_orderpriority"], |group| {
        let (keys, priorities) = (group.int64("o_orderkey")?, group.codes("o_orderpriority")?);
        let high = priorities.map(|text| i64::from(matches!(text, "1-URGENT" | "2-HIGH")));
        for (key, code) in keys.iter().zip(&priorities.codes) {
            out.add(*key, [2 * key + high[*code as usize]])?;
        }
        Ok(())
    })?;
    Ok(out.close()?)
}

/// Joins partitions of both tables, and counts.
pub(crate) fn join(Both { lines, orders }: Both) -> Result<Counts, ScanError> {
    let mut late = KeyMap::<[u64; MODES.len()]>::default();
    each_record(&lines, |[key, mode]| {
        late.entry(key).or_default()[mode as usize] += 1;
        Ok(())
    })?;
    let mut counts = Counts::default();
    each_record(&orders, |[key]| {
        if let Some(lines) = late.get(&(key >> 1)) {
            for (count, lines) in counts.counts.iter_mut().zip(lines) {
                *(if key & 1 == 1 { &mut count.high } else { &mut count.low }) += lines;
            }
        }
        Ok(())
    })?;
    Ok(counts)
}

/// Adds the counts up.
pub(crate) fn answer(partitions: List<Counts>) -> Result<Answer, ScanError> {
    let mut rows = Vec::new();
    for (at, mode) in MODES.iter().enumerate() {
        let counts = || partitions.results.iter().map(|partition| partition.counts[at]);
        let high: u64 = counts().map(|count| count.high).sum();
        let low: u64 = counts().map(|count| count.low).sum();
        if high + low > 0 {
            rows.push(vec![json!(mode), json!(high), json!(low)]);
        }
    }
    Ok(Answer::new(&["l_shipmode", "high_line_count", "low_line_count"], rows))
}
