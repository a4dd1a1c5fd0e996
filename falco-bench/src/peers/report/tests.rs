//! Reports of a few rounds.

use super::*;

fn measured(seconds: f64, megabytes: f64) -> Cell {
    let answer = json!([1, 7]);
    let memory = megabytes * 1e6;
    Cell::measured(Measured { seconds, ready: Some(1.0), memory, answer, log: String::new() }, 1)
}

fn report(rows: Vec<Row>) -> Report {
    let contenders = [FALCO, STANDARD, "joblib", "ray"].map(|name| (name, format!("{name} 1.0")));
    let (machine, sizes) = (Machine::default(), Sizes::QUICK);
    Report { machine, sizes, contenders: contenders.into(), rows }
}

fn row(kind: Kind) -> Row {
    let (name, title) = ("noop", "100 no-op calls".to_owned());
    Row { name, title, kind, calls: 100, cells: BTreeMap::new() }
}

#[test]
fn the_goals_are_about_the_quickest_peer_and_the_one_with_the_least_memory() {
    let mut report = report(vec![row(Kind::Rate)]);
    report.add("noop", FALCO, measured(0.5, 30.0));
    report.add("noop", FALCO, measured(0.25, 40.0));
    report.add("noop", FALCO_IN_BATCHES, measured(0.125, 50.0));
    report.add("noop", STANDARD, measured(2.0, 10.0));
    report.add("noop", "joblib", measured(1.0, 80.0));
    report.add("noop", "ray", Cell::failed("not installed: a | b".to_owned()));
    let figures = report.figures().unwrap();
    let shown: Vec<_> = figures
        .iter()
        .map(|figure| (figure.name.as_str(), figure.measured, figure.floor))
        .collect();
    let expected = [
        ("peers: 100 no-op calls, beside joblib", 400.0, Some(100.0)),
        ("peers: 100 no-op calls, in batches, beside joblib", 800.0, Some(100.0)),
        // The standard library is left out of the goal for memory, and the larger round of Falco counts.
        ("peers: memory, noop, beside joblib", 40.0, Some(80.0)),
    ];
    assert_eq!(shown, expected);
    assert!(figures.iter().all(Figure::is_reached));
    let text = report.markdown();
    for expected in [
        "| 100 no-op calls, calls/s | 400 | 50.0 | 100 | – (1) |",
        "(1) ray 1.0: not installed: a | b",
        "| 400 calls/s | 100 | 4.00 | >= 2 | reached |",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
}

#[test]
fn a_round_that_fails_takes_the_figures_of_the_others_away() {
    let mut report = report(vec![row(Kind::Time)]);
    report.add("noop", FALCO, measured(0.5, 30.0));
    report.add("noop", "joblib", measured(1.0, 80.0));
    report.add("noop", "joblib", Cell::failed("the answer is wrong".to_owned()));
    assert!(report.has_failed("noop", "joblib") && !report.has_failed("noop", FALCO));
    let error = report.figures().unwrap_err().to_string();
    assert!(error.contains("no other contender"), "{error}");
    assert!(!report.markdown().contains("reached"));
}

#[test]
fn failures_say_how_many_results_there_are_and_whether_the_input_is_named() {
    let mut report = report(vec![row(Kind::Failures)]);
    let answers = [
        (FALCO, json!({ "map": 0, "each": 99, "named": true }), ""),
        (STANDARD, json!({ "map": 50, "each": 99, "named": false }), "input 7000500"),
        ("joblib", json!({ "map": 0, "each": null, "named": false }), ""),
    ];
    for (name, answer, log) in answers {
        let log = log.to_owned();
        let measured = Measured { seconds: 1.0, ready: None, memory: 1.0, answer, log };
        report.add("noop", name, Cell::measured(measured, 1));
    }
    let text = report.markdown();
    for expected in [
        ": results of map | 0 of 100 | 50 of 100 | 0 of 100 | not run |",
        ": results one by one | 99 of 100 | 99 of 100 | no such call | not run |",
        ": the failing input is named | by the error | in the log | no | not run |",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
}

#[test]
fn only_those_that_take_more_than_twice_as_long_as_the_quickest_are_far_behind() {
    let mut report = report(vec![row(Kind::Time)]);
    report.add("noop", FALCO, measured(1.0, 30.0));
    report.add("noop", "joblib", measured(2.5, 30.0));
    report.add("noop", "joblib", measured(1.9, 30.0));
    report.add("noop", "ray", measured(2.1, 30.0));
    let behind = [FALCO, "joblib", "ray", STANDARD].map(|name| report.is_far_behind("noop", name));
    assert_eq!(behind, [false, false, true, false]);
}
