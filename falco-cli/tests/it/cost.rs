//! `--budget`, `--estimate`, `--platform` with several names, and `falco advise`.

use crate::program::{Machine, has};

const ECHO: &str = "def main(args): return args";

#[test]
fn a_run_names_its_price_and_its_estimate_and_says_what_it_has_spent() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let function = machine.file("echo.py", ECHO);
    let inputs = "1\n2\n3\n4\n5\n";
    let flags = ["map", "--text", "--estimate", "2", "--budget", "1", "-f", &function];
    let printed = machine.run_with(inputs, &flags);
    // This machine charges nothing.
    for part in ["price: ", "estimate: stage ", "$0.00 spent of a budget of $1.00"] {
        assert!(printed.stderr.contains(part), "{part}: {}", printed.stderr);
    }
    assert_eq!(printed.ok().lines().count(), 5);
}

/// Needs more than 64 MiB of memory for the input 3, and holds them until it is ended, on the first attempt.
const HUNGRY: &str = "
import os, time
def main(args):
    if args['line'] == '3':
        is_first = not os.path.exists(os.environ['MARK'])
        open(os.environ['MARK'], 'w').close()
        data = bytearray(160 << 20)
        if is_first:
            time.sleep(60)
    return {'n': int(args['line'])}
";

#[test]
fn what_runs_out_of_memory_is_repeated_in_a_larger_size_and_the_report_shows_both() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let function = machine.file("f.py", HUNGRY);
    let mark = format!("--env=MARK={}", machine.path("mark").display());
    let flags = ["map", "--text", "--json", "--memory", "64", "--escalate", "512", &mark, "-f"];
    let printed = machine.run_with("1\n2\n3\n4\n", &[&flags[..], &[&function]].concat());
    let report = printed.stderr.lines().last().unwrap();
    let report: serde_json::Value = serde_json::from_str(report).unwrap();
    assert_eq!(printed.ok().lines().count(), 4);
    let sizes = report["stages"][0]["sizes"].as_array().unwrap();
    let memory: Vec<_> = sizes.iter().map(|size| size["memory_mib"].as_u64()).collect();
    assert_eq!(memory, [Some(64), Some(512)], "{report}");
    machine.assert_clean();
}

#[test]
fn a_budget_of_nothing_a_platform_twice_and_weights_that_do_not_fit_are_refused() {
    let machine = Machine::new();
    let function = machine.file("echo.py", ECHO);
    for (flags, part) in [
        (&["--budget", "0"][..], "not greater than zero"),
        (&["--budget", "-5"], "not greater than zero"),
        (&["--estimate", "0"], "1 or more"),
        (&["--escalate", "1024,512"], "do not ascend"),
        (&["--platform", "local,local"], "twice"),
        (&["--weights", "1,2"], "2 weights are given for 1"),
        (&["--weights", "0"], "not greater than zero"),
    ] {
        let all = [&["map", "--text", "-f", &function][..], flags].concat();
        let printed = machine.run_with("1\n", &all);
        assert_ne!(printed.code, Some(0), "{flags:?}");
        assert!(printed.stderr.contains(part), "{flags:?}: {}", printed.stderr);
    }
}

#[test]
fn advice_comes_from_a_report_and_from_a_trace() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let function = machine.file("echo.py", ECHO);
    let trace = machine.path("trace.jsonl");
    let trace = trace.to_str().unwrap();
    let flags = ["map", "--text", "--json", "--trace", trace, "-f", &function];
    let printed = machine.run_with("1\n2\n3\n", &flags);
    let report = machine.file("report.json", &printed.stderr);
    printed.ok();
    for file in [report.as_str(), trace] {
        let advice = machine.run(&["advise", file]).ok();
        assert!(advice.contains("at once"), "{file}: {advice}");
    }
    let nothing = machine.run(&["advise", &function]);
    assert_ne!(nothing.code, Some(0));
}
