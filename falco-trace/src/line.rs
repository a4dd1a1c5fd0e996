//! The line of an attempt, written by hand: a run writes a million of them.

use crate::call::{Call, CallError, CallOutcome};
use crate::units::{Micros, Picodollars};

/// A key that needs no escapes, with its comma, quotes and colon.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":").as_bytes()
    };
}

/// Appends the line of an attempt, with its line break. It reads as serde would have written it.
pub(crate) fn write_call(line: &mut Vec<u8>, call: &Call<'_>) {
    let mut to = Line(line);
    to.raw(br#"{"e":"call""#);
    to.text(key!("s"), &call.stage);
    to.text(key!("i"), &call.invocation);
    if call.attempt != 1 {
        to.number(key!("n"), call.attempt.into());
    }
    if call.call != 1 {
        to.number(key!("k"), call.call.into());
    }
    if let Some(why) = &call.why {
        to.other(key!("why"), why);
    }
    to.time(key!("at"), call.at);
    to.known_time(key!("begun"), call.begun);
    to.known_time(key!("sent"), call.sent);
    to.known_time(key!("acc"), call.accepted);
    to.time(key!("done"), call.done);
    match call.outcome {
        CallOutcome::Ok => to.raw(br#","o":"ok""#),
        outcome => to.other(key!("o"), &outcome),
    }
    if let Some(error) = &call.error {
        to.other::<CallError>(key!("err"), error);
    }
    to.known_text(key!("id"), call.activation.as_deref());
    to.known_text(key!("rid"), call.request.as_deref());
    to.known_time(key!("start"), call.started);
    to.known_time(key!("stop"), call.stopped);
    to.known_time(key!("boot"), call.booted);
    to.known_time(key!("queue"), call.queue);
    to.known_time(key!("init"), call.init);
    to.known_time(key!("ran"), call.ran);
    to.known_time(key!("billed"), call.billed);
    if let Some(cold) = call.cold {
        to.flag(key!("cold"), cold);
    }
    to.known_text(key!("c"), call.container.as_deref());
    to.known_text(key!("h"), call.host.as_deref());
    to.known_text(key!("region"), call.region.as_deref());
    to.known_text(key!("cv"), call.code_version.as_deref());
    to.known_text(key!("rt"), call.runtime.as_deref());
    if let Some(memory) = call.memory_mib {
        to.number(key!("mem"), memory.into());
    }
    if let Some(used) = call.memory_used {
        to.number(key!("used"), used);
    }
    to.cost(key!("usd"), call.cost);
    if call.estimated {
        to.flag(key!("est"), true);
    }
    if !call.attributes.is_empty() {
        to.other(key!("attr"), &call.attributes);
    }
    if call.last {
        to.flag(key!("last"), true);
    }
    to.cost(key!("usd_all"), call.cost_of_all);
    to.raw(b"}\n");
}

/// A JSON object that has a key already. Keys are those of `key!`.
struct Line<'a>(&'a mut Vec<u8>);

impl Line<'_> {
    fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, key: &[u8], text: &str) {
        self.raw(key);
        // JSON escapes these only.
        let is_escaped = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
        // All bytes are looked at, which is quicker than to stop at the first one.
        if text.bytes().fold(false, |any, byte| any | is_escaped(byte)) {
            // Writing to memory cannot fail, and every text has a JSON form.
            let _ = serde_json::to_writer(&mut *self.0, text);
        } else {
            self.0.push(b'"');
            self.raw(text.as_bytes());
            self.0.push(b'"');
        }
    }

    fn known_text(&mut self, key: &[u8], text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    fn flag(&mut self, key: &[u8], flag: bool) {
        self.raw(key);
        self.raw(if flag { b"true" } else { b"false" });
    }

    fn number(&mut self, key: &[u8], number: u64) {
        self.raw(key);
        let mut text = [0; MOST_DIGITS];
        let first = put_digits(&mut text, number);
        self.raw(&text[first..]);
    }

    /// A number of milliseconds with up to three decimals.
    fn time(&mut self, key: &[u8], time: Micros) {
        /// The place of the point: after a sign and the digits before it.
        const POINT: usize = 1 + MOST_DIGITS;
        self.raw(key);
        let micros = time.0.unsigned_abs();
        let (millis, part) = (micros / 1_000, micros % 1_000);
        let mut text = [b'.'; POINT + 4];
        let mut first = put_digits(&mut text[..POINT], millis);
        if time.0 < 0 {
            first -= 1;
            text[first] = b'-';
        }
        let decimals = [part / 100, part / 10 % 10, part % 10].map(|digit| b'0' + digit as u8);
        text[POINT + 1..].copy_from_slice(&decimals);
        let end = match decimals {
            [b'0', b'0', b'0'] => POINT,
            [_, b'0', b'0'] => POINT + 2,
            [_, _, b'0'] => POINT + 3,
            _ => POINT + 4,
        };
        self.raw(&text[first..end]);
    }

    fn known_time(&mut self, key: &[u8], time: Option<Micros>) {
        if let Some(time) = time {
            self.time(key, time);
        }
    }

    fn cost(&mut self, key: &[u8], cost: Option<Picodollars>) {
        if let Some(cost) = cost {
            self.other(key, &cost);
        }
    }

    fn other<T: serde::Serialize + ?Sized>(&mut self, key: &[u8], value: &T) {
        self.raw(key);
        // Writing to memory cannot fail, and no value has a map with keys that are not text.
        let _ = serde_json::to_writer(&mut *self.0, value);
    }
}

/// The number of digits of `u64::MAX`.
const MOST_DIGITS: usize = 20;

/// Writes a number so that it ends where `text` does, and returns the place of its first digit.
fn put_digits(text: &mut [u8], number: u64) -> usize {
    let (mut first, mut left) = (text.len(), number);
    loop {
        first -= 1;
        text[first] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            return first;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::call::Why;

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
