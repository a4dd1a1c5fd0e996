//! Query 6, the change of revenue: a filter and a sum.

use falco_executors::typed::List;
use serde::{Deserialize, Serialize};

use super::arguments::Scan;
use crate::answer::{Answer, Units, days};
use crate::failure::ScanError;
use crate::scan::each_row_group;

/// The sum of a split, in units of 0.0001.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Revenue {
    revenue: Units,
}

const COLUMNS: [&str; 4] = ["l_shipdate", "l_discount", "l_quantity", "l_extendedprice"];

/// Sums up a split of `lineitem`.
pub(crate) fn scan(Scan { input, header }: Scan) -> Result<Revenue, ScanError> {
    let (from, to) = (const { days(1994, 1, 1) }, const { days(1995, 1, 1) });
    let mut revenue = Units::default();
    each_row_group(&input, header.as_deref(), &COLUMNS, |group| {
        let dates = group.int32(COLUMNS[0])?;
        let [discounts, quantities, prices] =
            [group.int64(COLUMNS[1])?, group.int64(COLUMNS[2])?, group.int64(COLUMNS[3])?];
        let rows = dates.iter().zip(&discounts).zip(quantities.iter().zip(&prices));
        let sum = rows.fold(0, |sum, ((date, discount), (quantity, price))| {
            let takes = (from..to).contains(date)
                & (5..=7).contains(discount)
                // Decimals have two digits behind the point.
                & (*quantity < 24_00);
            sum + if takes { price * discount } else { 0 }
        });
        revenue += Units(i128::from(sum));
        Ok(())
    })?;
    Ok(Revenue { revenue })
}

/// Adds the sums up.
pub(crate) fn answer(sums: List<Revenue>) -> Result<Answer, ScanError> {
    let revenue: Units = sums.results.into_iter().map(|sum| sum.revenue).sum();
    Ok(Answer::new(&["revenue"], vec![vec![revenue.decimal(4)]]))
}
