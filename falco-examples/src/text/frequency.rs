//! The most frequent words, as the examples print them.

use std::fmt;

use serde::Serialize;

/// Counts and words, most frequent first, ties by word.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct MostFrequent(Vec<(u64, String)>);

impl MostFrequent {
    /// The `top` most frequent of these words; all of them for 0.
    pub fn of(counts: impl IntoIterator<Item = (String, u64)>, top: usize) -> Self {
        let mut words: Vec<_> = counts.into_iter().map(|(word, count)| (count, word)).collect();
        words.sort_by(|(m, left), (n, right)| n.cmp(m).then_with(|| left.cmp(right)));
        if top > 0 {
            words.truncate(top);
        }
        Self(words)
    }
}

impl fmt::Display for MostFrequent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(count, word)| writeln!(f, "{count} {word}"))
    }
}
