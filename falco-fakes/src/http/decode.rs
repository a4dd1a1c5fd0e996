//! Percent-encoding, as servers read it.

/// The text without its escapes; what is not an escape stays.
pub(super) fn decode(encoded: &str) -> String {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => std::str::from_utf8(&[*high, *low])
                .ok()
                .and_then(|hex| u8::from_str_radix(hex, 16).ok()),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The pairs of a query or a form, in which `+` is a blank.
pub(super) fn pairs(text: &str) -> Vec<(String, String)> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(&name.replace('+', " ")), decode(&value.replace('+', " ")))
    };
    text.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_once_and_what_is_not_an_escape_stays() {
        for (encoded, decoded) in
            [("a%20b", "a b"), ("%2Ff%25", "/f%"), ("100%", "100%"), ("%zz", "%zz"), ("a+b", "a+b")]
        {
            assert_eq!(decode(encoded), decoded);
        }
        let wanted = [("a b", "c&d"), ("empty", ""), ("bare", "")];
        let wanted = wanted.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(pairs("a+b=c%26d&empty=&bare&"), wanted);
    }
}
