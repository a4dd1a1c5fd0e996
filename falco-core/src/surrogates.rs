//! Halves of surrogate pairs: JSON can write them, and no text can hold them.

use memchr::memchr;

/// The places in a JSON text of the escapes that are half of a surrogate pair, such as `\ud83d` without the other half.
///
/// Such a text is JSON by its grammar, and no reader can decode it: [`Payload`](crate::Payload) refuses it.
///
/// # Examples
///
/// ```
/// use falco_core::half_surrogate_pairs;
///
/// let halves = |json: &str| half_surrogate_pairs(json.as_bytes()).collect::<Vec<_>>();
/// assert_eq!(halves(r#"{"a":"\ud83d"}"#), [6]);
/// assert!(halves(r#"{"a":"\ud83d\ude00"}"#).is_empty());
/// assert!(halves(r#"{"a":"\\ud83d"}"#).is_empty());
/// ```
pub fn half_surrogate_pairs(json: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(found) = memchr(b'\\', json.get(at..)?) {
            let escape = at + found;
            match (unit(json, escape), unit(json, escape + 6)) {
                (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => at = escape + 12,
                (Some(0xd800..=0xdfff), _) => {
                    at = escape + 6;
                    return Some(escape);
                }
                // Whatever is escaped is one character at least, and a backslash does not escape the next.
                _ => at = escape + 2,
            }
        }
        None
    })
}

/// The UTF-16 unit that an escape at this place stands for.
fn unit(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at.checked_add(6)?)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unpaired_halves_are_found() {
        for (json, places) in [
            (r#""\ud800""#, &[1][..]),
            (r#""\uD800\uD800\uDC00""#, &[1]),
            (r#""\udc00\ud800""#, &[1, 7]),
            (r#""\\\ud800""#, &[3]),
            (r#""\\ud800\n\"\u0041""#, &[]),
            (r#""\ud83d\ude00""#, &[]),
            (r#""\ud8"#, &[]),
            ("\\", &[]),
            ("", &[]),
        ] {
            assert_eq!(half_surrogate_pairs(json.as_bytes()).collect::<Vec<_>>(), places, "{json}");
        }
    }
}
