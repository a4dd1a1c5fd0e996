//! The end of a call's log, which the shims mark on stderr.

use falco_package::shim::LOG_MARK;

/// Takes the marks out of a stream that arrives in pieces.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// Bytes that may be the beginning of a mark.
    held: Vec<u8>,
}

impl Marks {
    /// The text of a piece without marks, and how many marks it completed.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> (Vec<u8>, usize) {
        self.held.extend_from_slice(piece);
        let (mut text, mut marks) = (Vec::with_capacity(self.held.len()), 0);
        let mut rest = &self.held[..];
        while let Some(at) = rest.windows(LOG_MARK.len()).position(|window| window == LOG_MARK) {
            text.extend_from_slice(&rest[..at]);
            rest = &rest[at + LOG_MARK.len()..];
            marks += 1;
        }
        let longest = rest.len().min(LOG_MARK.len() - 1);
        let kept = (0..=longest).rev().find(|&n| LOG_MARK.starts_with(&rest[rest.len() - n..]));
        let (done, kept) = rest.split_at(rest.len() - kept.unwrap_or(0));
        text.extend_from_slice(done);
        self.held = kept.to_vec();
        (text, marks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_wherever_the_stream_is_cut() {
        let stream = [b"one\n", LOG_MARK, b"two\0falco", LOG_MARK].concat();
        for cut in 0..=stream.len() {
            let mut marks = Marks::default();
            let (mut text, mut count) = marks.feed(&stream[..cut]);
            let (more, others) = marks.feed(&stream[cut..]);
            text.extend(more);
            count += others;
            assert_eq!((&text[..], count), (&b"one\ntwo\0falco"[..], 2), "cut at {cut}");
        }
    }
}
