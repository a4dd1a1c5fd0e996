//! Tests of archives: they can be read again, are the same every time, and harm no reader.

use std::io::{Cursor, Write};

use falco_core::{Code, ErrorKind};
use falco_package::{Archive, File};
use proptest::prelude::*;
use zip::write::SimpleFileOptions;
use zip::{DateTime, ZipArchive, ZipWriter};

fn zip_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        zip.start_file(name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn archives() -> impl Strategy<Value = Archive> {
    let file = ("[a-c]{1,2}(/[a-c]{1,2}){0,2}", any::<Vec<u8>>(), any::<bool>());
    prop::collection::vec(file, 0..8).prop_map(|files| {
        let mut archive = Archive::new();
        for (path, content, executable) in files {
            // Paths that collide are refused, and left out.
            let _ = archive.insert(path, File::new(content, executable));
        }
        archive
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_packed_is_unpacked_unchanged(archive in archives()) {
        let zip = archive.to_zip().unwrap();
        prop_assert_eq!(Archive::from_zip(&zip).unwrap(), archive);
    }

    #[test]
    fn the_order_in_which_files_are_added_does_not_change_the_bytes(archive in archives()) {
        let mut reversed = Archive::new();
        for (path, file) in archive.files().collect::<Vec<_>>().into_iter().rev() {
            reversed.insert(path, file.clone()).unwrap();
        }
        prop_assert_eq!(reversed.to_zip().unwrap(), archive.to_zip().unwrap());
    }

    #[test]
    fn damaged_archives_are_errors_and_no_panics(
        archive in archives(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut zip = archive.to_zip().unwrap().to_vec();
        let at = at.index(zip.len());
        zip[at] = byte;
        let _ = Archive::from_zip(&zip);
    }
}

#[test]
fn entries_are_sorted_and_their_time_is_1980() {
    let archive = Archive::new().with_file("b", "2").unwrap().with_executable("a", "1").unwrap();
    let mut zip = ZipArchive::new(Cursor::new(archive.to_zip().unwrap())).unwrap();
    let mut seen = Vec::new();
    for index in 0..zip.len() {
        let entry = zip.by_index(index).unwrap();
        assert_eq!(entry.last_modified(), Some(DateTime::default()));
        seen.push((entry.name().unwrap().into_owned(), entry.unix_mode().unwrap() & 0o777));
    }
    assert_eq!(seen, [("a".to_owned(), 0o755), ("b".to_owned(), 0o644)]);
}

#[test]
fn an_entry_that_leads_out_is_refused_by_name() {
    for name in ["../evil", "/evil", "a/../../evil", "..\\evil"] {
        let error = Archive::from_zip(&zip_of(&[("ok", b"1"), (name, b"2")])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}: {error}");
        assert!(error.to_string().contains("evil"), "{error}");
    }
}

#[test]
fn a_link_is_refused_by_name() {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.add_symlink("out", "/etc/passwd", SimpleFileOptions::default()).unwrap();
    let error = Archive::from_zip(&zip.finish().unwrap().into_inner()).unwrap_err();
    assert!(error.to_string().contains("\"out\" is a symbolic link"), "{error}");
}

#[test]
fn an_archive_that_unpacks_to_too_much_is_refused_and_the_limit_is_inclusive() {
    let zeros = vec![0; 100_000];
    let zip = zip_of(&[("a", &zeros), ("bomb", &zeros)]);
    assert!(zip.len() < 2_000);
    assert_eq!(Archive::from_zip_within(&zip, 200_000).unwrap().unpacked_len(), 200_000);
    let error = Archive::from_zip_within(&zip, 199_999).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PayloadTooLarge);
    assert!(error.to_string().contains("bomb"), "{error}");
}

#[test]
fn an_archive_that_is_not_a_zip_is_refused_with_advice() {
    for bytes in [&b""[..], b"def main(args): pass", b"PK\x03\x04 cut"] {
        let error = Archive::from_zip(bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.hint().is_some());
    }
}

#[test]
fn source_text_becomes_the_main_file_and_a_script_is_executable() {
    let python = Archive::from_code(&Code::Source("x = 1".into()), "main.py").unwrap();
    assert!(!python.require("main.py").unwrap().executable);
    let script = Archive::from_code(&Code::Source("#!/bin/sh\n".into()), "exec").unwrap();
    script.check_native().unwrap();
}

#[test]
fn a_native_archive_without_a_good_executable_says_what_is_missing() {
    let script = "#!/bin/sh\n";
    for (archive, words) in [
        (Archive::new().with_executable("main", script), "no file \"exec\"; it holds main"),
        (Archive::new().with_executable("exec", "echo"), "ELF"),
        (Archive::new().with_file("exec", script), "not marked as executable"),
    ] {
        let error = archive.unwrap().check_native().unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}
