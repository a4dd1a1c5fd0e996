//! How points in time are serialised: microseconds since the Unix epoch, one integer.
//!
//! serde's own form of `SystemTime` is a map of seconds and nanoseconds, which no other tool reads.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

fn to_micros(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn from_micros(micros: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(micros)
}

pub(crate) fn serialize<S: Serializer>(
    time: &SystemTime,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    to_micros(*time).serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<SystemTime, D::Error> {
    u64::deserialize(d).map(from_micros)
}

/// The same for a time that may be unknown.
pub(crate) mod option {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        time: &Option<SystemTime>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(to_micros).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<SystemTime>, D::Error> {
        Ok(Option::<u64>::deserialize(d)?.map(from_micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pending;

    #[test]
    fn a_time_is_one_integer_of_microseconds() {
        let at = UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
        let json = serde_json::to_string(&Pending::new("a", at)).unwrap();
        assert_eq!(json, r#"{"id":"a","submitted_at":1700000000123456}"#);
        assert_eq!(serde_json::from_str::<Pending>(&json).unwrap().submitted_at, at);
    }
}
