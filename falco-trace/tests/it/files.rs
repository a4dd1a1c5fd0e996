//! Files as a user names them.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use falco_core::{
    Activation, AttemptReason, Attempts, ErrorKind, Event, Invocation, Monitor, Outcome, Payload,
};
use falco_trace::{
    CallIndex, CallOutcome, CallQuery, Follower, Record, Recorder, RunView, TraceFile, read_file,
};

use super::support::{replayed, run};

#[tokio::test(start_paused = true)]
async fn a_trace_in_segments_is_read_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.jsonl");
    let file = TraceFile::new(&path).with_segments(20_000);
    let recorder = Arc::new(Recorder::new().with_file(file).unwrap());
    let _ = run(&recorder, 3, false, 150).await;
    assert!(folder.path().join("t.jsonl.1").exists());
    let (view, _) = replayed(&path);
    assert_eq!(view, recorder.view());
    let second = std::fs::read_to_string(folder.path().join("t.jsonl.1")).unwrap();
    assert!(second.starts_with(r#"{"e":"run","v":1,"run":"run-1""#), "{second:.60}");
}

#[tokio::test(start_paused = true)]
async fn the_file_is_its_owners_and_holds_no_payload() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.jsonl");
    let file = TraceFile::new(&path).without_errors();
    let recorder = Arc::new(Recorder::new().with_file(file).unwrap());
    let _ = run(&recorder, 5, true, 40).await;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(r#""err":{"kind":"#) && !text.contains(r#""msg""#));
    assert!(
        !text.contains(r#""n\":"#) && !text.contains(r#"{"n":0}"#),
        "a payload is in the trace"
    );
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_costs_the_trace_and_not_the_run() {
    let recorder = Recorder::new().with_file(TraceFile::new("/dev/full")).unwrap();
    let recorder = Arc::new(recorder);
    let outcome = run(&recorder, 5, false, 40).await;
    assert!(outcome.report.stages.iter().all(|stage| stage.invocations.entered() > 0));
    let view = recorder.view();
    assert_eq!(view.notes.len(), 1);
    assert!(view.notes[0].text.contains("No space left on device"), "{}", view.notes[0].text);
    assert!(view.stages[0].counts.ended() == 40);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_under_a_compressed_trace_is_said_once_with_the_lines_that_are_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.jsonl.gz");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let recorder = Arc::new(Recorder::new().with_file(TraceFile::new(&path)).unwrap());
    let _ = run(&recorder, 5, false, 40).await;
    recorder.flush();
    let view = recorder.view();
    assert_eq!(view.notes.len(), 1, "{:?}", view.notes);
    assert!(view.notes[0].text.contains("No space left on device"), "{}", view.notes[0].text);
    assert!(view.notes[0].dropped["written"] >= 40, "{:?}", view.notes[0]);
    assert_eq!(view.stages[0].counts.ended(), 40);
}

#[test]
fn a_disk_that_stands_still_under_a_compressed_trace_holds_up_neither_calls_nor_the_timer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.jsonl.gz");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    // A pipe takes 64 KiB while nobody reads; opened for both, it waits for no other end.
    let mut pipe = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    let recorder = Arc::new(Recorder::new().with_file(TraceFile::new(&path)).unwrap());
    let run = falco_core::RunId::from("run-1");
    let _ = recorder.event(&Event::RunStarted { run: &run, plan: None });
    let calls = 8_000;
    for n in 0..calls {
        // Ids that nothing can compress.
        let id = format!("{:016x}", (n + 1_u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let it = Invocation::new("run-1", "map", id.as_str(), Payload::empty())
            .with_monitor(recorder.clone());
        it.report(&Event::Admitted { invocation: &it });
        it.report(&Event::Attempt { invocation: &it, reason: AttemptReason::First });
        let outcome =
            Outcome::from_activation(Activation::succeeded(id.as_str(), Payload::empty()));
        let attempts = Attempts::new(1);
        let _ = it.complete(outcome, attempts, std::time::SystemTime::now(), Duration::ZERO);
    }
    // More than the pipe takes has been recorded. The timer takes a sample and flushes nevertheless.
    let taken =
        |recorder: &Recorder| recorder.with_view(|view| view.flight().map(|it| it.latest.t));
    let before = recorder.now();
    for n in 0.. {
        if taken(&recorder).is_some_and(|time| time > before) {
            break;
        }
        assert!(n < 6_000, "the timer took no sample in a minute");
        let it = Invocation::new("run-1", "map", format!("more-{n}"), Payload::empty());
        // What is in flight changes, so that the next sample is written.
        let _ = recorder.event(&Event::Admitted { invocation: &it });
        std::thread::sleep(Duration::from_millis(10));
    }
    let copy = folder.path().join("copy.jsonl.gz");
    let reader = std::thread::spawn({
        let copy = copy.clone();
        move || {
            let mut to = std::fs::File::create(copy).unwrap();
            let mut part = vec![0; 1 << 16];
            // The trailer of the only member ends it.
            while let Ok(read) = pipe.read(&mut part) {
                to.write_all(&part[..read]).unwrap();
                if part[..read].ends_with(b"END") {
                    break;
                }
            }
        }
    });
    let _ = recorder.event(&Event::RunFinished { run: &run, error: None });
    std::fs::File::options().write(true).open(&path).unwrap().write_all(b"END").unwrap();
    reader.join().unwrap();
    let whole = std::fs::read(&copy).unwrap();
    std::fs::write(&copy, whole.strip_suffix(b"END").unwrap()).unwrap();
    let (view, end) = replayed(&copy);
    assert_eq!((view.stages[0].counts.ended(), end.is_cut), (calls, false));
    assert!(whole.len() > 2 * 65_536, "{} bytes fit into the pipe", whole.len());
}

#[tokio::test(start_paused = true)]
async fn a_trace_that_is_required_stops_the_run_on_a_full_disk() {
    let file = TraceFile::new("/dev/full").with_required();
    let recorder = Arc::new(Recorder::new().with_file(file).unwrap());
    let outcome = run(&recorder, 5, false, 400).await;
    let error = outcome.report.error.expect("it was stopped").to_string();
    assert!(error.contains("the monitor Recorder stopped the run"), "{error}");
}

#[test]
fn what_is_not_a_trace_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.jsonl");
    let read = |text: &str| {
        std::fs::write(&path, text).unwrap();
        read_file(&path, |_| {})
    };
    assert_eq!(read("hello\n").unwrap_err().kind(), ErrorKind::InvalidInput);
    let later = read("{\"e\":\"run\",\"v\":2,\"run\":\"r\"}\n").unwrap_err();
    assert_eq!(later.kind(), ErrorKind::Unsupported);
    assert!(later.to_string().contains("version 2"), "{later}");
    let end = read("{\"e\":\"run\",\"v\":1,\"run\":\"r\",\"new\":1}\n{\"e\":\"new\"}\n").unwrap();
    assert_eq!((end.records, end.skipped), (1, 1));
    let missing = read_file(folder.path().join("none"), |_| {}).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_growing_file_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("t.jsonl"), folder.path().join("copy.jsonl"));
    let recorder = Arc::new(Recorder::new().with_file(TraceFile::new(&path)).unwrap());
    let _ = run(&recorder, 11, false, 60).await;
    let whole = std::fs::read(&path).unwrap();
    let (mut follower, mut view) = (Follower::new(&copy), RunView::default());
    for part in 1..=7 {
        std::fs::write(&copy, &whole[..whole.len() * part / 7]).unwrap();
        follower.read_more(|record| view.apply(&record)).unwrap();
    }
    assert_eq!(view, recorder.view());
}

#[tokio::test(start_paused = true)]
async fn a_compressed_trace_of_a_killed_process_reads_to_the_last_flush() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.jsonl.gz");
    let recorder = Arc::new(Recorder::new().with_file(TraceFile::new(&path)).unwrap());
    let _ = run(&recorder, 13, false, 60).await;
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 200]).unwrap();
    let (view, end) = replayed(&path);
    assert!(end.is_cut && end.records > 10 && !view.is_over());
    let mut kinds = 0;
    read_file(&path, |record| kinds += u32::from(matches!(record, Record::Call(_)))).unwrap();
    assert!(kinds > 5);
}

#[tokio::test(start_paused = true)]
async fn calls_are_found_in_every_kind_of_file_and_in_pages() {
    let folder = tempfile::tempdir().unwrap();
    let plain = TraceFile::new(folder.path().join("t.jsonl"));
    let zipped = TraceFile::new(folder.path().join("z.jsonl.gz"));
    let in_segments = TraceFile::new(folder.path().join("s.jsonl")).with_segments(90_000);
    let zipped_segments = TraceFile::new(folder.path().join("zs.jsonl.gz")).with_segments(90_000);
    let names = ["t.jsonl", "z.jsonl.gz", "s.jsonl", "zs.jsonl.gz"];
    for (name, file) in names.into_iter().zip([plain, zipped, in_segments, zipped_segments]) {
        let path = folder.path().join(name);
        let recorder = Arc::new(Recorder::new().with_file(file).unwrap());
        let _ = run(&recorder, 17, false, 900).await;
        let mut all = Vec::new();
        read_file(&path, |record| {
            if let Record::Call(call) = record {
                all.push(*call);
            }
        })
        .unwrap();
        assert!(all.len() > 1_800, "{name} has blocks to leave out");
        let middle = all[all.len() / 2].sent_at();
        let queries = [
            CallQuery::default(),
            CallQuery::default().with_stage("next".to_owned()),
            CallQuery::default().with_outcomes(vec![CallOutcome::Platform]),
            CallQuery::default()
                .with_from(middle)
                .with_min(falco_trace::Micros(40_000))
                .with_max(falco_trace::Micros(300_000)),
            CallQuery::default().with_to(middle),
            CallQuery::default().with_stage("none".to_owned()),
        ];
        let mut index = CallIndex::new(&path);
        for query in queries {
            let (mut found, mut after) = (Vec::new(), Some(0));
            while let Some(line) = after {
                let (page, next) = index.calls(&query, line, 300).unwrap();
                assert!(page.len() == 300 || next.is_none(), "{name}: a page is not full");
                found.extend(page);
                after = next;
            }
            let wanted: Vec<_> = all.iter().filter(|call| query.takes(call)).cloned().collect();
            assert_eq!(found, wanted, "{name}: {query:?}");
        }
    }
    let missing = CallIndex::new(folder.path().join("none")).calls(&CallQuery::default(), 0, 1);
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn calls_are_found_in_a_file_that_grows() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut text) = (folder.path().join("t.jsonl"), Vec::new());
    let mut index = CallIndex::new(&path);
    for n in 1..=3_i64 {
        for _ in 0..700 {
            let (at, done) = (falco_trace::Micros(n), falco_trace::Micros(n + 5));
            let call = falco_trace::Call::new("map", n.to_string(), at, done, CallOutcome::Ok);
            Record::Call(Box::new(call)).write_to(&mut text);
        }
        std::fs::write(&path, &text[..text.len() - 9]).unwrap();
        let (found, _) = index.calls(&CallQuery::default(), 0, usize::MAX).unwrap();
        // The last line is not whole.
        assert_eq!(found.len() as i64, n * 700 - 1);
    }
}
