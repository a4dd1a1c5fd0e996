//! The tables as CSV, with a header.

use std::fmt::{Display, Write};

use tpchgen::csv::{CustomerCsv, LineItemCsv, NationCsv, OrderCsv, RegionCsv, SupplierCsv};
use tpchgen::distribution::Distributions;
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, RegionGenerator,
    SupplierGenerator,
};
use tpchgen::text::TextPool;

use crate::tables::{Part, Table};

/// The content of one file.
pub(crate) fn write(table: Table, part: Part, pool: &TextPool) -> Vec<u8> {
    let words = Distributions::static_default();
    let (scale, number, files) = (part.scale, part.number + 1, part.files);
    match table {
        Table::Region => {
            let rows = RegionGenerator::new_with_distributions_and_text_pool(words, pool);
            file(RegionCsv::header(), rows.into_iter().map(RegionCsv::new))
        }
        Table::Nation => {
            let rows = NationGenerator::new_with_distributions_and_text_pool(words, pool);
            file(NationCsv::header(), rows.into_iter().map(NationCsv::new))
        }
        Table::Supplier => {
            let rows = SupplierGenerator::new_with_distributions_and_text_pool(
                scale, number, files, words, pool,
            );
            file(SupplierCsv::header(), rows.into_iter().map(SupplierCsv::new))
        }
        Table::Customer => {
            let rows = CustomerGenerator::new_with_distributions_and_text_pool(
                scale, number, files, words, pool,
            );
            file(CustomerCsv::header(), rows.into_iter().map(CustomerCsv::new))
        }
        Table::Orders => {
            let rows = OrderGenerator::new_with_distributions_and_text_pool(
                scale, number, files, words, pool,
            );
            file(OrderCsv::header(), rows.into_iter().map(OrderCsv::new))
        }
        Table::Lineitem => {
            let rows = LineItemGenerator::new_with_distributions_and_text_pool(
                scale, number, files, words, pool,
            );
            file(LineItemCsv::header(), rows.into_iter().map(LineItemCsv::new))
        }
    }
}

fn file(header: &str, rows: impl Iterator<Item = impl Display>) -> Vec<u8> {
    let mut text = format!("{header}\n");
    for row in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{row}");
    }
    text.into_bytes()
}
