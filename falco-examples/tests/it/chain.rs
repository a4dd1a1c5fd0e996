use crate::program::{Machine, has};

#[test]
fn each_number_gets_the_sum_of_its_square_and_its_cube() {
    if !has("python3") {
        return;
    }
    assert_eq!(Machine::new().run("chain", &["3"]).ok(), "1 2\n2 12\n3 36\n");
}

#[test]
fn its_own_loops_report_three_stages_and_leave_nothing() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let json = machine.run("chain", &["--json", "4"]).json();
    let stages = json["report"]["stages"].as_array().unwrap();
    let names: Vec<_> = stages.iter().map(|stage| stage["stage"].as_str().unwrap()).collect();
    assert_eq!(names, ["square", "cube", "join"]);
    let left = machine.run("cleanup", &["--older-than", "0s", "--dry-run"]).ok();
    assert_eq!(left, "");
}
