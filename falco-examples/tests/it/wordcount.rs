use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::program::{Machine, has};

/// The words of a folder's files, counted with no line of Falco: most frequent first, ties by word.
pub(crate) fn expected(folder: &Path) -> String {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for entry in folder.read_dir().unwrap() {
        let text = fs::read(entry.unwrap().path()).unwrap();
        for word in text.split(|byte| !byte.is_ascii_alphabetic()).filter(|word| !word.is_empty()) {
            let word = String::from_utf8(word.to_ascii_lowercase()).unwrap();
            *counts.entry(word).or_default() += 1;
        }
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by(|(left, m), (right, n)| n.cmp(m).then(left.cmp(right)));
    counts.iter().fold(String::new(), |mut text, (word, count)| {
        writeln!(text, "{count} {word}").unwrap();
        text
    })
}

#[test]
fn the_default_texts_are_counted_in_full_with_every_executor() {
    if !has("python3") {
        return;
    }
    let texts = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/texts");
    let expected = expected(&texts);
    let machine = Machine::new();
    for executor in ["sequential", "parallel", "async"] {
        let printed = machine.run("wordcount", &["--executor", executor, "--top", "0"]);
        assert_eq!(printed.ok(), expected, "{executor}");
    }
    let top: String = expected.lines().take(10).map(|line| format!("{line}\n")).collect();
    assert_eq!(machine.run("wordcount", &["--reducers", "1"]).ok(), top);
}

#[test]
fn words_do_not_run_across_files_and_bytes_of_no_encoding_do_no_harm() {
    if !has("python3") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("1"), b"Tick tick").unwrap();
    // A word of another file, a Kelvin sign that lower-cases to an ASCII k, broken UTF-8, control characters.
    fs::write(folder.path().join("2"), b"tock \xe2\x84\xaaelvin \xff\xfetick\x01\x00tock").unwrap();
    fs::write(folder.path().join("3"), b"").unwrap();
    let path = folder.path().to_str().unwrap();
    let printed = Machine::new().run("wordcount", &[path]);
    assert_eq!(printed.ok(), "3 tick\n2 tock\n1 elvin\n");
}

#[test]
fn the_addresses_are_counted_as_the_shell_counts_them() {
    let Some(data) = std::env::var_os("FALCO_DATA") else {
        eprintln!("skipped: FALCO_DATA does not name the folder with sotu/ and sotu-top10.txt");
        return;
    };
    let data = Path::new(&data);
    let texts = data.join("sotu");
    let printed = Machine::new().run("wordcount", &["--top", "0", texts.to_str().unwrap()]).ok();
    assert_eq!(printed, expected(&texts));
    let top: Vec<_> = printed.lines().take(10).collect();
    let wanted = fs::read_to_string(data.join("sotu-top10.txt")).unwrap();
    assert_eq!(top, wanted.lines().map(str::trim).collect::<Vec<_>>());
}
