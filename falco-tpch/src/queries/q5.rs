//! Query 5, revenue of local suppliers: small tables handed to every scan, and two exchanges.

use std::collections::BTreeMap;

use falco_function::data::{Input, Output, Written};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::arguments::{CustomersAndOrders, PlacedAndLines, Split};
use crate::answer::{Answer, Units, days};
use crate::failure::ScanError;
use crate::records::{KeyMap, Records, Wrote, each_record, mapped};
use crate::scan::each_row_group;

/// The argument of the first stage: three small tables.
#[derive(Debug, Deserialize)]
pub(crate) struct Tables {
    region: Input,
    nation: Input,
    supplier: Input,
    out: Output,
}

/// The nations of the region, and an object with their suppliers: 8 bytes each for the key and the nation.
#[derive(Debug, Serialize)]
pub(crate) struct Dimensions {
    nations: BTreeMap<i64, String>,
    suppliers: Written,
}

/// The part of [`Dimensions`] that scans get.
#[derive(Debug, Deserialize)]
struct Side {
    nations: BTreeMap<i64, String>,
    suppliers: Input,
}

/// The argument of a scan that needs the small tables.
#[derive(Debug, Deserialize)]
pub(crate) struct SplitAndSide {
    input: Input,
    /// The header of the CSV file that the split belongs to.
    header: Option<String>,
    side: [Side; 1],
    out: Output,
}

/// Revenue of some partitions, by nation.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Revenues {
    revenues: BTreeMap<i64, Units>,
}

/// The argument of the last stage.
#[derive(Debug, Deserialize)]
pub(crate) struct All {
    dimensions: [Names; 1],
    join: Vec<Revenues>,
}

#[derive(Debug, Deserialize)]
struct Names {
    nations: BTreeMap<i64, String>,
}

/// Takes the nations of Asia, and the suppliers in them.
pub(crate) fn dimensions(
    Tables { region, nation, supplier, mut out }: Tables,
) -> Result<Dimensions, ScanError> {
    let mut regions = KeyMap::<()>::default();
    each_row_group(&region, None, &["r_regionkey", "r_name"], |group| {
        let names = group.codes("r_name")?;
        let wanted = names.map(|name| name == "ASIA");
        let rows = group.int64("r_regionkey")?.into_iter().zip(&names.codes);
        regions.extend(rows.filter(|(_, code)| wanted[**code as usize]).map(|(key, _)| (key, ())));
        Ok(())
    })?;
    let mut nations = BTreeMap::new();
    each_row_group(&nation, None, &["n_nationkey", "n_name", "n_regionkey"], |group| {
        let (keys, names) = (group.int64("n_nationkey")?, group.codes("n_name")?);
        for (row, region) in group.int64("n_regionkey")?.iter().enumerate() {
            if regions.contains_key(region) {
                nations.insert(keys[row], names.texts[names.codes[row] as usize].clone());
            }
        }
        Ok(())
    })?;
    each_row_group(&supplier, None, &["s_suppkey", "s_nationkey"], |group| {
        let keys = group.int64("s_suppkey")?;
        for (key, nation) in keys.iter().zip(&group.int64("s_nationkey")?) {
            if nations.contains_key(nation) {
                out.write(&key.to_le_bytes())?;
                out.write(&nation.to_le_bytes())?;
            }
        }
        Ok(())
    })?;
    Ok(Dimensions { nations, suppliers: out.close()? })
}

/// Takes the customers of the region: key and nation.
pub(crate) fn customers(argument: SplitAndSide) -> Result<Wrote, ScanError> {
    let [Side { nations, .. }] = argument.side;
    let mut out = Records::<2>::new(argument.out)?;
    each_row_group(
        &argument.input,
        argument.header.as_deref(),
        &["c_custkey", "c_nationkey"],
        |group| {
            let keys = group.int64("c_custkey")?;
            for (key, nation) in keys.into_iter().zip(group.int64("c_nationkey")?) {
                if nations.contains_key(&nation) {
                    out.add(key, [key, nation])?;
                }
            }
            Ok(())
        },
    )?;
    Ok(out.close()?)
}

/// Takes the orders of the year: customer and order, in the partition of the customer.
pub(crate) fn orders(Split { input, header, out }: Split) -> Result<Wrote, ScanError> {
    let (from, to) = (const { days(1994, 1, 1) }, const { days(1995, 1, 1) });
    let mut out = Records::<2>::new(out)?;
    each_row_group(
        &input,
        header.as_deref(),
        &["o_orderdate", "o_custkey", "o_orderkey"],
        |group| {
            let (dates, customers) = (group.int32("o_orderdate")?, group.int64("o_custkey")?);
            let keys = group.int64("o_orderkey")?;
            for row in (0..group.rows()).filter(|row| (from..to).contains(&dates[*row])) {
                out.add(customers[row], [customers[row], keys[row]])?;
            }
            Ok(())
        },
    )?;
    Ok(out.close()?)
}

/// Joins orders with their customers: order and nation, in the partition of the order.
pub(crate) fn placed(argument: CustomersAndOrders) -> Result<Wrote, ScanError> {
    let nations = mapped(&argument.customers, |[customer, nation]| (customer, nation))?;
    let mut out = Records::<2>::new(argument.out)?;
    each_record(&argument.orders, |[customer, order]| {
        if let Some(nation) = nations.get(&customer) {
            out.add(order, [order, *nation])?;
        }
        Ok(())
    })?;
    Ok(out.close()?)
}

const LINES: [&str; 4] = ["l_orderkey", "l_suppkey", "l_extendedprice", "l_discount"];

/// Takes the lines of suppliers in the region: order, nation and revenue.
pub(crate) fn lines(argument: SplitAndSide) -> Result<Wrote, ScanError> {
    let [Side { suppliers, .. }] = argument.side;
    let number = |bytes: &[u8]| bytes.try_into().map(i64::from_le_bytes).unwrap_or_default();
    let suppliers = suppliers.read()?;
    let suppliers = suppliers.chunks_exact(16).map(|it| (number(&it[..8]), number(&it[8..])));
    let nations: KeyMap<i64> = suppliers.collect();
    let mut out = Records::<3>::new(argument.out)?;
    each_row_group(&argument.input, argument.header.as_deref(), &LINES, |group| {
        let (keys, suppliers) = (group.int64(LINES[0])?, group.int64(LINES[1])?);
        let (prices, discounts) = (group.int64(LINES[2])?, group.int64(LINES[3])?);
        for row in 0..group.rows() {
            if let Some(nation) = nations.get(&suppliers[row]) {
                let revenue = prices[row] * (100 - discounts[row]);
                out.add(keys[row], [keys[row], *nation, revenue])?;
            }
        }
        Ok(())
    })?;
    Ok(out.close()?)
}

/// Joins lines with orders of customers of the supplier's nation.
pub(crate) fn join(
    PlacedAndLines { placed, lines }: PlacedAndLines,
) -> Result<Revenues, ScanError> {
    let nations = mapped(&placed, |[order, nation]| (order, nation))?;
    let mut revenues = BTreeMap::<i64, Units>::new();
    each_record(&lines, |[order, nation, revenue]| {
        if nations.get(&order) == Some(&nation) {
            *revenues.entry(nation).or_default() += Units(revenue.into());
        }
        Ok(())
    })?;
    Ok(Revenues { revenues })
}

/// Adds the revenues up, and names the nations.
pub(crate) fn answer(
    All { dimensions: [Names { nations }], join }: All,
) -> Result<Answer, ScanError> {
    let mut sums = BTreeMap::<i64, Units>::new();
    for (nation, revenue) in join.into_iter().flat_map(|partition| partition.revenues) {
        *sums.entry(nation).or_default() += revenue;
    }
    let mut rows: Vec<(i64, Units)> = sums.into_iter().collect();
    rows.sort_by(|(_, one), (_, other)| other.cmp(one));
    let name = |nation| nations.get(&nation).cloned().unwrap_or_default();
    let rows = rows.into_iter().map(|(nation, sum)| vec![json!(name(nation)), sum.decimal(4)]);
    Ok(Answer::new(&["n_name", "revenue"], rows.collect()))
}
