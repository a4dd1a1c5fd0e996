//! The queries by their numbers.

use std::fmt;
use std::str::FromStr;

use falco_core::{Error, Result};

/// A query of TPC-H.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Query {
    /// The pricing summary: one scan, grouped.
    Q1,
    /// Unshipped orders of the highest value: three tables, two joins.
    Q3,
    /// Revenue of local suppliers: six tables, three of them small.
    Q5,
    /// The change of revenue: one scan, one sum.
    Q6,
    /// Ship modes and order priorities: two tables, one join.
    Q12,
}

impl Query {
    /// All queries.
    pub const ALL: [Self; 5] = [Self::Q1, Self::Q3, Self::Q5, Self::Q6, Self::Q12];

    /// The queries that also have functions in Python.
    pub const IN_PYTHON: [Self; 3] = [Self::Q1, Self::Q6, Self::Q12];

    /// The number of the query in the specification of TPC-H.
    pub fn number(self) -> u32 {
        match self {
            Self::Q1 => 1,
            Self::Q3 => 3,
            Self::Q5 => 5,
            Self::Q6 => 6,
            Self::Q12 => 12,
        }
    }

    /// The query in SQL, with the parameters that the specification validates with. Rows of query 3 that are equal in its
    /// order are also sorted by the key, so that the answer is one and the same.
    pub fn sql(self) -> &'static str {
        match self {
            Self::Q1 => include_str!("q1.sql"),
            Self::Q3 => include_str!("q3.sql"),
            Self::Q5 => include_str!("q5.sql"),
            Self::Q6 => include_str!("q6.sql"),
            Self::Q12 => include_str!("q12.sql"),
        }
    }

    /// The tables that the query reads.
    pub fn tables(self) -> &'static [&'static str] {
        match self {
            Self::Q1 | Self::Q6 => &["lineitem"],
            Self::Q3 => &["customer", "orders", "lineitem"],
            Self::Q5 => &["region", "nation", "supplier", "customer", "orders", "lineitem"],
            Self::Q12 => &["orders", "lineitem"],
        }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "q{}", self.number())
    }
}

impl FromStr for Query {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = text.strip_prefix(['q', 'Q']).unwrap_or(text).parse();
        let found = Self::ALL.into_iter().find(|query| Ok(query.number()) == number);
        found.ok_or_else(|| {
            Error::invalid_input(format!("unknown query {text:?}: use 1, 3, 5, 6 or 12"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_named_by_its_number() {
        for text in ["12", "q12", "Q12"] {
            assert_eq!(text.parse::<Query>().unwrap(), Query::Q12);
        }
        for text in ["2", "", "q", "qq1"] {
            let error = text.parse::<Query>().unwrap_err().to_string();
            assert!(error.contains("use 1, 3, 5, 6 or 12"), "{error}");
        }
    }
}
