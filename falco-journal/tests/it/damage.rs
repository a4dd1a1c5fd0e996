//! Cut and damaged journals: a prefix of the run, or an error, and never anything else.

use std::fs;
use std::path::Path;

use falco_core::ErrorKind;
use falco_journal::{Durability, JournalConfig, ResumeOptions, RunJournal, RunState};
use proptest::prelude::*;

use crate::support::{
    RUN, begin_stage, config, create, folder, invocation, payload, result_of, resume, succeed,
};

/// A journal of `completed` successes, by one process after the other.
fn journal_of(directory: &Path, completed: &[u64]) {
    for (process, count) in completed.iter().enumerate() {
        let journal = if process == 0 { create(directory) } else { resume(directory) };
        begin_stage(&journal, "map");
        let first: u64 = completed[..process].iter().sum();
        for number in first..first + count {
            let invocation = invocation("map", &number.to_string(), number);
            succeed(&journal, invocation, payload(number * 2));
        }
    }
}

fn segments(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut segments: Vec<_> = fs::read_dir(directory.join(RUN))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "log"))
        .collect();
    segments.sort();
    segments
}

/// How many results a resume finds, which have to be the first ones and the right ones; or the error.
fn found(directory: &Path, all: u64) -> Result<u64, falco_core::Error> {
    let journal = RunJournal::resume(&config(directory), &RUN.into(), ResumeOptions::default())?;
    let results: Vec<_> = (0..all)
        .map(|number| result_of(&journal, &invocation("map", &number.to_string(), number)))
        .collect();
    let there = results.iter().take_while(|result| result.is_some()).count();
    for (number, result) in results.into_iter().enumerate() {
        assert_eq!(result, (number < there).then(|| payload(number as u64 * 2)), "{number}");
    }
    Ok(there as u64)
}

#[test]
fn each_cut_of_the_last_segment_leaves_a_prefix() {
    let directory = folder();
    journal_of(directory.path(), &[4, 4]);
    let path = segments(directory.path()).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    let mut last = 0;
    for length in 0..=whole.len() {
        let copy = folder();
        copy_run(directory.path(), copy.path());
        let path = copy.path().join(RUN).join(path.file_name().unwrap());
        fs::write(&path, &whole[..length]).unwrap();
        let there = found(copy.path(), 8).unwrap();
        assert!((4..=8).contains(&there) && there >= last, "{length}: {there}");
        last = there;
    }
    assert_eq!(last, 8);
}

#[test]
fn a_cut_of_what_a_later_segment_says_was_there_is_an_error() {
    let directory = folder();
    journal_of(directory.path(), &[4, 4]);
    let path = &segments(directory.path())[0];
    let whole = fs::read(path).unwrap();
    fs::write(path, &whole[..whole.len() - 1]).unwrap();
    let error = found(directory.path(), 8).unwrap_err();
    assert!(
        error.message().contains("damaged") && error.message().contains("000001.log"),
        "{error}"
    );
    fs::remove_file(path).unwrap();
    assert!(found(directory.path(), 8).unwrap_err().message().contains("missing"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn each_flipped_bit_leaves_a_prefix_or_an_error(at in any::<prop::sample::Index>(), bit in 0u8..8, first in any::<bool>()) {
        let directory = folder();
        journal_of(directory.path(), &[3, 3]);
        let path = &segments(directory.path())[usize::from(!first)];
        let mut bytes = fs::read(path).unwrap();
        let place = at.index(bytes.len());
        bytes[place] ^= 1 << bit;
        fs::write(path, &bytes).unwrap();
        match found(directory.path(), 6) {
            Ok(there) => prop_assert!(there >= if first { 6 } else { 3 }, "{there}"),
            Err(error) => prop_assert!(error.message().contains("000001.log") || error.message().contains("000002.log"), "{error}"),
        }
    }

    #[test]
    fn arbitrary_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), lines in prop::collection::vec("[hpndrixsctwyaf]", 0..6)) {
        let directory = folder();
        drop(create(directory.path()));
        let mut text = bytes;
        for kind in lines {
            let json = format!("{{\"k\":\"{kind}\",\"s\":1,\"i\":\"x\"}}");
            text.extend_from_slice(format!("\n{:08x} {json}\n", crc32c::crc32c(json.as_bytes())).as_bytes());
        }
        fs::write(directory.path().join(RUN).join("000002.log"), &text).unwrap();
        let _ = RunJournal::resume(&config(directory.path()), &RUN.into(), ResumeOptions::default());
        let _ = RunJournal::list(&config(directory.path())).unwrap();
        let _ = RunJournal::verify(&config(directory.path()), &RUN.into());
    }
}

#[test]
fn a_repair_gives_up_what_cannot_be_read_and_keeps_the_rest() {
    let directory = folder();
    journal_of(directory.path(), &[6, 1]);
    let path = &segments(directory.path())[0];
    let mut bytes = fs::read(path).unwrap();
    let place = bytes.windows(8).position(|it| it == br#""i":"2","#).unwrap();
    bytes[place] ^= 1;
    fs::write(path, &bytes).unwrap();
    let config = config(directory.path());
    let run = RUN.into();
    assert_eq!(RunJournal::verify(&config, &run).unwrap().len(), 1);
    assert_eq!(RunJournal::list(&config).unwrap()[0].state, RunState::Damaged);
    let repaired = RunJournal::repair(&config, &run).unwrap();
    assert_eq!(repaired.given_up.len(), 1, "{repaired:?}");
    assert!(RunJournal::verify(&config, &run).unwrap().is_empty());
    let journal = resume(directory.path());
    for number in 0..7u64 {
        let invocation = invocation("map", &number.to_string(), number);
        let result = result_of(&journal, &invocation);
        assert_eq!(result.is_some(), number != 2, "{number}");
    }
    // Its records may have been lost, and it is not idempotent.
    match falco_core::Journal::recall(&*journal, &invocation("map", "2", 2)).unwrap() {
        falco_core::Recalled::Done(completion) => {
            assert_eq!(completion.outcome.as_str(), "unknown");
        }
        other => panic!("{other:?}"),
    }
    let idempotent = invocation("map", "2", 2).with_idempotent(true);
    let recalled = falco_core::Journal::recall(&*journal, &idempotent).unwrap();
    assert!(matches!(recalled, falco_core::Recalled::Send { .. }), "{recalled:?}");
}

#[test]
fn a_segment_whose_header_was_given_up_keeps_its_results_and_about_its_times() {
    let directory = folder();
    let before = std::time::SystemTime::now();
    journal_of(directory.path(), &[3, 1]);
    let path = &segments(directory.path())[0];
    let mut bytes = fs::read(path).unwrap();
    bytes[20] ^= 1;
    fs::write(path, &bytes).unwrap();
    let (config, run) = (config(directory.path()), RUN.into());
    assert_eq!(RunJournal::repair(&config, &run).unwrap().given_up.len(), 1);
    let journal = resume(directory.path());
    for number in 0..4u64 {
        let invocation = invocation("map", &number.to_string(), number);
        let recalled = falco_core::Journal::recall(&*journal, &invocation).unwrap();
        let falco_core::Recalled::Done(completion) = recalled else { panic!("{recalled:?}") };
        assert_eq!(completion.result(), Some(&payload(number * 2)));
        // Times count from the header of the segment, or of the one beside it.
        let at = completion.requested_at;
        let hour = std::time::Duration::from_secs(3600);
        assert!(at > before - hour && at < before + hour, "{at:?}");
    }
}

#[test]
fn a_long_result_that_is_damaged_is_computed_again_or_named() {
    let directory = folder();
    let long =
        falco_core::Payload::json(&serde_json::json!({"text": "x".repeat(100_000)})).unwrap();
    let journal = create(directory.path());
    begin_stage(&journal, "map");
    succeed(&journal, invocation("map", "1", 1), long.clone());
    drop(journal);
    let journal = resume(directory.path());
    assert_eq!(result_of(&journal, &invocation("map", "1", 1)), Some(long));
    drop(journal);
    for folder in fs::read_dir(directory.path().join(RUN).join("blobs")).unwrap() {
        for blob in fs::read_dir(folder.unwrap().path()).unwrap() {
            fs::write(blob.unwrap().path(), "torn").unwrap();
        }
    }
    assert_eq!(RunJournal::verify(&config(directory.path()), &RUN.into()).unwrap().len(), 1);
    let journal = resume(directory.path());
    let idempotent = invocation("map", "1", 1).with_idempotent(true);
    let recalled = falco_core::Journal::recall(&*journal, &idempotent).unwrap();
    assert!(matches!(recalled, falco_core::Recalled::Send { attempt: 2, .. }), "{recalled:?}");
    let error = falco_core::Journal::recall(&*journal, &invocation("map", "1", 1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn what_was_synced_and_is_damaged_is_an_error_even_at_the_end() {
    let directory = folder();
    let config = JournalConfig::new(directory.path()).with_durability(Durability::Machine);
    let journal = RunJournal::create(&config, RUN.into()).unwrap();
    begin_stage(&journal, "map");
    succeed(&journal, invocation("map", "1", 1), payload(2));
    // The record of a sync is written when the journal is closed, at the latest.
    std::thread::sleep(std::time::Duration::from_millis(120));
    drop(journal);
    let path = &segments(directory.path())[0];
    let mut bytes = fs::read(path).unwrap();
    let place = bytes.windows(8).position(|it| it == br#""i":"1","#).unwrap();
    bytes[place] ^= 1;
    fs::write(path, &bytes).unwrap();
    let error = found(directory.path(), 1).unwrap_err();
    assert!(error.message().contains("damaged"), "{error}");
}

fn copy_run(from: &Path, to: &Path) {
    fs::create_dir_all(to.join(RUN)).unwrap();
    for entry in fs::read_dir(from.join(RUN)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, to.join(RUN).join(path.file_name().unwrap())).unwrap();
        }
    }
}
