//! The command in a terminal: a pseudo-terminal of Python's, which is there wherever functions in Python run.

use std::process::{Command, Stdio};

use crate::program::{Machine, Printed, has};

/// Starts `arguments` in a pseudo-terminal and copies what is shown in it.
const TERMINAL: &str = "
import os, pty, sys
status = pty.spawn(sys.argv[1:])
sys.exit(os.waitstatus_to_exitcode(status))
";

/// The command as a terminal shows it.
fn in_terminal(machine: &Machine, arguments: &[&str], environment: &[(&str, &str)]) -> Printed {
    let falco = machine.command(arguments);
    let mut terminal = Command::new("python3");
    terminal.args(["-c", TERMINAL]).arg(falco.get_program()).args(falco.get_args());
    for (name, value) in falco.get_envs() {
        match value {
            Some(value) => terminal.env(name, value),
            None => terminal.env_remove(name),
        };
    }
    terminal.env("TERM", "xterm").envs(environment.iter().copied()).stdin(Stdio::null());
    Printed::of(terminal.output().unwrap())
}

#[test]
fn a_terminal_shows_bars_and_whole_lines_of_failures() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let function = machine.file("f.py", "def main(args): return {'n': 1 // args['n']}");
    let inputs = machine.file("inputs.jsonl", "{\"n\": 1}\n{\"n\": 0}\n");
    let shown = in_terminal(&machine, &["map", "-f", &function, &inputs], &[]);
    assert_eq!(shown.code, Some(1));
    assert!(shown.stdout.contains("\u{1b}["), "bars are drawn: {}", shown.stdout);
    assert!(shown.stdout.contains("{\"n\":1}"), "{}", shown.stdout);
    let failure = shown.stdout.find("{\"input\":2").map(|at| &shown.stdout[at..]);
    let line = failure.and_then(|text| text.lines().next()).unwrap_or_default();
    assert!(line.contains("ZeroDivisionError"), "{}", shown.stdout);
}

#[test]
fn quiet_shows_nothing_but_results_in_a_terminal_too() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let function = machine.file("f.py", "def main(args): return args");
    let inputs = machine.file("inputs.jsonl", "{\"n\":1}\n");
    let shown = in_terminal(&machine, &["map", "-q", "-f", &function, &inputs], &[]);
    assert_eq!(shown.stdout, "{\"n\":1}\r\n");
}

#[test]
fn help_and_errors_have_colours_in_terminals_only_and_not_with_no_color() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let plain = machine.run(&["map", "--help"]).ok();
    assert!(!plain.contains('\u{1b}'));
    let coloured = in_terminal(&machine, &["map", "--help"], &[]).stdout;
    assert!(coloured.contains('\u{1b}'), "{coloured}");
    let asked = in_terminal(&machine, &["map", "--help"], &[("NO_COLOR", "1")]).stdout;
    assert!(!asked.contains("\u{1b}[1m"), "{asked}");
}
