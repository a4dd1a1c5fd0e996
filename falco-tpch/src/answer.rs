//! The answer of a query.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The rows of an answer. Decimals are texts, so that no digit is lost; dates are as in ISO 8601.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<Value>>,
}

impl Answer {
    /// An answer with these columns.
    pub fn new(columns: &[&str], rows: Vec<Vec<Value>>) -> Self {
        Self { columns: columns.iter().copied().map(str::to_owned).collect(), rows }
    }

    /// The first difference from another answer, if there is one. Averages, which are not exact, have to agree in twelve digits.
    pub fn difference(&self, other: &Self) -> Option<String> {
        if self.columns != other.columns {
            return Some(format!("the columns {:?} and {:?}", self.columns, other.columns));
        }
        if self.rows.len() != other.rows.len() {
            return Some(format!("{} and {} rows", self.rows.len(), other.rows.len()));
        }
        let mut pairs = self.rows.iter().zip(&other.rows);
        let differs = |(one, other): &(&Vec<Value>, &Vec<Value>)| {
            one.len() != other.len() || one.iter().zip(*other).any(|(a, b)| !is_same(a, b))
        };
        pairs.find(differs).map(|(one, other)| format!("the rows {one:?} and {other:?}"))
    }
}

fn is_same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) if one.fract() != 0.0 || other.fract() != 0.0 => {
            (one - other).abs() <= other.abs() * 1e-12
        }
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.columns.join("|"))?;
        for row in &self.rows {
            let cells = row.iter().map(|cell| match cell {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            });
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("|"))?;
        }
        Ok(())
    }
}

/// A decimal that is summed up without its point, in JSON as text: numbers of JSON end at 64 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Units(pub(crate) i128);

impl Units {
    /// The number with its point `scale` digits from the right.
    pub(crate) fn decimal(self, scale: u32) -> Value {
        let (unit, sign) = (10_u128.pow(scale), if self.0 < 0 { "-" } else { "" });
        let (whole, part) = (self.0.unsigned_abs() / unit, self.0.unsigned_abs() % unit);
        let width = scale as usize;
        match scale {
            0 => format!("{sign}{whole}").into(),
            _ => format!("{sign}{whole}.{part:0width$}").into(),
        }
    }
}

impl Serialize for Units {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Units {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

impl std::ops::AddAssign for Units {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl std::iter::Sum for Units {
    fn sum<I: Iterator<Item = Self>>(units: I) -> Self {
        Self(units.map(|units| units.0).sum())
    }
}

/// Days since 1970 of a date in the proleptic Gregorian calendar.
pub(crate) const fn days(year: i32, month: i32, day: i32) -> i32 {
    // Years that begin in March end with the day of a leap year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date in ISO 8601 of a number of days since 1970.
pub(crate) fn date(days: i32) -> String {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = match month {
        0..10 => (era * 400 + year_of_era, month + 3),
        _ => (era * 400 + year_of_era + 1, month - 9),
    };
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_keep_every_digit() {
        for (units, scale, expected) in [
            (0, 2, "0.00"),
            (-5, 2, "-0.05"),
            (123_456, 4, "12.3456"),
            (7, 0, "7"),
            (
                170_141_183_460_469_231_731_687_303_715_884_105_727,
                6,
                "170141183460469231731687303715884.105727",
            ),
        ] {
            assert_eq!(Units(units).decimal(scale), expected);
            let json = serde_json::to_string(&Units(units)).unwrap();
            assert_eq!(serde_json::from_str::<Units>(&json).unwrap(), Units(units));
        }
    }

    #[test]
    fn answers_differ_in_columns_rows_and_digits() {
        let answer = |name: &str, cell: Value| Answer::new(&[name], vec![vec![cell]]);
        let one = answer("a", 0.1.into());
        assert_eq!(one.difference(&answer("a", (0.1 + 1e-16).into())), None);
        for (other, expected) in [
            (answer("b", 0.1.into()), "columns"),
            (answer("a", 0.1001.into()), "rows [Number(0.1)]"),
            (answer("a", "0.1".into()), "rows [Number(0.1)]"),
            (Answer::new(&["a"], vec![]), "1 and 0 rows"),
        ] {
            let said = one.difference(&other).unwrap();
            assert!(said.contains(expected), "{said}");
        }
    }

    #[test]
    fn dates_and_days_agree() {
        assert_eq!((days(1970, 1, 1), days(1998, 9, 2), days(2000, 3, 1)), (0, 10_471, 11_017));
        for (day, expected) in [(0, "1970-01-01"), (10_471, "1998-09-02"), (11_016, "2000-02-29")] {
            assert_eq!(date(day), expected);
        }
    }
}
