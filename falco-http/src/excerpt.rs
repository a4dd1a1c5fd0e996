//! A readable piece of a body that was not expected.

/// How much of a body is looked at, and how much of it is shown.
const LOOKED_AT: usize = 4096;
const SHOWN: usize = 200;

/// The beginning of a foreign body as one line of text, for an error: tags of HTML are left out, so that a proxy's
/// page reads like its message.
///
/// # Examples
///
/// ```
/// let page = b"<html><head><title>502 Bad Gateway</title></head>\n<body><hr>nginx</body></html>";
/// assert_eq!(falco_http::excerpt(page), "502 Bad Gateway nginx");
/// assert_eq!(falco_http::excerpt(b""), "an empty body");
/// ```
pub fn excerpt(body: &[u8]) -> String {
    let start = String::from_utf8_lossy(&body[..body.len().min(LOOKED_AT)]);
    let text =
        if start.trim_start().starts_with('<') { without_tags(&start) } else { start.into() };
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty())
    {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > SHOWN {
            line.truncate(line.floor_char_boundary(SHOWN));
            line.push('…');
            return line;
        }
    }
    if line.is_empty() { "an empty body".into() } else { line }
}

/// The text between the tags, without scripts and styles.
fn without_tags(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html;
    while let Some(open) = rest.find('<') {
        text.push_str(&rest[..open]);
        text.push(' ');
        rest = &rest[open..];
        let hidden = ["script", "style"]
            .into_iter()
            .find(|tag| rest.get(1..=tag.len()).is_some_and(|name| name.eq_ignore_ascii_case(tag)));
        let end = match hidden.and_then(|tag| rest.find(&format!("</{tag}"))) {
            Some(close) => rest[close..].find('>').map(|end| close + end),
            None => rest.find('>'),
        };
        match end {
            Some(end) => rest = &rest[end + 1..],
            None => return text,
        }
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_and_styles_of_a_page_are_not_shown() {
        let page = "<html><style>b{color:red}</style><script>var x = '<b>';</script><b>Blocked</b> by policy";
        assert_eq!(excerpt(page.as_bytes()), "Blocked by policy");
    }

    #[test]
    fn an_excerpt_is_short_one_line_and_valid_whatever_the_body() {
        for body in
            ["ä".repeat(10_000), "<".repeat(9000), "a\r\n\tb\u{7}c".into(), "<script>".into()]
        {
            let shown = excerpt(body.as_bytes());
            assert!(shown.len() <= SHOWN + 3 && !shown.contains(char::is_control), "{shown:?}");
        }
        assert!(!excerpt(&[0xff, 0xfe, b'x']).is_empty());
    }
}
