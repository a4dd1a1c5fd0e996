//! Text and rows by a fixed seed, with the right answers: they are known by how the files are made.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::Context;

const VOCABULARY: u64 = 20_000;
const COUNTRIES: u64 = 50;
/// Longer than any line.
const LINE: u64 = 256;

/// Numbers by a linear congruential generator, as the Monte Carlo function has them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    /// The next number, of 64 bits.
    pub(super) fn draw(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0
    }

    /// The next number below a limit. The low bits of such a generator are weak.
    fn below(&mut self, limit: u64) -> u64 {
        (self.draw() >> 32) % limit
    }
}

/// Writes a text of at least so many bytes, and returns how often each word is in it.
pub(super) fn text(path: &Path, bytes: u64) -> anyhow::Result<BTreeMap<String, u64>> {
    let words: Vec<String> = (0..VOCABULARY).map(word).collect();
    let mut counts = vec![0_u64; words.len()];
    let (mut numbers, mut written, mut in_line) = (Numbers(7), 0, 0);
    let mut file = BufWriter::new(File::create(path)?);
    while written < bytes || in_line > 0 {
        // The third power: few words are frequent, as in a language.
        let chance = numbers.below(1 << 20) as f64 / f64::from(1 << 20);
        let index = (chance.powi(3) * VOCABULARY as f64) as usize;
        let end = if in_line == 11 { ".\n" } else { " " };
        let word = &words[index];
        if in_line == 0 {
            file.write_all(word[..1].to_uppercase().as_bytes())?;
            file.write_all(&word.as_bytes()[1..])?;
        } else {
            file.write_all(word.as_bytes())?;
        }
        file.write_all(end.as_bytes())?;
        written += (word.len() + end.len()) as u64;
        in_line = (in_line + 1) % 12;
        counts[index] += 1;
    }
    file.flush()?;
    Ok(words.into_iter().zip(counts).filter(|(_, count)| *count > 0).collect())
}

/// A word of four to eight letters; no two numbers below 26^4 have the same.
fn word(number: u64) -> String {
    let mut rest = number;
    let mut word = String::new();
    for _ in 0..4 {
        word.push(char::from(b'a' + (rest % 26) as u8));
        rest /= 26;
    }
    // Words differ in their first four letters, and may have any ending.
    let ending: String = word.chars().cycle().take(number as usize % 5).collect();
    word.push_str(&ending);
    word
}

/// Writes sales as rows of at least so many bytes, and returns how many rows and how many cents each country has.
pub(super) fn sales(path: &Path, bytes: u64) -> anyhow::Result<BTreeMap<String, [u64; 2]>> {
    let mut groups = BTreeMap::new();
    let (mut numbers, mut written, mut row) = (Numbers(11), 0, 0_u64);
    let mut file = BufWriter::new(File::create(path)?);
    while written < bytes {
        let country = format!("country-{:02}", numbers.below(COUNTRIES));
        let (product, quantity) = (numbers.below(100_000), 1 + numbers.below(9));
        let cents = 100 + numbers.below(1_000_000);
        let line = format!("{row},{country},product-{product:06},{quantity},{cents},delivered\n");
        file.write_all(line.as_bytes())?;
        written += line.len() as u64;
        row += 1;
        let group: &mut [u64; 2] = groups.entry(country).or_default();
        group[0] += 1;
        group[1] += quantity * cents;
    }
    file.flush()?;
    Ok(groups)
}

/// Ranges of about so many bytes that end with a line.
pub(super) fn splits(path: &Path, size: u64) -> anyhow::Result<Vec<(u64, u64)>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let (mut ranges, mut first) = (vec![], 0);
    while first < length {
        let mut last = (first + size).min(length);
        if last < length {
            file.seek(SeekFrom::Start(last))?;
            let mut rest = vec![];
            Read::by_ref(&mut file).take(LINE).read_to_end(&mut rest)?;
            let end = rest.iter().position(|byte| *byte == b'\n').context("a line is too long")?;
            last += end as u64 + 1;
        }
        ranges.push((first, last));
        first = last;
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_text_are_counted_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        let counts = text(&path, 20_000).unwrap();
        let mut found = BTreeMap::new();
        let written = std::fs::read_to_string(&path).unwrap().to_lowercase();
        for word in written.split(|c: char| !c.is_ascii_lowercase()).filter(|word| !word.is_empty())
        {
            *found.entry(word.to_owned()).or_insert(0) += 1;
        }
        assert!(written.len() >= 20_000 && counts.len() > 100);
        assert_eq!(found, counts);
    }

    #[test]
    fn no_two_numbers_have_the_same_word() {
        let words: std::collections::BTreeSet<_> = (0..VOCABULARY).map(word).collect();
        assert_eq!(words.len() as u64, VOCABULARY);
    }

    #[test]
    fn splits_end_with_lines_and_cover_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sales");
        let rows: u64 = sales(&path, 20_000).unwrap().values().map(|group| group[0]).sum();
        let written = std::fs::read(&path).unwrap();
        let ranges = splits(&path, 3_000).unwrap();
        let mut next = 0;
        for (first, last) in &ranges {
            assert_eq!((*first, written[*last as usize - 1]), (next, b'\n'));
            next = *last;
        }
        assert_eq!(next as usize, written.len());
        assert!(ranges.len() >= 5, "{ranges:?}");
        assert_eq!(rows, written.iter().filter(|byte| **byte == b'\n').count() as u64);
    }
}
