//! Times and amounts as integers: what is added up is exact, and reading a file returns what was written.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A time or a length of time in microseconds; in a file it is a number of milliseconds with up to three decimals.
///
/// Times count from the start of the run. By a provider's clock they may be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Micros(pub i64);

impl Micros {
    /// The time from `start` to `time`; negative if that is earlier.
    pub fn between(start: SystemTime, time: SystemTime) -> Self {
        match time.duration_since(start) {
            Ok(after) => Self::from(after),
            Err(before) => Self(-Self::from(before.duration()).0),
        }
    }

    /// The time since the Unix epoch.
    pub fn since_epoch(time: SystemTime) -> Self {
        Self::between(UNIX_EPOCH, time)
    }

    /// The time from `earlier` to this one, and zero if that is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self((self.0 - earlier.0).max(0))
    }

    /// Milliseconds.
    pub fn as_millis(self) -> f64 {
        self.0 as f64 / 1e3
    }

    /// Seconds.
    pub fn as_secs(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl From<Duration> for Micros {
    fn from(duration: Duration) -> Self {
        Self(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
    }
}

impl Serialize for Micros {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 % 1_000 {
            0 => serializer.serialize_i64(self.0 / 1_000),
            _ => serializer.serialize_f64(self.as_millis()),
        }
    }
}

impl<'de> Deserialize<'de> for Micros {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The cast saturates: a number that is too large costs no more than its own value.
        f64::deserialize(deserializer).map(|millis| Self((millis * 1e3).round() as i64))
    }
}

/// An amount of money in 10⁻¹² US dollars; in a file it is a number of dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Picodollars(pub i64);

impl Picodollars {
    /// US dollars.
    pub fn as_dollars(self) -> f64 {
        self.0 as f64 / 1e12
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.0 = self.0.saturating_add(other.0);
    }
}

impl From<falco_core::UsDollars> for Picodollars {
    fn from(dollars: falco_core::UsDollars) -> Self {
        Self((dollars.0 * 1e12).round() as i64)
    }
}

impl Serialize for Picodollars {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.as_dollars())
    }
}

impl<'de> Deserialize<'de> for Picodollars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        f64::deserialize(deserializer).map(|dollars| Self((dollars * 1e12).round() as i64))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn times_and_amounts_come_back_as_they_were(number in -4_000_000_000_000_i64..4_000_000_000_000) {
            let text = serde_json::to_string(&(Micros(number), Picodollars(number))).unwrap();
            let back: (Micros, Picodollars) = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(back, (Micros(number), Picodollars(number)), "{}", text);
        }
    }
}
