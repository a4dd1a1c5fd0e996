//! Arguments that several queries have.

use falco_function::data::{Groups, Input, Output};
use serde::Deserialize;

/// The argument of a scan.
#[derive(Debug, Deserialize)]
pub(crate) struct Scan {
    pub(crate) input: Input,
    /// The header of the CSV file that the split belongs to.
    pub(crate) header: Option<String>,
}

/// The argument of a scan whose rows are exchanged.
#[derive(Debug, Deserialize)]
pub(crate) struct Split {
    pub(crate) input: Input,
    /// The header of the CSV file that the split belongs to.
    pub(crate) header: Option<String>,
    pub(crate) out: Output,
}

/// The argument of the join of customers and orders.
#[derive(Debug, Deserialize)]
pub(crate) struct CustomersAndOrders {
    pub(crate) customers: Groups,
    pub(crate) orders: Groups,
    pub(crate) out: Output,
}

/// The argument of the join of orders and lines.
#[derive(Debug, Deserialize)]
pub(crate) struct PlacedAndLines {
    pub(crate) placed: Groups,
    pub(crate) lines: Groups,
}
