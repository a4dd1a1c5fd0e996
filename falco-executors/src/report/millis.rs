//! Durations as a number of milliseconds: serde's own form is a map of seconds and nanoseconds, which no spreadsheet
//! and no plotting tool reads.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer};

pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    // Rounded to microseconds, which is what the histograms count.
    serializer.serialize_f64(value.as_micros() as f64 / 1_000.0)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    let millis = f64::deserialize(d)?;
    Duration::try_from_secs_f64(millis / 1_000.0).map_err(serde::de::Error::custom)
}
