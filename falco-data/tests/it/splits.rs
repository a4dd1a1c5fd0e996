//! Splits are exact: put together they are the object, and each is whole records.

use std::path::Path;

use falco_core::ErrorKind;
use falco_data::{Csv, Split, Splits, SplitsOf, Store};
use futures_util::TryStreamExt;
use proptest::prelude::*;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The bytes of each split.
fn read(store: &Store, splits: &SplitsOf) -> Vec<(Split, Vec<u8>)> {
    runtime().block_on(async {
        let splits: Vec<Split> = splits.stream().try_collect().await.unwrap();
        let mut read = Vec::new();
        for split in splits {
            let mut bytes = Vec::new();
            for object in &split.objects {
                let pieces: Vec<_> = store.read(object).await.unwrap().try_collect().await.unwrap();
                bytes.extend(pieces.concat());
            }
            read.push((split, bytes));
        }
        read
    })
}

fn folder(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let store = Store::folder(folder.path()).unwrap();
    (folder, store)
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just("ä,\"b".as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..40),
    ];
    prop::collection::vec(piece, 1..60).prop_map(|pieces| pieces.concat())
}

/// Rows of two columns, in which quotes and line feeds stand wherever they may.
fn rows() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::vec(("[a\"\n\r, ä]{0,6}", "[b\"\n,]{0,5}"), 1..30)
}

fn csv_text(rows: &[(String, String)]) -> String {
    let field = |text: &String| format!("\"{}\"", text.replace('"', "\"\""));
    rows.iter().map(|(a, b)| format!("{},{}\n", field(a), field(b))).collect()
}

/// The rows of a text in which every field is quoted.
fn parse(text: &str) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let mut rest = text;
    while let Some(inner) = rest.strip_prefix('"') {
        let mut at = 0;
        let end = loop {
            let quote = at + inner[at..].find('"').expect("a field ends");
            if !inner[quote + 1..].starts_with('"') {
                break quote;
            }
            at = quote + 2;
        };
        fields.push(inner[..end].replace("\"\"", "\""));
        rest = &inner[end + 2..];
    }
    assert_eq!(rest, "", "a split begins or ends inside a row: {text:?}");
    fields.chunks(2).map(|row| (row[0].clone(), row[1].clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lines_are_whole_and_together_they_are_the_object(text in text(), target in 1_u64..200) {
        let (_folder, store) = folder(&[("a.txt", &text)]);
        let read = read(&store, &Splits::lines(&store, "a.txt").target(target));
        prop_assert_eq!(read.iter().flat_map(|(_, bytes)| bytes.clone()).collect::<Vec<_>>(), text);
        for (split, bytes) in read.iter().rev().skip(1) {
            prop_assert!(bytes.ends_with(b"\n") && split.len() == bytes.len() as u64);
        }
    }

    #[test]
    fn many_small_objects_are_packed_and_none_is_lost(texts in prop::collection::vec(text(), 1..12)) {
        let names: Vec<_> = (0..texts.len()).map(|at| format!("in/{at:02}.txt")).collect();
        let files: Vec<_> = names.iter().map(String::as_str).zip(texts.iter().map(Vec::as_slice)).collect();
        let (_folder, store) = folder(&files);
        let read = read(&store, &Splits::lines(&store, "in").target(500));
        prop_assert_eq!(read.iter().flat_map(|(_, bytes)| bytes.clone()).collect::<Vec<_>>(), texts.concat());
        prop_assert!(read.iter().enumerate().all(|(at, (split, _))| split.number == at as u64));
    }

    #[test]
    fn rows_with_quoted_line_feeds_stay_whole(rows in rows(), count in 1_u64..9) {
        let text = format!("\"na\nme\",\"x\"\n{}", csv_text(&rows));
        let (_folder, store) = folder(&[("a.csv", text.as_bytes())]);
        let csv = Csv::default().with_quoted_newlines();
        let read = read(&store, &Splits::csv(&store, "a.csv", csv).count(count));
        let mut found = Vec::new();
        for (split, bytes) in &read {
            prop_assert_eq!(split.header.as_deref(), Some("\"na\nme\",\"x\""));
            found.extend(parse(std::str::from_utf8(bytes).unwrap()));
        }
        prop_assert_eq!(found, rows);
    }

    #[test]
    fn fixed_records_are_never_cut(records in 1_usize..200, record in 1_u64..20, target in 1_u64..300) {
        let text: Vec<u8> = (0..records * record as usize).map(|at| at as u8).collect();
        let (_folder, store) = folder(&[("a.bin", &text)]);
        let read = read(&store, &Splits::fixed(&store, "", record).target(target));
        prop_assert_eq!(read.iter().flat_map(|(_, bytes)| bytes.clone()).collect::<Vec<_>>(), text);
        prop_assert!(read.iter().all(|(split, _)| split.len() % record == 0));
    }

    #[test]
    fn parquet_ranges_cover_the_file_without_overlap(size in 1_usize..2000, count in 1_u64..20) {
        let (_folder, store) = folder(&[("a.parquet", &vec![7; size])]);
        let read = read(&store, &Splits::parquet(&store, "").count(count));
        prop_assert_eq!(read.iter().map(|(split, _)| split.len()).sum::<u64>(), size as u64);
    }
}

#[test]
fn the_header_goes_into_each_split_and_into_no_range() {
    let text = "\u{feff}id,name\r\n1,a\r\n2,b\r\n3,c\r\n";
    let (_folder, store) = folder(&[("a.csv", text.as_bytes()), ("only-header.csv", b"id,name\n")]);
    let read = read(&store, &Splits::csv(&store, "", Csv::default()).target(6));
    assert!(read.iter().all(|(split, _)| split.header.as_deref() == Some("id,name")));
    let rows: Vec<u8> = read.into_iter().flat_map(|(_, bytes)| bytes).collect();
    assert_eq!(rows, b"1,a\r\n2,b\r\n3,c\r\n");
}

#[test]
fn a_file_that_ends_inside_quotes_is_not_cut() {
    let text = format!("id,size\n{}", "1,5\" pipe\n2,x\n".repeat(31));
    let (_folder, store) = folder(&[("a.csv", text.as_bytes())]);
    let splits = Splits::csv(&store, "", Csv::default().with_quoted_newlines());
    let cut = splits.clone().target(50).stream().try_collect::<Vec<_>>();
    let error = runtime().block_on(cut).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let text = error.to_string();
    assert!(text.contains("a.csv ends inside quotes") && text.contains("Splits::whole"), "{text}");
    // As a whole it is what it is.
    assert_eq!(read(&store, &splits).len(), 1);
}

#[test]
fn objects_with_other_headers_do_not_share_a_split() {
    let (_folder, store) =
        folder(&[("a.csv", b"x\n1\n"), ("b.csv", b"x\n2\n"), ("c.csv", b"y\n3\n")]);
    let read = read(&store, &Splits::csv(&store, "", Csv::default()));
    let found: Vec<_> =
        read.iter().map(|(split, bytes)| (split.header.as_deref(), &**bytes)).collect();
    assert_eq!(found, [(Some("x"), &b"1\n2\n"[..]), (Some("y"), &b"3\n"[..])]);
}

#[test]
fn compressed_objects_are_not_cut_and_hidden_or_empty_ones_are_left_out() {
    let (_folder, store) = folder(&[
        ("in/a.gz", &[7; 5000]),
        ("in/_SUCCESS", b"x"),
        ("in/.crc", b"x"),
        ("in/_scratch/runs/run/falco.json", b"x"),
        ("in/.cache/c.txt", b"x"),
        ("in/empty.txt", b""),
        ("in/_day=1/c.txt", b"3\n"),
        ("in/deep/b.txt", b"1\n2\n"),
    ]);
    let read = read(&store, &Splits::lines(&store, "in").target(2));
    let lengths: Vec<_> = read.iter().map(|(_, bytes)| bytes.len()).collect();
    assert_eq!(lengths, [2, 5000, 2, 2]);
}

#[test]
fn a_line_longer_than_many_reads_is_one_split() {
    let text = [vec![b'x'; 100_000], b"\nshort\n".to_vec()].concat();
    let (_folder, store) = folder(&[("a.txt", &text)]);
    let read = read(&store, &Splits::lines(&store, "").target(1000));
    assert_eq!(read.iter().map(|(_, bytes)| bytes.len()).collect::<Vec<_>>(), [100_001, 6]);
}

#[test]
fn what_cannot_be_planned_says_why() {
    let (_folder, store) = folder(&[("a.bin", &[0; 10]), ("latin.csv", b"n\xe4me\n1\n")]);
    for (splits, kind, text) in [
        (Splits::lines(&store, "missing"), ErrorKind::NotFound, "there is no file in"),
        (Splits::fixed(&store, "a.bin", 4), ErrorKind::InvalidInput, "2 are left over"),
        (Splits::fixed(&store, "a.bin", 0), ErrorKind::InvalidInput, "one byte or more"),
        (Splits::csv(&store, "latin.csv", Csv::default()), ErrorKind::InvalidInput, "not UTF-8"),
    ] {
        let error = runtime().block_on(splits.stream().try_collect::<Vec<_>>()).unwrap_err();
        assert!(error.kind() == kind && error.to_string().contains(text), "{error}");
    }
}

#[test]
fn an_object_that_changed_since_planning_is_not_read() {
    let (folder, store) = folder(&[("a.txt", b"1\n2\n")]);
    let splits = Splits::lines(&store, "");
    let split = runtime().block_on(splits.stream().try_collect::<Vec<_>>()).unwrap().remove(0);
    std::fs::write(folder.path().join("a.txt"), b"10\n20\n").unwrap();
    let error = runtime().block_on(store.read(&split.objects[0])).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("changed since it was planned"), "{error}");
}
