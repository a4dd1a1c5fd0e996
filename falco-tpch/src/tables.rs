//! The tables, as Parquet stores them.

use std::fmt::Display;

use parquet::basic::{Compression, ConvertedType, Type as PhysicalType};
use parquet::data_type::{ByteArray, ByteArrayType, Int32Type, Int64Type};
use parquet::errors::Result;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use tpchgen::decimal::TPCHDecimal;
use tpchgen::distribution::Distributions;
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, RegionGenerator,
    SupplierGenerator,
};
use tpchgen::text::TextPool;

/// A table that the queries read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    /// 5 rows.
    Region,
    /// 25 rows.
    Nation,
    /// 10,000 rows at scale 1.
    Supplier,
    /// 150,000 rows at scale 1.
    Customer,
    /// 1,500,000 rows at scale 1.
    Orders,
    /// About 6,000,000 rows at scale 1.
    Lineitem,
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnType {
    /// A whole number of 32 bits.
    Int32,
    /// A day.
    Date,
    /// A whole number of 64 bits.
    Int64,
    /// A number with two digits behind its point.
    Decimal,
    /// Text.
    Text,
}

impl ColumnType {
    /// The type of the column of this name, which only one table has.
    pub(crate) fn of(name: &str) -> Option<Self> {
        Table::ALL.into_iter().find_map(|table| {
            let schema = parse_message_type(table.schema()).ok()?;
            let column = schema.get_fields().iter().find(|field| field.name() == name)?;
            let converted = column.get_basic_info().converted_type();
            Some(match (column.get_physical_type(), converted) {
                (PhysicalType::INT32, ConvertedType::DATE) => Self::Date,
                (PhysicalType::INT32, _) => Self::Int32,
                (PhysicalType::INT64, ConvertedType::DECIMAL) => Self::Decimal,
                (PhysicalType::INT64, _) => Self::Int64,
                _ => Self::Text,
            })
        })
    }
}

/// One of the files of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// The scale factor of the whole table.
    pub(crate) scale: f64,
    /// The number of the file, from 0.
    pub(crate) number: i32,
    /// The number of files.
    pub(crate) files: i32,
    /// The rows of a row group, at most.
    pub(crate) group: usize,
}

impl Table {
    /// All tables.
    pub(crate) const ALL: [Self; 6] =
        [Self::Region, Self::Nation, Self::Supplier, Self::Customer, Self::Orders, Self::Lineitem];

    /// The name in SQL, and of the folder.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Region => "region",
            Self::Nation => "nation",
            Self::Supplier => "supplier",
            Self::Customer => "customer",
            Self::Orders => "orders",
            Self::Lineitem => "lineitem",
        }
    }

    /// The number of files at a scale: about 50 MB each.
    pub(crate) fn files(self, scale: f64) -> i32 {
        match self {
            Self::Region | Self::Nation | Self::Supplier => 1,
            Self::Customer => scale.ceil() as i32,
            Self::Orders | Self::Lineitem => ((4.0 * scale).ceil() as i32).max(2),
        }
    }

    /// The rows of a row group at a scale, so that also small tables have several.
    pub(crate) fn group(self, scale: f64) -> usize {
        ((scale * 1e6) as usize).clamp(1_000, 122_880)
    }

    fn schema(self) -> &'static str {
        match self {
            Self::Region => {
                "message region { required int64 r_regionkey; required binary r_name (UTF8);
                 required binary r_comment (UTF8); }"
            }
            Self::Nation => {
                "message nation { required int64 n_nationkey; required binary n_name (UTF8);
                 required int64 n_regionkey; required binary n_comment (UTF8); }"
            }
            Self::Supplier => {
                "message supplier { required int64 s_suppkey; required binary s_name (UTF8);
                 required binary s_address (UTF8); required int64 s_nationkey; required binary s_phone (UTF8);
                 required int64 s_acctbal (DECIMAL(15,2)); required binary s_comment (UTF8); }"
            }
            Self::Customer => {
                "message customer { required int64 c_custkey; required binary c_name (UTF8);
                 required binary c_address (UTF8); required int64 c_nationkey; required binary c_phone (UTF8);
                 required int64 c_acctbal (DECIMAL(15,2)); required binary c_mktsegment (UTF8);
                 required binary c_comment (UTF8); }"
            }
            Self::Orders => {
                "message orders { required int64 o_orderkey; required int64 o_custkey;
                 required binary o_orderstatus (UTF8); required int64 o_totalprice (DECIMAL(15,2));
                 required int32 o_orderdate (DATE); required binary o_orderpriority (UTF8);
                 required binary o_clerk (UTF8); required int32 o_shippriority; required binary o_comment (UTF8); }"
            }
            Self::Lineitem => {
                "message lineitem { required int64 l_orderkey; required int64 l_partkey; required int64 l_suppkey;
                 required int32 l_linenumber; required int64 l_quantity (DECIMAL(15,2));
                 required int64 l_extendedprice (DECIMAL(15,2)); required int64 l_discount (DECIMAL(15,2));
                 required int64 l_tax (DECIMAL(15,2)); required binary l_returnflag (UTF8);
                 required binary l_linestatus (UTF8); required int32 l_shipdate (DATE);
                 required int32 l_commitdate (DATE); required int32 l_receiptdate (DATE);
                 required binary l_shipinstruct (UTF8); required binary l_shipmode (UTF8);
                 required binary l_comment (UTF8); }"
            }
        }
    }

    /// The content of one file.
    pub(crate) fn write(self, part: Part, pool: &TextPool) -> Result<Vec<u8>> {
        let words = Distributions::static_default();
        let (scale, number, files) = (part.scale, part.number + 1, part.files);
        match self {
            Self::Region => {
                let rows = RegionGenerator::new_with_distributions_and_text_pool(words, pool);
                self.file(part, rows, |row, to| {
                    to.int64(row.r_regionkey).text(row.r_name).text(row.r_comment);
                })
            }
            Self::Nation => {
                let rows = NationGenerator::new_with_distributions_and_text_pool(words, pool);
                self.file(part, rows, |row, to| {
                    to.int64(row.n_nationkey).text(row.n_name);
                    to.int64(row.n_regionkey).text(row.n_comment);
                })
            }
            Self::Supplier => {
                let rows = SupplierGenerator::new_with_distributions_and_text_pool(
                    scale, number, files, words, pool,
                );
                self.file(part, rows, |row, to| {
                    to.int64(row.s_suppkey).text(row.s_name).text(row.s_address);
                    to.int64(row.s_nationkey).text(row.s_phone).money(row.s_acctbal);
                    to.text(row.s_comment);
                })
            }
            Self::Customer => {
                let rows = CustomerGenerator::new_with_distributions_and_text_pool(
                    scale, number, files, words, pool,
                );
                self.file(part, rows, |row, to| {
                    to.int64(row.c_custkey).text(row.c_name).text(row.c_address);
                    to.int64(row.c_nationkey).text(row.c_phone).money(row.c_acctbal);
                    to.text(row.c_mktsegment).text(row.c_comment);
                })
            }
            Self::Orders => {
                let rows = OrderGenerator::new_with_distributions_and_text_pool(
                    scale, number, files, words, pool,
                );
                self.file(part, rows, |row, to| {
                    to.int64(row.o_orderkey).int64(row.o_custkey).text(row.o_orderstatus);
                    to.money(row.o_totalprice).int32(row.o_orderdate.to_unix_epoch());
                    to.text(row.o_orderpriority).text(row.o_clerk);
                    to.int32(row.o_shippriority).text(row.o_comment);
                })
            }
            Self::Lineitem => {
                let rows = LineItemGenerator::new_with_distributions_and_text_pool(
                    scale, number, files, words, pool,
                );
                self.file(part, rows, |row, to| {
                    to.int64(row.l_orderkey).int64(row.l_partkey).int64(row.l_suppkey);
                    // Decimals have two digits behind the point.
                    to.int32(row.l_linenumber).int64(row.l_quantity * 100);
                    to.money(row.l_extendedprice).money(row.l_discount).money(row.l_tax);
                    to.text(row.l_returnflag).text(row.l_linestatus);
                    to.int32(row.l_shipdate.to_unix_epoch());
                    to.int32(row.l_commitdate.to_unix_epoch());
                    to.int32(row.l_receiptdate.to_unix_epoch());
                    to.text(row.l_shipinstruct).text(row.l_shipmode).text(row.l_comment);
                })
            }
        }
    }

    fn file<R>(
        self,
        part: Part,
        rows: impl IntoIterator<Item = R>,
        mut cells: impl FnMut(R, &mut Row<'_>),
    ) -> Result<Vec<u8>> {
        let schema = parse_message_type(self.schema())?;
        let mut columns: Vec<Column> = schema
            .get_fields()
            .iter()
            .map(|field| match field.get_physical_type() {
                PhysicalType::INT32 => Column::Int32(Vec::new()),
                PhysicalType::INT64 => Column::Int64(Vec::new()),
                _ => Column::Text(Vec::new()),
            })
            .collect();
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let mut file = SerializedFileWriter::new(Vec::new(), schema.into(), properties.into())?;
        let mut rows = rows.into_iter();
        loop {
            let mut count = 0;
            for row in rows.by_ref().take(part.group) {
                cells(row, &mut Row { columns: &mut columns, at: 0 });
                count += 1;
            }
            if count > 0 {
                write_group(&mut file, &mut columns)?;
            }
            if count < part.group {
                return file.into_inner();
            }
        }
    }
}

fn write_group(file: &mut SerializedFileWriter<Vec<u8>>, columns: &mut [Column]) -> Result<()> {
    let mut group = file.next_row_group()?;
    for column in columns {
        let Some(mut writer) = group.next_column()? else { break };
        match column {
            Column::Int32(values) => {
                writer.typed::<Int32Type>().write_batch(values, None, None)?;
                values.clear();
            }
            Column::Int64(values) => {
                writer.typed::<Int64Type>().write_batch(values, None, None)?;
                values.clear();
            }
            Column::Text(values) => {
                writer.typed::<ByteArrayType>().write_batch(values, None, None)?;
                values.clear();
            }
        }
        writer.close()?;
    }
    group.close().map(drop)
}

enum Column {
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Text(Vec<ByteArray>),
}

/// A row that is filled from the left; what does not fit its column is left out, and the writer then refuses the row group.
struct Row<'a> {
    columns: &'a mut [Column],
    at: usize,
}

impl Row<'_> {
    fn int32(&mut self, value: i32) -> &mut Self {
        if let Some(Column::Int32(values)) = self.next() {
            values.push(value);
        }
        self
    }

    fn int64(&mut self, value: i64) -> &mut Self {
        if let Some(Column::Int64(values)) = self.next() {
            values.push(value);
        }
        self
    }

    fn money(&mut self, value: TPCHDecimal) -> &mut Self {
        self.int64(value.into_inner())
    }

    fn text(&mut self, value: impl Display) -> &mut Self {
        if let Some(Column::Text(values)) = self.next() {
            values.push(value.to_string().into_bytes().into());
        }
        self
    }

    fn next(&mut self) -> Option<&mut Column> {
        self.at += 1;
        self.columns.get_mut(self.at - 1)
    }
}
