//! The line of an attempt, written by hand: a run writes a million of them.

use crate::call::{Call, CallError};
use crate::units::{Micros, Picodollars};

/// Appends the line of an attempt, with its line break. It reads as serde would have written it.
pub(crate) fn write_call(line: &mut Vec<u8>, call: &Call<'_>) {
    let mut to = Line(line);
    to.raw(br#"{"e":"call""#);
    to.text(b"s", &call.stage);
    to.text(b"i", &call.invocation);
    if call.attempt != 1 {
        to.number(b"n", call.attempt.into());
    }
    if call.call != 1 {
        to.number(b"k", call.call.into());
    }
    if let Some(why) = &call.why {
        to.other(b"why", why);
    }
    to.time(b"at", call.at);
    to.known_time(b"begun", call.begun);
    to.known_time(b"sent", call.sent);
    to.known_time(b"acc", call.accepted);
    to.time(b"done", call.done);
    to.other(b"o", &call.outcome);
    if let Some(error) = &call.error {
        to.other::<CallError>(b"err", error);
    }
    to.known_text(b"id", call.activation.as_deref());
    to.known_text(b"rid", call.request.as_deref());
    to.known_time(b"start", call.started);
    to.known_time(b"stop", call.stopped);
    to.known_time(b"boot", call.booted);
    to.known_time(b"queue", call.queue);
    to.known_time(b"init", call.init);
    to.known_time(b"ran", call.ran);
    to.known_time(b"billed", call.billed);
    if let Some(cold) = call.cold {
        to.flag(b"cold", cold);
    }
    to.known_text(b"c", call.container.as_deref());
    to.known_text(b"h", call.host.as_deref());
    to.known_text(b"region", call.region.as_deref());
    to.known_text(b"cv", call.code_version.as_deref());
    to.known_text(b"rt", call.runtime.as_deref());
    if let Some(memory) = call.memory_mib {
        to.number(b"mem", memory.into());
    }
    if let Some(used) = call.memory_used {
        to.number(b"used", used);
    }
    to.cost(b"usd", call.cost);
    if call.estimated {
        to.flag(b"est", true);
    }
    if !call.attributes.is_empty() {
        to.other(b"attr", &call.attributes);
    }
    if call.last {
        to.flag(b"last", true);
    }
    to.cost(b"usd_all", call.cost_of_all);
    to.raw(b"}\n");
}

/// A JSON object that has a key already.
struct Line<'a>(&'a mut Vec<u8>);

impl Line<'_> {
    fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Begins another key, which needs no escapes.
    fn key(&mut self, key: &[u8]) {
        self.raw(b",\"");
        self.raw(key);
        self.raw(b"\":");
    }

    fn text(&mut self, key: &[u8], text: &str) {
        self.key(key);
        // JSON escapes these only.
        if text.bytes().any(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
            // Writing to memory cannot fail, and every text has a JSON form.
            let _ = serde_json::to_writer(&mut *self.0, text);
        } else {
            self.raw(b"\"");
            self.raw(text.as_bytes());
            self.raw(b"\"");
        }
    }

    fn known_text(&mut self, key: &[u8], text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    fn flag(&mut self, key: &[u8], flag: bool) {
        self.key(key);
        self.raw(if flag { b"true" } else { b"false" });
    }

    fn number(&mut self, key: &[u8], number: u64) {
        self.key(key);
        self.digits(number);
    }

    fn digits(&mut self, number: u64) {
        let (mut digits, mut first, mut left) = ([0; 20], 20, number);
        loop {
            first -= 1;
            digits[first] = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                break;
            }
        }
        self.raw(&digits[first..]);
    }

    /// A number of milliseconds with up to three decimals.
    fn time(&mut self, key: &[u8], time: Micros) {
        self.key(key);
        if time.0 < 0 {
            self.raw(b"-");
        }
        let micros = time.0.unsigned_abs();
        self.digits(micros / 1_000);
        let part = micros % 1_000;
        let decimals = [part / 100, part / 10 % 10, part % 10].map(|digit| b'0' + digit as u8);
        let length = match decimals {
            [b'0', b'0', b'0'] => return,
            [_, b'0', b'0'] => 1,
            [_, _, b'0'] => 2,
            _ => 3,
        };
        self.raw(b".");
        self.raw(&decimals[..length]);
    }

    fn known_time(&mut self, key: &[u8], time: Option<Micros>) {
        if let Some(time) = time {
            self.time(key, time);
        }
    }

    fn cost(&mut self, key: &[u8], cost: Option<Picodollars>) {
        if let Some(cost) = cost {
            self.key(key);
            // Writing to memory cannot fail.
            let _ = serde_json::to_writer(&mut *self.0, &cost);
        }
    }

    fn other<T: serde::Serialize + ?Sized>(&mut self, key: &[u8], value: &T) {
        self.key(key);
        // Writing to memory cannot fail, and no value has a map with keys that are not text.
        let _ = serde_json::to_writer(&mut *self.0, value);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::call::{CallOutcome, Why};

    /// The line as serde writes it.
    fn by_serde(call: &Call<'_>) -> serde_json::Value {
        let mut value = serde_json::to_value(call).unwrap();
        value["e"] = "call".into();
        value
    }

    fn assert_same(call: &Call<'_>) {
        let mut line = Vec::new();
        write_call(&mut line, call);
        assert_eq!(line.pop(), Some(b'\n'));
        let written: serde_json::Value = serde_json::from_slice(&line).unwrap();
        // Numbers compare as they are: 5 and 5.0 are two texts for one time.
        let plain = |value: &serde_json::Value| value.to_string().replace(".0,", ",");
        assert_eq!(plain(&written), plain(&by_serde(call)));
    }

    #[test]
    fn a_call_of_which_everything_is_known_is_written_as_serde_writes_it() {
        let time = |n: i64| Some(Micros(n));
        let mut call = Call::new(
            "ma\"p",
            "a\n\u{0}\u{7f}é",
            Micros(-1),
            Micros(12_340),
            CallOutcome::Function,
        );
        assert_same(&call);
        (call.attempt, call.call, call.why) = (2, 3, Some(Why::Copy));
        (call.begun, call.sent, call.accepted) = (time(1_000), time(1_001), time(1_010));
        (call.started, call.stopped, call.booted) =
            (time(-1_100), time(1_767_000_000_000_123), time(0));
        (call.queue, call.init, call.ran, call.billed) =
            (time(1), time(20), time(300), time(4_000));
        call.error = Some(CallError { kind: "function error".to_owned(), ..CallError::default() });
        (call.activation, call.request) = (Some("a\\b".into()), Some("r".into()));
        (call.container, call.host, call.region) =
            (Some("c".into()), Some("h".into()), Some("r".into()));
        (call.code_version, call.runtime) = (Some("v".into()), Some("rt".into()));
        (call.cold, call.memory_mib, call.memory_used) = (Some(false), Some(128), Some(u64::MAX));
        (call.cost, call.cost_of_all) = (Some(Picodollars(2_083_000)), Some(Picodollars(1)));
        (call.estimated, call.last) = (true, true);
        call.attributes.insert("path".to_owned(), "/x".to_owned());
        assert_same(&call);
    }

    proptest! {
        #[test]
        fn every_time_is_written_as_serde_writes_it(time in -4_000_000_000_000_i64..4_000_000_000_000) {
            assert_same(&Call::new("s", "i", Micros(time), Micros(time / 1_000), CallOutcome::Ok));
        }
    }
}
