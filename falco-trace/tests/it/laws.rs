//! Laws that hold for every run.

use std::sync::Arc;

use falco_trace::{Call, CallOutcome, Record, Recorder, RunView, TraceFile, read_file};
use proptest::prelude::*;

use super::support::{replayed, run};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_read_from_the_file_is_what_was_seen_live(
        seed in 0_u64..1_000_000, submits: bool, count in 1_usize..120, compressed: bool,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(if compressed { "t.jsonl.gz" } else { "t.jsonl" });
        let recorder = Recorder::new().with_file(TraceFile::new(&path)).unwrap();
        let recorder = Arc::new(recorder);
        let outcome = runtime().block_on(run(&recorder, seed, submits, count));
        let live = recorder.view();
        let (replayed, end) = replayed(&path);
        prop_assert_eq!(&live, &replayed);
        prop_assert_eq!((end.skipped, end.is_cut), (0, false));
        prop_assert_eq!(recorder.in_flight(), (0, 0));
        for report in &outcome.report.stages {
            let stage = live.stage(report.stage.as_str()).unwrap();
            let counts = report.invocations;
            prop_assert_eq!(stage.counts.ended(), counts.entered());
            prop_assert_eq!(stage.counts.succeeded(), counts.succeeded);
            prop_assert_eq!(stage.counts.of(CallOutcome::Function), counts.function_failed);
            prop_assert_eq!(stage.counts.of(CallOutcome::Platform), counts.platform_failed);
            prop_assert_eq!(stage.counts.of(CallOutcome::Unknown), counts.unknown);
            prop_assert_eq!(stage.throttled, report.throttled);
            prop_assert_eq!(stage.settled.sum(), counts.entered());
            prop_assert_eq!(stage.cold_starts, report.cold_starts);
            let cost = report.cost.map_or(0.0, |cost| cost.0);
            let seen = stage.cost.unwrap_or_default().as_dollars();
            prop_assert!((cost - seen).abs() < 1e-12, "{} {}", cost, seen);
        }
    }

    #[test]
    fn a_file_that_is_cut_anywhere_reads_to_its_last_whole_line(cut in 0.0_f64..1.0) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.jsonl");
        let recorder = Recorder::new().with_file(TraceFile::new(&path)).unwrap();
        let recorder = Arc::new(recorder);
        let _ = runtime().block_on(run(&recorder, 7, false, 30));
        let whole = std::fs::read(&path).unwrap();
        let part = &whole[..(whole.len() as f64 * cut) as usize];
        let lines = part.iter().filter(|byte| **byte == b'\n').count();
        std::fs::write(&path, part).unwrap();
        let mut read = 0;
        match read_file(&path, |_| read += 1) {
            Ok(end) => prop_assert_eq!((end.records as usize, end.skipped), (lines, 0)),
            Err(error) => prop_assert!(lines == 0, "{}", error),
        }
        prop_assert_eq!(read, lines);
    }

    #[test]
    fn every_line_reads_as_it_was_written(
        stage in "\\PC{0,8}", id in "[\"\\\\\u{0}-\u{20}a-zé]{0,8}",
        times in proptest::array::uniform4(-1_000_000_i64..1_000_000_000_000),
        attempt in 1_u32..9, outcome in 0..CallOutcome::ALL.len(), last: bool,
    ) {
        use falco_trace::Micros;
        let outcome = CallOutcome::ALL[outcome];
        let mut call = Call::new(stage, id, Micros(times[0]), Micros(times[1]), outcome);
        (call.attempt, call.last) = (attempt, last);
        (call.queue, call.started) = (Some(Micros(times[2])), Some(Micros(times[3])));
        let record = Record::Call(Box::new(call));
        let mut line = Vec::new();
        record.write_to(&mut line);
        prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        prop_assert_eq!(Record::parse(&line).unwrap(), Some(record));
    }
}

#[test]
fn aggregates_do_not_grow_with_the_calls() {
    let mut view = RunView::default();
    for n in 0..20_000_i64 {
        let outcome = if n % 3 == 0 { CallOutcome::Function } else { CallOutcome::Ok };
        let at = falco_trace::Micros(n * 90_000);
        let mut call = Call::new("map", n.to_string(), at, falco_trace::Micros(at.0 + n), outcome);
        call.last = true;
        call.error = outcome.is_failure().then(Default::default);
        view.apply(&Record::Call(Box::new(call)));
    }
    let stage = view.stage("map").unwrap();
    assert_eq!((stage.failures.len(), stage.failures_not_listed()), (100, 6_567));
    assert_eq!((view.slowest(None).len(), view.recent.len()), (50, 2_000));
    assert!(stage.settled.points().len() <= falco_trace::SERIES_POINTS);
}

#[test]
fn each_stage_has_its_own_slowest_and_the_run_those_of_all() {
    let mut view = RunView::default();
    for n in 0..200_i64 {
        // Those of the first stage are all slower than those of the second.
        for (stage, took) in [("slow", 1_000 + n), ("quick", n)] {
            let (at, done) = (falco_trace::Micros(0), falco_trace::Micros(took));
            let mut call = Call::new(stage, n.to_string(), at, done, CallOutcome::Ok);
            call.last = true;
            view.apply(&Record::Call(Box::new(call)));
        }
    }
    let took = |stage| -> Vec<i64> { view.slowest(stage).iter().map(|it| it.done.0).collect() };
    let last = |from: i64| -> Vec<i64> { (from..from + 50).rev().collect() };
    assert_eq!(took(None), last(1_150));
    assert_eq!(took(Some("quick")), last(150));
}

#[test]
fn what_is_left_out_of_a_list_is_counted() {
    let mut view = RunView::default();
    for n in 0..130_u32 {
        let mut note = falco_trace::NoteRecord::default();
        note.text = n.to_string();
        view.apply(&Record::Note(note));
        let mut gate = falco_trace::GateRecord::default();
        gate.name = n.to_string();
        view.apply(&Record::Gate(gate));
    }
    assert_eq!((view.notes.len(), view.notes_left_out), (100, 30));
    assert_eq!((view.gates.len(), view.samples_left_out), (100, 30));
}
