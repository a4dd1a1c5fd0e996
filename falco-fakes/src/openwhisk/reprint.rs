//! JSON as the server passes it on: parsed and printed again (contract, 1.8).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::value::RawValue;

/// The deepest nesting that the server reads.
const MAX_DEPTH: usize = 1000;

/// The JSON in `text` as the server prints it: without blanks, keys sorted, numbers spelled anew with all their digits,
/// halves of surrogate pairs as `?`. `None` for what is not JSON.
pub(super) fn reprint(text: &str) -> Option<Box<RawValue>> {
    let repaired = without_half_pairs(text);
    let mut printed = String::with_capacity(repaired.len());
    print(serde_json::from_str(&repaired).ok()?, 0, &mut printed)?;
    RawValue::from_string(printed).ok()
}

/// The fields of an object; `None` when it is something else.
pub(super) fn fields(json: &RawValue) -> Option<BTreeMap<String, &RawValue>> {
    json.get().starts_with('{').then(|| serde_json::from_str(json.get()).ok())?
}

fn print(json: &RawValue, depth: usize, out: &mut String) -> Option<()> {
    let text = json.get();
    match text.as_bytes().first()? {
        _ if depth >= MAX_DEPTH => return None,
        b'{' => {
            let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
            out.push('{');
            for (n, (key, value)) in fields.into_iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                write!(out, "{}:", serde_json::Value::String(key)).ok()?;
                print(value, depth + 1, out)?;
            }
            out.push('}');
        }
        b'[' => {
            let values: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            out.push('[');
            for (n, value) in values.into_iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                print(value, depth + 1, out)?;
            }
            out.push(']');
        }
        b'"' => {
            let value: serde_json::Value = serde_json::from_str(text).ok()?;
            write!(out, "{value}").ok()?;
        }
        b'-' | b'0'..=b'9' => out.push_str(&number(text)?),
        _ => out.push_str(text),
    }
    Some(())
}

/// A number in the notation of Java's `BigDecimal`.
fn number(text: &str) -> Option<String> {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let (mantissa, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let scale = fraction.len() as i64 - exponent.parse::<i64>().ok()?;
    let unscaled = format!("{whole}{fraction}");
    let unscaled = match unscaled.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    };
    let sign = if unscaled == "0" { "" } else { sign };
    let length = unscaled.len() as i64;
    let adjusted = length - 1 - scale;
    if scale == 0 {
        return Some(format!("{sign}{unscaled}"));
    }
    if scale > 0 && adjusted >= -6 {
        let padded = format!("{unscaled:0>width$}", width = usize::try_from(scale).ok()? + 1);
        let (whole, fraction) = padded.split_at(padded.len() - usize::try_from(scale).ok()?);
        return Some(format!("{sign}{whole}.{fraction}"));
    }
    let (first, rest) = unscaled.split_at(1);
    let point = if rest.is_empty() { "" } else { "." };
    Some(format!("{sign}{first}{point}{rest}E{adjusted:+}"))
}

/// The text with `?` in place of each escape that is half of a surrogate pair. Escapes stand in strings only.
fn without_half_pairs(text: &str) -> String {
    let unit = |at: usize| {
        let hex = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(hex, 16).ok()
    };
    let mut repaired = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(offset) = text[at..].find('\\') {
        repaired.push_str(&text[at..at + offset]);
        at += offset;
        let length = match (unit(at), unit(at + 6)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            (Some(0xD800..=0xDFFF), _) => {
                repaired.push('?');
                at += 6;
                continue;
            }
            (Some(_), _) => 6,
            (None, _) => 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8),
        };
        repaired.push_str(&text[at..at + length]);
        at += length;
    }
    repaired.push_str(&text[at..]);
    repaired
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_printed_as_the_server_prints_it() {
        for (text, printed) in [
            (r#" { "b" : 1, "a" : [ ] , "b" : {} } "#, r#"{"a":[],"b":{}}"#),
            (
                "[1e16,1.50,-0.0,0,-12,100,1e-7,0.000001]",
                "[1E+16,1.50,0.0,0,-12,100,1E-7,0.000001]",
            ),
            ("[123456789012345678901234567890,1.5e3]", "[123456789012345678901234567890,1.5E+3]"),
            (r#"["\ud83d","\ud83d\ude00","\\ud83d","\u00e4\/"]"#, r#"["?","😀","\\ud83d","ä/"]"#),
            (r#"{"\udc00x":null}"#, r#"{"?x":null}"#),
        ] {
            assert_eq!(reprint(text).unwrap().get(), printed);
        }
        for text in ["NaN", "{", "", "\u{feff}{}"] {
            assert!(reprint(text).is_none(), "{text}");
        }
        assert!(
            reprint(&"[".repeat(1001).chars().chain("]".repeat(1001).chars()).collect::<String>())
                .is_none()
        );
    }
}
