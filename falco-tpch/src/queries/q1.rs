//! Query 1, the pricing summary: a filter, four groups, and eight aggregates.

use std::collections::BTreeMap;

use falco_executors::typed::List;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::arguments::Scan;
use crate::answer::{Answer, Units, days};
use crate::failure::ScanError;
use crate::scan::{RowGroup, each_row_group};

/// The groups of a split, by flag and status with a blank between them.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Groups {
    groups: BTreeMap<String, Sums>,
}

/// The sums of a group; the powers of ten by which they are multiplied follow them.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Sums {
    rows: u64,
    /// 2
    quantity: Units,
    /// 2
    base: Units,
    /// 4
    discounted: Units,
    /// 6
    charge: Units,
    /// 2
    discount: Units,
}

impl std::ops::AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.quantity += other.quantity;
        self.base += other.base;
        self.discounted += other.discounted;
        self.charge += other.charge;
        self.discount += other.discount;
    }
}

/// The sums within a row group: 64 bits hold those of a hundred million rows.
#[derive(Clone, Copy, Default)]
struct Running {
    rows: u64,
    quantity: i64,
    base: i64,
    discounted: i64,
    charge: i64,
    discount: i64,
}

const COLUMNS: [&str; 7] = [
    "l_shipdate",
    "l_returnflag",
    "l_linestatus",
    "l_quantity",
    "l_extendedprice",
    "l_discount",
    "l_tax",
];

/// Groups a split of `lineitem`.
pub(crate) fn scan(Scan { input, header }: Scan) -> Result<Groups, ScanError> {
    let mut found = Groups::default();
    each_row_group(&input, header.as_deref(), &COLUMNS, |group| add(group, &mut found))?;
    Ok(found)
}

fn add(group: &RowGroup, found: &mut Groups) -> Result<(), ScanError> {
    let dates = group.int32(COLUMNS[0])?;
    let (flags, states) = (group.codes(COLUMNS[1])?, group.codes(COLUMNS[2])?);
    let (quantities, prices) = (group.int64(COLUMNS[3])?, group.int64(COLUMNS[4])?);
    let (discounts, taxes) = (group.int64(COLUMNS[5])?, group.int64(COLUMNS[6])?);
    let last = const { days(1998, 12, 1) - 90 };
    let mut sums = vec![Running::default(); flags.texts.len() * states.texts.len()];
    for row in (0..group.rows()).filter(|row| dates[*row] <= last) {
        let at = flags.codes[row] as usize * states.texts.len() + states.codes[row] as usize;
        let sum = &mut sums[at];
        let discounted = prices[row] * (100 - discounts[row]);
        sum.rows += 1;
        sum.quantity += quantities[row];
        sum.base += prices[row];
        sum.discounted += discounted;
        sum.charge += discounted * (100 + taxes[row]);
        sum.discount += discounts[row];
    }
    for (at, sum) in sums.iter().enumerate().filter(|(_, sum)| sum.rows > 0) {
        let (flag, state) = (at / states.texts.len(), at % states.texts.len());
        let name = format!("{} {}", flags.texts[flag], states.texts[state]);
        *found.groups.entry(name).or_default() += Sums {
            rows: sum.rows,
            quantity: Units(sum.quantity.into()),
            base: Units(sum.base.into()),
            discounted: Units(sum.discounted.into()),
            charge: Units(sum.charge.into()),
            discount: Units(sum.discount.into()),
        };
    }
    Ok(())
}

/// Adds the groups up.
pub(crate) fn answer(splits: List<Groups>) -> Result<Answer, ScanError> {
    let mut all = BTreeMap::<String, Sums>::new();
    for (name, sums) in splits.results.into_iter().flat_map(|split| split.groups) {
        *all.entry(name).or_default() += sums;
    }
    let rows = all.into_iter().map(|(name, sums)| {
        let (flag, state) = name.split_once(' ').unwrap_or((&name, ""));
        let average = |sum: Units| sum.0 as f64 / sums.rows as f64 / 100.0;
        vec![
            json!(flag),
            json!(state),
            sums.quantity.decimal(2),
            sums.base.decimal(2),
            sums.discounted.decimal(4),
            sums.charge.decimal(6),
            json!(average(sums.quantity)),
            json!(average(sums.base)),
            json!(average(sums.discount)),
            json!(sums.rows),
        ]
    });
    Ok(Answer::new(&NAMES, rows.collect()))
}

const NAMES: [&str; 10] = [
    "l_returnflag",
    "l_linestatus",
    "sum_qty",
    "sum_base_price",
    "sum_disc_price",
    "sum_charge",
    "avg_qty",
    "avg_price",
    "avg_disc",
    "count_order",
];
