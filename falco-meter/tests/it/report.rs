//! Reports and plots as files.

use std::os::unix::fs::PermissionsExt;

use falco_meter::{critical_path, report, write_plots, write_report};
use falco_trace::{Call, CallOutcome, Micros, Record};
use proptest::prelude::*;

use crate::sample::{records, write};

#[test]
fn a_report_is_its_owners_and_names_its_policy() {
    let folder = tempfile::tempdir().unwrap();
    let trace = write(folder.path(), &records(200, true));
    let path = folder.path().join("report.html");
    write_report(&trace, &path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let html = std::fs::read_to_string(path).unwrap();
    assert!(html.contains("default-src 'none'; script-src 'sha256-"));
    assert!(!html.contains("src=\"") && !html.contains("href=\""), "it asks for something");
    assert_eq!(html.matches("</script>").count(), 2);
}

#[test]
fn a_report_of_many_calls_is_small() {
    let folder = tempfile::tempdir().unwrap();
    let columns = |calls| {
        let html = report(write(folder.path(), &records(calls, true))).unwrap();
        let (_, columns) = html.split_once("\"columns\":\"").unwrap();
        columns.split_once('"').unwrap().0.len()
    };
    let (few, many) = (columns(2_000), columns(22_000));
    let each = (many - few) as f64 / 20_000.0;
    // So that a million take less than 4 MB with all that does not grow.
    assert!(each < 3.5, "{each} bytes for each call more");
}

#[test]
fn plots_are_svg_with_their_numbers_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    let trace = write(folder.path(), &records(500, true));
    let files = write_plots(&trace, folder.path().join("plots")).unwrap();
    let names: Vec<_> = files.iter().map(|it| it.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "timeline.svg",
            "timeline.csv",
            "in-flight.svg",
            "in-flight.csv",
            "latency.svg",
            "latency.csv",
            "heat.svg",
            "heat.csv",
            "stages.svg",
            "stages.csv",
            "window.svg",
            "window.csv",
            "rate.svg",
            "rate.csv",
        ]
    );
    let stages = std::fs::read_to_string(&files[9]).unwrap();
    assert!(stages.starts_with("stage,started_s,ended_s,succeeded,failed,calls,usd\nsplit,1,"));
    for svg in files.iter().step_by(2) {
        let svg = std::fs::read_to_string(svg).unwrap();
        assert!(svg.starts_with("<svg ") && svg.contains("<text ") && !svg.contains("NaN"));
    }
    let heat = std::fs::read_to_string(&files[7]).unwrap();
    let calls: u64 = heat
        .lines()
        .skip(1)
        .map(|line| line.rsplit(',').next().unwrap().parse::<u64>().unwrap())
        .sum();
    let listed = records(500, true).iter().filter(|it| matches!(it, Record::Call(_))).count();
    assert_eq!(calls, listed as u64);
}

#[test]
fn plots_stay_the_same_to_the_byte() {
    let folder = tempfile::tempdir().unwrap();
    let trace = write(folder.path(), &records(60, true));
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let files = write_plots(&trace, folder.path().join("plots")).unwrap();
    for svg in files.iter().filter(|file| file.extension().is_some_and(|it| it == "svg")) {
        let bytes = std::fs::read(svg).unwrap();
        falco_testkit::assert_golden(golden.join(svg.file_name().unwrap()), bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_critical_path_has_no_gap_and_is_not_longer_than_the_run(
        calls in proptest::collection::vec((0_i64..5_000, 0_i64..500, 0_i64..3_000, 0_i64..900, 1_u32..3, 0_u32..12), 1..60),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut all = records(0, false);
        let mut end = 0;
        for (at, limit, took, queue, attempt, id) in calls {
            let stage = ["split", "map", "reduce"][id as usize % 3];
            let done = at + limit + took;
            end = end.max(done);
            let mut call = Call::new(stage, id.to_string(), Micros(at), Micros(done), CallOutcome::Ok);
            (call.sent, call.queue, call.attempt) = (Some(Micros(at + limit)), Some(Micros(queue)), attempt);
            all.push(Record::Call(Box::new(call)));
        }
        let path = critical_path(write(folder.path(), &all)).unwrap();
        let wall = all.iter().filter_map(|it| match it { Record::Call(call) => Some(call.done), _ => None }).max().unwrap();
        prop_assert_eq!(path.length(), wall);
        prop_assert!(wall.0 >= end);
        let mut before = Micros(0);
        for step in &path.steps {
            prop_assert_eq!(step.from, before);
            prop_assert_eq!(step.parts.iter().map(|part| part.0).sum::<i64>(), step.to.0 - step.from.0);
            prop_assert!(step.parts.iter().all(|part| part.0 >= 0));
            before = step.to;
        }
    }
}
