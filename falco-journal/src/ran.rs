//! The facts about an activation in the record of its completion: short keys, and times as differences.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use falco_core::{Activation, UsDollars};
use serde::de::{SeqAccess, Visitor};
use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::micros;

/// The times of an activation: its start, in microseconds after the request; its end, in microseconds after the start, or
/// the request where no start is known; and how long it waited, was initialised, ran and is billed for, in nanoseconds.
///
/// It is a list, whose unknown last elements are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times([Option<i64>; 6]);

impl Times {
    pub(crate) fn of(activation: &Activation, requested_at: u64) -> Self {
        let after = |time: SystemTime, from: u64| micros(time).wrapping_sub(from) as i64;
        let nanos = |span: Duration| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
        let started = activation.started_at;
        let ended_after = started.map_or(requested_at, micros);
        Self([
            started.map(|at| after(at, requested_at)),
            activation.ended_at.map(|at| after(at, ended_after)),
            activation.wait.map(nanos),
            activation.init.map(nanos),
            activation.execution.map(nanos),
            activation.billed.map(nanos),
        ])
    }

    pub(crate) fn set(self, activation: &mut Activation, requested_at: u64) {
        let at = |from: u64, after: i64| {
            UNIX_EPOCH + Duration::from_micros(from.wrapping_add_signed(after))
        };
        let span = |nanos: i64| Duration::from_nanos(nanos.unsigned_abs());
        let [started, ended, wait, init, execution, billed] = self.0;
        activation.started_at = started.map(|after| at(requested_at, after));
        let ended_after = activation.started_at.map_or(requested_at, micros);
        activation.ended_at = ended.map(|after| at(ended_after, after));
        activation.wait = wait.map(span);
        activation.init = init.map(span);
        activation.execution = execution.map(span);
        activation.billed = billed.map(span);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0 == [None; 6]
    }
}

impl Serialize for Times {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let known = self.0.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        let mut list = serializer.serialize_seq(Some(known))?;
        for time in &self.0[..known] {
            list.serialize_element(time)?;
        }
        list.end()
    }
}

impl<'de> Deserialize<'de> for Times {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Times;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of times")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Times, A::Error> {
                let mut times = Times::default();
                for time in &mut times.0 {
                    match list.next_element()? {
                        Some(element) => *time = element,
                        None => return Ok(times),
                    }
                }
                // What a later version adds is ignored.
                while list.next_element::<serde::de::IgnoredAny>()?.is_some() {}
                Ok(times)
            }
        }

        deserializer.deserialize_seq(List)
    }
}

/// The facts about an activation that few platforms report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Facts<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory_mib: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory_used: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    container: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    region: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<Cow<'a, str>>,
    /// In microseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    booted_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cost: Option<UsDollars>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    attributes: Cow<'a, BTreeMap<String, String>>,
}

impl<'a> Facts<'a> {
    /// The facts that are known, if any is.
    pub(crate) fn of(activation: &'a Activation) -> Option<Self> {
        fn text(text: &Option<String>) -> Option<Cow<'_, str>> {
            text.as_deref().map(Cow::Borrowed)
        }
        let facts = Self {
            memory_mib: activation.memory_mib,
            memory_used: activation.memory_used_bytes,
            container: text(&activation.container),
            host: text(&activation.host),
            region: text(&activation.region),
            version: text(&activation.code_version),
            booted_at: activation.booted_at.map(micros),
            cost: activation.cost,
            request: text(&activation.request_id),
            attributes: Cow::Borrowed(&activation.attributes),
        };
        (facts != Self::default()).then_some(facts)
    }

    pub(crate) fn set(self, activation: &mut Activation) {
        let text = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
        activation.memory_mib = self.memory_mib;
        activation.memory_used_bytes = self.memory_used;
        activation.container = text(self.container);
        activation.host = text(self.host);
        activation.region = text(self.region);
        activation.code_version = text(self.version);
        activation.booted_at = self.booted_at.map(|at| UNIX_EPOCH + Duration::from_micros(at));
        activation.cost = self.cost;
        activation.request_id = text(self.request);
        activation.attributes = self.attributes.into_owned();
    }
}
