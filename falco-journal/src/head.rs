//! The first fields of a record, read without parsing the rest.

use std::borrow::Cow;

use serde::Deserialize;

use crate::record::Verdict;

/// The first fields of a record that is about an invocation.
#[derive(Debug, PartialEq)]
pub(crate) struct Head<'a> {
    pub(crate) stage: u32,
    pub(crate) id: Cow<'a, str>,
    pub(crate) attempt: u32,
    pub(crate) verdict: Verdict,
}

/// The letter of a record.
pub(crate) fn kind_of(json: &[u8]) -> Option<u8> {
    let rest = json.strip_prefix(b"{\"k\":\"")?;
    match rest {
        [kind, b'"', ..] => Some(*kind),
        _ => None,
    }
}

/// The first fields, from records as this crate writes them by a quick look, and from others by parsing all of it.
pub(crate) fn head(json: &[u8]) -> Option<Head<'_>> {
    quick(json).or_else(|| parsed(json))
}

fn quick(json: &[u8]) -> Option<Head<'_>> {
    let rest = json.get(8..)?.strip_prefix(b",\"s\":")?;
    let (stage, rest) = number(rest)?;
    let rest = rest.strip_prefix(b",\"i\":\"")?;
    let end = memchr::memchr2(b'"', b'\\', rest)?;
    if rest[end] != b'"' {
        return None;
    }
    let id = std::str::from_utf8(&rest[..end]).ok()?;
    let mut rest = &rest[end + 1..];
    let mut attempt = 1;
    if let Some(after) = rest.strip_prefix(b",\"n\":") {
        (attempt, rest) = number(after)?;
    }
    let mut verdict = Verdict::Succeeded;
    if let Some(after) = rest.strip_prefix(b",\"o\":\"") {
        verdict = match after.first()? {
            b's' => Verdict::Succeeded,
            b'f' => Verdict::FunctionFailed,
            b'p' => Verdict::PlatformFailed,
            b'u' => Verdict::Unknown,
            _ => return None,
        };
        rest = after.get(2..)?;
    }
    // All that may stand before the argument has been read, or the record is not of the form that is written here.
    let is_whole = rest.starts_with(b",\"h\":") || rest == b"}";
    is_whole.then_some(Head { stage, id: Cow::Borrowed(id), attempt, verdict })
}

fn number(text: &[u8]) -> Option<(u32, &[u8])> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = text.split_at(end);
    let number = digits.iter().try_fold(0_u32, |number, digit| {
        number.checked_mul(10)?.checked_add(u32::from(digit - b'0'))
    })?;
    (end > 0).then_some((number, rest))
}

fn parsed(json: &[u8]) -> Option<Head<'_>> {
    #[derive(Deserialize)]
    struct Fields<'a> {
        s: u32,
        #[serde(borrow)]
        i: Cow<'a, str>,
        #[serde(default)]
        n: Option<u32>,
        /// In an intent it is a call.
        #[serde(default)]
        o: Option<&'a str>,
    }
    let Fields { s: stage, i: id, n, o } = serde_json::from_slice(json).ok()?;
    let verdict = match o {
        Some("f") => Verdict::FunctionFailed,
        Some("p") => Verdict::PlatformFailed,
        Some("u") => Verdict::Unknown,
        _ => Verdict::Succeeded,
    };
    Some(Head { stage, id, attempt: n.unwrap_or(1), verdict })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quick_look_finds_what_parsing_finds() {
        for json in [
            r#"{"k":"c","s":12,"i":"chunk-7","h":"x","q":1}"#,
            r#"{"k":"c","s":0,"i":"a","n":31,"o":"f","h":"x"}"#,
            r#"{"k":"x","s":0,"i":"ä"}"#,
            r#"{"k":"x","s":0,"i":"a","n":2}"#,
        ] {
            let quick = quick(json.as_bytes());
            assert!(quick.is_some() && quick == parsed(json.as_bytes()), "{json}");
        }
    }

    #[test]
    fn records_in_other_forms_are_parsed() {
        for json in
            [r#"{"k":"c","s":1,"i":"a\"b","h":"x"}"#, r#"{"k":"c","i":"a\"b","new":[1],"s":1}"#]
        {
            assert_eq!(quick(json.as_bytes()), None);
            let head = head(json.as_bytes()).unwrap();
            assert_eq!((head.stage, &*head.id, head.attempt), (1, "a\"b", 1));
        }
    }
}
