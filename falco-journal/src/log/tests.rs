//! The log on disks that fail.

use std::path::Path;

use super::*;
use crate::disk::faulty::{Fault, Faulty};
use crate::record::StageEnded;
use crate::replay::{Keep, replay};

fn log(directory: &Path, fault: Fault, segment_bytes: u64) -> (Result<Log>, Faulty) {
    let disk = Faulty::new(fault);
    let begin = Begin {
        directory: directory.to_owned(),
        run: "run".to_owned(),
        name: String::new(),
        command: None,
        first: 1,
        after: Vec::new(),
        lost: Vec::new(),
        segment_bytes,
        most_bytes: u64::MAX,
    };
    (Log::create(begin, Arc::new(disk.clone())), disk)
}

fn record(stage: u32) -> StageEnded {
    StageEnded { s: stage, e: Some("an error that makes the record longer".to_owned()) }
}

#[test]
fn a_full_disk_leaves_a_journal_that_is_whole_up_to_the_last_record_that_fits() {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = log(directory.path(), Fault::Full(1000), u64::MAX);
    let log = log.unwrap();
    let written = (0..).find(|at| log.append(kind::STAGE_ENDED, &record(*at)).is_err()).unwrap();
    assert!(written > 3);
    let error = log.append(kind::STAGE_ENDED, &record(0)).unwrap_err();
    assert!(error.to_string().contains("cannot be written"), "{error}");
    assert!(log.sync().is_err() && log.failure().is_some());
    let replay = replay(directory.path(), Keep::Everything).unwrap();
    assert_eq!(replay.ended.len(), written as usize);
    assert_eq!(replay.bytes, replay.segments[0].length, "the part that fitted was cut back");
}

#[test]
fn short_writes_are_continued() {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = log(directory.path(), Fault::ShortWrites(7), u64::MAX);
    let log = log.unwrap();
    for stage in 0..10 {
        log.append(kind::STAGE_ENDED, &record(stage)).unwrap();
    }
    assert_eq!(replay(directory.path(), Keep::Everything).unwrap().ended.len(), 10);
}

#[test]
fn a_failed_write_is_an_error_for_everybody_from_then_on() {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = log(directory.path(), Fault::Writes(3), u64::MAX);
    let log = log.unwrap();
    let failed = (0..10).filter(|at| log.append(kind::STAGE_ENDED, &record(*at)).is_err());
    assert_eq!(failed.count(), 9);
}

#[tokio::test]
async fn a_failed_sync_is_not_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let (log, disk) = log(directory.path(), Fault::Syncs(1), u64::MAX);
    let log = log.unwrap();
    let end = log.append(kind::STAGE_ENDED, &record(1)).unwrap();
    assert!(log.sync().is_err());
    let syncs = disk.syncs();
    assert!(log.sync().is_err() && log.synced(end).await.is_err());
    assert_eq!(disk.syncs(), syncs, "the kernel may have marked the pages as clean");
}

#[test]
fn where_nothing_can_be_created_the_run_does_not_begin() {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = log(directory.path(), Fault::ReadOnly, u64::MAX);
    assert!(log.unwrap_err().to_string().contains("cannot be created"));
}

#[test]
fn a_log_of_many_segments_is_read_as_one() {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = log(directory.path(), Fault::ShortWrites(usize::MAX), 300);
    let log = log.unwrap();
    for stage in 0..20 {
        log.append(kind::STAGE_ENDED, &record(stage)).unwrap();
    }
    let replay = replay(directory.path(), Keep::Everything).unwrap();
    assert_eq!((replay.ended.len(), replay.processes), (20, 1));
    assert!(replay.segments.len() > 4, "{:?}", replay.segments);
}

#[test]
fn a_second_process_is_kept_out_by_the_number_of_its_segment() {
    let directory = tempfile::tempdir().unwrap();
    let whole = Fault::ShortWrites(usize::MAX);
    let (first, _) = log(directory.path(), whole, u64::MAX);
    let (second, _) = log(directory.path(), whole, u64::MAX);
    assert!(first.is_ok());
    assert_eq!(second.unwrap_err().kind(), ErrorKind::Conflict);
}

#[test]
fn syncing_twice_without_news_costs_one_sync() {
    let directory = tempfile::tempdir().unwrap();
    let (log, disk) = log(directory.path(), Fault::ShortWrites(usize::MAX), u64::MAX);
    let log = log.unwrap();
    let syncs = disk.syncs();
    log.sync().unwrap();
    log.sync().unwrap();
    assert_eq!(disk.syncs(), syncs);
}

#[test]
fn the_sleeping_thread_wakes_for_a_new_sync_even_after_requests_for_bytes_already_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = log(directory.path(), Fault::ShortWrites(usize::MAX), u64::MAX);
    let log = log.unwrap();
    let synced = log.end();
    std::thread::scope(|scope| {
        // Long enough that a signal which is lost makes the test late, and short enough that it ends.
        const PATIENCE: Duration = Duration::from_secs(60);
        let begun = Instant::now();
        let sleeper = scope.spawn(|| log.wait(PATIENCE));
        // What is on disk already wakes the thread, and lets it sleep again; whether it sleeps by then or not.
        for total in [synced - 1, synced] {
            log.want(total);
            std::thread::yield_now();
        }
        log.want(synced + 1);
        assert!(sleeper.join().unwrap(), "nothing was wanted");
        assert!(begun.elapsed() < PATIENCE / 2, "the signal was lost");
    });
    // Nobody wants more than that.
    assert!(log.append(kind::STAGE_ENDED, &record(0)).is_ok() && log.sync().is_ok());
    assert!(!log.wait(Duration::from_millis(1)));
}

#[test]
fn records_that_are_awaited_are_written_together_and_before_later_ones() {
    let directory = tempfile::tempdir().unwrap();
    let (log, disk) = log(directory.path(), Fault::Writes(u64::MAX), u64::MAX);
    let log = log.unwrap();
    let written = || replay(directory.path(), Keep::Everything).unwrap().ended;
    let writes = disk.writes();
    for stage in 0..10 {
        log.append_awaited(kind::STAGE_ENDED, &record(stage)).unwrap();
    }
    assert_eq!((disk.writes(), written().len()), (writes, 0), "nobody has asked for them yet");
    log.append(kind::STAGE_ENDED, &record(10)).unwrap();
    assert_eq!((disk.writes(), written().len()), (writes + 1, 11));
    let end = log.append_awaited(kind::STAGE_ENDED, &record(11)).unwrap();
    assert!(!log.is_synced(end).unwrap());
    log.sync().unwrap();
    assert!(log.is_synced(end).unwrap() && written().len() == 12);
    // The memory they take is limited.
    let writes = disk.writes();
    for stage in 12..2_000 {
        log.append_awaited(kind::STAGE_ENDED, &record(stage)).unwrap();
    }
    assert!((1..20).contains(&(disk.writes() - writes)), "{}", disk.writes() - writes);
}

#[test]
fn awaited_records_that_do_not_fit_on_the_disk_are_cut_back_and_never_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = log(directory.path(), Fault::Full(1_000), u64::MAX);
    let log = log.unwrap();
    log.append(kind::STAGE_ENDED, &record(0)).unwrap();
    let ends: Vec<u64> = (1..50)
        .map(|stage| log.append_awaited(kind::STAGE_ENDED, &record(stage)).unwrap())
        .collect();
    let error = log.sync().unwrap_err();
    assert!(error.to_string().contains("cannot be written"), "{error}");
    assert!(ends.iter().all(|end| log.is_synced(*end).is_err()));
    assert!(log.append_awaited(kind::STAGE_ENDED, &record(0)).is_err());
    let replay = replay(directory.path(), Keep::Everything).unwrap();
    assert_eq!((replay.ended.len(), replay.bytes), (1, replay.segments[0].length));
}
