//! Query 3, unshipped orders of the highest value: two joins, one after the other, and the ten greatest.

use falco_executors::typed::List;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::arguments::{CustomersAndOrders, PlacedAndLines, Split};
use crate::answer::{Answer, Units, date, days};
use crate::failure::ScanError;
use crate::records::{Records, Wrote, each_record, mapped};
use crate::scan::each_row_group;

/// An order in the answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    key: i64,
    revenue: Units,
    date: i32,
    priority: i64,
}

/// The greatest orders of some partitions.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Greatest {
    orders: Vec<Order>,
}

/// The rows of the answer.
const TOP: usize = 10;

const DATE: i32 = days(1995, 3, 15);

/// Takes the customers of one market segment: their keys.
pub(crate) fn customers(Split { input, header, out }: Split) -> Result<Wrote, ScanError> {
    let mut out = Records::<1>::new(out)?;
    each_row_group(&input, header.as_deref(), &["c_custkey", "c_mktsegment"], |group| {
        let (keys, segments) = (group.int64("c_custkey")?, group.codes("c_mktsegment")?);
        let wanted = segments.map(|text| text == "BUILDING");
        for (key, code) in keys.iter().zip(&segments.codes) {
            if wanted[*code as usize] {
                out.add(*key, [*key])?;
            }
        }
        Ok(())
    })?;
    Ok(out.close()?)
}

const ORDERS: [&str; 4] = ["o_orderdate", "o_custkey", "o_orderkey", "o_shippriority"];

/// Takes the orders before the date: customer, order, date and priority, in the partition of the customer.
pub(crate) fn orders(Split { input, header, out }: Split) -> Result<Wrote, ScanError> {
    let mut out = Records::<4>::new(out)?;
    each_row_group(&input, header.as_deref(), &ORDERS, |group| {
        let (dates, customers) = (group.int32(ORDERS[0])?, group.int64(ORDERS[1])?);
        let (keys, priorities) = (group.int64(ORDERS[2])?, group.int32(ORDERS[3])?);
        for row in (0..group.rows()).filter(|row| dates[*row] < DATE) {
            let rest = [keys[row], dates[row].into(), priorities[row].into()];
            out.add(customers[row], [customers[row], rest[0], rest[1], rest[2]])?;
        }
        Ok(())
    })?;
    Ok(out.close()?)
}

/// Joins orders with their customers: order, date and priority, in the partition of the order.
pub(crate) fn placed(argument: CustomersAndOrders) -> Result<Wrote, ScanError> {
    let known = mapped(&argument.customers, |[customer]| (customer, ()))?;
    let mut out = Records::<3>::new(argument.out)?;
    each_record(&argument.orders, |[customer, order, date, priority]| {
        if known.contains_key(&customer) {
            out.add(order, [order, date, priority])?;
        }
        Ok(())
    })?;
    Ok(out.close()?)
}

const LINES: [&str; 4] = ["l_shipdate", "l_orderkey", "l_extendedprice", "l_discount"];

/// Takes the lines that were shipped after the date: order and revenue. Lines of an order are neighbours, and are added up.
pub(crate) fn lines(Split { input, header, out }: Split) -> Result<Wrote, ScanError> {
    let mut out = Records::<2>::new(out)?;
    each_row_group(&input, header.as_deref(), &LINES, |group| {
        let (dates, keys) = (group.int32(LINES[0])?, group.int64(LINES[1])?);
        let (prices, discounts) = (group.int64(LINES[2])?, group.int64(LINES[3])?);
        let mut sum: Option<[i64; 2]> = None;
        for row in (0..group.rows()).filter(|row| dates[*row] > DATE) {
            let revenue = prices[row] * (100 - discounts[row]);
            match &mut sum {
                Some([key, sum]) if *key == keys[row] => *sum += revenue,
                _ => {
                    if let Some(done) = sum.replace([keys[row], revenue]) {
                        out.add(done[0], done)?;
                    }
                }
            }
        }
        sum.map_or(Ok(()), |last| Ok(out.add(last[0], last)?))
    })?;
    Ok(out.close()?)
}

/// Joins lines with their orders, and takes the greatest.
pub(crate) fn join(
    PlacedAndLines { placed, lines }: PlacedAndLines,
) -> Result<Greatest, ScanError> {
    let without_lines =
        |[order, date, priority]: [i64; 3]| (order, (date as i32, priority, None::<i128>));
    let mut orders = mapped(&placed, without_lines)?;
    each_record(&lines, |[order, revenue]| {
        if let Some((_, _, sum)) = orders.get_mut(&order) {
            *sum = Some(sum.unwrap_or(0) + i128::from(revenue));
        }
        Ok(())
    })?;
    let orders = orders.into_iter().filter_map(|(key, (date, priority, revenue))| {
        Some(Order { key, revenue: Units(revenue?), date, priority })
    });
    Ok(Greatest { orders: greatest(orders.collect()) })
}

fn greatest(mut orders: Vec<Order>) -> Vec<Order> {
    orders.sort_by(|one, other| {
        let by_revenue = other.revenue.cmp(&one.revenue);
        by_revenue.then(one.date.cmp(&other.date)).then(one.key.cmp(&other.key))
    });
    orders.truncate(TOP);
    orders
}

/// Takes the greatest of all partitions.
pub(crate) fn answer(partitions: List<Greatest>) -> Result<Answer, ScanError> {
    let all = partitions.results.into_iter().flat_map(|partition| partition.orders);
    let rows = greatest(all.collect()).into_iter().map(|order| {
        vec![
            json!(order.key),
            order.revenue.decimal(4),
            json!(date(order.date)),
            json!(order.priority),
        ]
    });
    let columns = ["l_orderkey", "revenue", "o_orderdate", "o_shippriority"];
    Ok(Answer::new(&columns, rows.collect()))
}
