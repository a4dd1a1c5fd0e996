//! The command in a terminal: a pseudo-terminal of Python's, which is there wherever functions in Python run.

use std::process::{Command, Stdio};

use serde_json::json;

use crate::program::{Machine, Printed, has};

/// Starts `arguments` in a pseudo-terminal and copies what is shown in it. The file that `FALCO_TEST_DRAWN` names is made once
/// something is drawn.
const TERMINAL: &str = "
import os, pty, sys
drawn = os.environ.get('FALCO_TEST_DRAWN')
def read(terminal):
    part = os.read(terminal, 65536)
    if drawn and b'\\x1b[' in part:
        open(drawn, 'w').close()
    return part
status = pty.spawn(sys.argv[1:], read)
sys.exit(os.waitstatus_to_exitcode(status))
";

/// A function that raises for 0, and that runs until something is drawn, for half a minute at most.
const RUNS_UNTIL_DRAWN: &str = "
import os, time
def main(args):
    end = time.monotonic() + 30
    while not os.path.exists(args['drawn']) and time.monotonic() < end:
        time.sleep(0.01)
    return {'n': 1 // args['n']}
";

/// Types Ctrl-C once the command has shown that something runs, and copies what is shown.
const CTRL_C: &str = "
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
shown, typed = b'', False
while True:
    try:
        part = os.read(terminal, 65536)
    except OSError:
        break
    if not part:
        break
    shown += part
    if not typed and b'1 in flight' in shown:
        os.write(terminal, b'\\x03')
        typed = True
sys.stdout.buffer.write(shown)
sys.stdout.flush()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
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
    let function = machine.file("f.py", RUNS_UNTIL_DRAWN);
    let drawn = machine.path("drawn").display().to_string();
    let inputs = [1, 0].map(|n| json!({"n": n, "drawn": drawn}).to_string()).join("\n");
    let inputs = machine.file("inputs.jsonl", &inputs);
    let environment = [("FALCO_TEST_DRAWN", &*drawn)];
    let shown = in_terminal(&machine, &["map", "-f", &function, &inputs], &environment);
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

#[test]
fn a_session_in_a_shell_does_what_the_readme_says() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let falco = machine.command(&[]);
    let session = |script: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-ec", script]).current_dir(machine.path("."));
        for (name, value) in falco.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        Printed::of(shell.env("falco", falco.get_program()).output().unwrap())
    };
    session("echo 'def main(args): return {\"square\": int(args[\"line\"]) ** 2}' > f.py").ok();
    let all = session("seq 1000 | $falco map --text -f f.py 2>said | tail -n 1; cat said").ok();
    assert!(all.starts_with("{\"square\":1000000}\n"), "{all}");
    assert!(all.contains("1000 succeeded") || all.contains("1,000"), "the report: {all}");
    let few = session("seq 100000 | $falco map -q --text -f f.py | head -n 3").ok();
    assert_eq!(few, "{\"square\":1}\n{\"square\":4}\n{\"square\":9}\n");
    let failed = session(
        "printf '1\nx\n3\n' | $falco map -q --text -f f.py --failed left || echo $?; wc -l < left",
    );
    assert_eq!(failed.ok(), "{\"square\":1}\n{\"square\":9}\n1\n1\n");
    machine.assert_clean();
}

#[test]
fn ctrl_c_in_a_terminal_ends_a_run_and_leaves_nothing() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let source = "import time\ndef main(args): time.sleep(600)";
    let function = machine.file("sleeps.py", source);
    let script = machine.file("ctrl_c.py", CTRL_C);
    let falco = machine.command(&["map", "--text", "-f", &function, &machine.file("in", "1\n")]);
    let mut terminal = Command::new("python3");
    terminal.arg(script).arg(falco.get_program()).args(falco.get_args());
    for (name, value) in falco.get_envs() {
        match value {
            Some(value) => terminal.env(name, value),
            None => terminal.env_remove(name),
        };
    }
    let shown = Printed::of(terminal.env("TERM", "xterm").stdin(Stdio::null()).output().unwrap());
    assert_eq!(shown.code, Some(130), "{} {}", shown.stdout, shown.stderr);
    assert!(shown.stdout.contains("the run is incomplete"), "{}", shown.stdout);
    machine.assert_clean();
}
