//! The activation in the record of a completion.

use std::borrow::Cow;

use falco_core::{Activation, InvocationId, Payload, UsDollars};

use crate::ran::{Facts, Times};
use crate::record::{Argument, Completed, Verdict};

impl<'a> Completed<'a> {
    /// The record of an invocation that has succeeded, without its times and its activation.
    pub(crate) fn new(stage: u32, id: InvocationId, argument: Argument) -> Self {
        Self {
            s: stage,
            i: id,
            n: 1,
            o: Verdict::Succeeded,
            h: argument,
            q: 0,
            l: 0,
            d: None,
            r: None,
            v: None,
            f: None,
            t: Times::default(),
            c: None,
            m: None,
            a: None,
            e: None,
            b: None,
            g: false,
        }
    }

    /// Adds an activation of a request at `requested_at`, in microseconds since the Unix epoch. Its result is left out when
    /// it is stored beside the log.
    pub(crate) fn add(&mut self, activation: &'a Activation, requested_at: u64, is_beside: bool) {
        self.r = Some(Cow::Borrowed(activation.id.as_str()));
        match &activation.outcome {
            Ok(_) if is_beside => {}
            Ok(result) => self.v = Some(Cow::Borrowed(result)),
            Err(error) => self.f = Some(Cow::Borrowed(error)),
        }
        self.t = Times::of(activation, requested_at);
        self.c = activation.cold_start.map(u8::from);
        self.m = Facts::of(activation).map(Box::new);
    }

    /// The cost of the activation, where the platform reports it.
    pub(crate) fn activation_cost(&self) -> Option<UsDollars> {
        let facts = self.m.as_ref().and_then(|facts| facts.cost);
        facts.or_else(|| self.a.as_ref()?.cost)
    }

    /// The activation of a request at `requested_at`, if the record holds one. A result that is stored beside the log is
    /// empty.
    pub(crate) fn activation(&mut self, requested_at: u64) -> Option<Activation> {
        if let Some(activation) = self.a.take() {
            return Some(*activation);
        }
        let outcome = match self.f.take() {
            Some(error) => Err(error.into_owned()),
            None => Ok(self.v.take().map_or_else(Payload::empty, Cow::into_owned)),
        };
        let mut activation = Activation::new(&*self.r.take()?, outcome);
        self.t.set(&mut activation, requested_at);
        activation.cold_start = self.c.map(|is_cold| is_cold != 0);
        if let Some(facts) = self.m.take() {
            facts.set(&mut activation);
        }
        Some(activation)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use falco_core::{FunctionError, FunctionErrorKind};

    use super::*;

    /// The fields of an activation that records hold.
    const FIELDS: [&str; 19] = [
        "id",
        "outcome",
        "started_at",
        "ended_at",
        "wait",
        "init",
        "execution",
        "billed",
        "memory_mib",
        "memory_used_bytes",
        "container",
        "host",
        "region",
        "code_version",
        "booted_at",
        "cold_start",
        "cost",
        "request_id",
        "attributes",
    ];

    const REQUESTED_AT: u64 = 1_700_000_000_000_000;

    fn at(after: i64) -> Option<SystemTime> {
        Some(UNIX_EPOCH + Duration::from_micros(REQUESTED_AT.wrapping_add_signed(after)))
    }

    /// An activation of which everything is known.
    fn whole() -> Activation {
        let mut activation =
            Activation::succeeded("a-1", Payload::from_bytes("{\"n\": 1}").unwrap());
        activation.started_at = at(-3);
        activation.ended_at = at(12_000);
        activation.wait = Some(Duration::ZERO);
        activation.init = Some(Duration::from_millis(7));
        activation.execution = Some(Duration::from_nanos(12_345_678));
        activation.billed = Some(Duration::from_millis(100));
        activation.memory_mib = Some(128);
        activation.memory_used_bytes = Some(1 << 40);
        activation.container = Some("c".to_owned());
        activation.host = Some("h".to_owned());
        activation.region = Some("r".to_owned());
        activation.code_version = Some("v".to_owned());
        activation.booted_at = at(-1_000_000);
        activation.cold_start = Some(true);
        activation.cost = Some(UsDollars(0.000_000_2));
        activation.request_id = Some("request".to_owned());
        activation.attributes.insert("key".to_owned(), "value".to_owned());
        activation
    }

    /// The activation after it was written and read, and its record.
    fn again(activation: &Activation) -> (Option<Activation>, String) {
        let mut record = Completed::new(0, "1".into(), Argument::of(&Payload::empty()));
        record.add(activation, REQUESTED_AT, false);
        let json = serde_json::to_string(&record).unwrap();
        let mut read: Completed<'static> = serde_json::from_str(&json).unwrap();
        (read.activation(REQUESTED_AT), json)
    }

    #[test]
    fn each_field_of_an_activation_comes_back() {
        let mut failed = whole();
        failed.outcome = Err(FunctionError::new(FunctionErrorKind::Raised, "no").with_trace("t"));
        let mut timed = Activation::succeeded("a-3", Payload::empty());
        timed.ended_at = at(5);
        for activation in [whole(), failed, Activation::succeeded("a-2", Payload::empty()), timed] {
            assert_eq!(again(&activation).0.as_ref(), Some(&activation));
        }
    }

    #[test]
    fn a_field_that_falco_core_adds_is_missed_by_this_test_first() {
        let shown = format!("{:?}", Activation::succeeded("a-1", Payload::empty()));
        let (_, fields) = shown.split_once('{').unwrap();
        let names = fields.split(", ").map(|field| field.trim().split_once(": ").unwrap().0);
        assert_eq!(
            names.collect::<Vec<_>>(),
            FIELDS,
            "set it in `whole`, and add it to the record"
        );
    }

    #[test]
    fn unknown_times_take_no_room() {
        let (_, json) = again(&Activation::succeeded("a-1", Payload::empty()));
        assert!(json.ends_with(r#""q":0,"l":0,"r":"a-1","v":{}}"#), "{json}");
        let mut activation = Activation::succeeded("a-1", Payload::empty());
        activation.wait = Some(Duration::from_nanos(5));
        let (_, json) = again(&activation);
        assert!(json.ends_with(r#""t":[null,null,5]}"#), "{json}");
        let times: Times = serde_json::from_str("[1,null,3,4,5,6,7,\"later\"]").unwrap();
        assert_eq!(serde_json::to_string(&times).unwrap(), "[1,null,3,4,5,6]");
    }
}
