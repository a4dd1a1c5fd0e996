//! `falco invoke`, `deploy`, `call`, `list`, `remove` and `logs`, and what shells want.

use crate::program::{Machine, has};

const HELLO: &str = "
def main(args):
    print('said', args['name'])
    return {'greeting': 'Hello ' + args['name'] + '!'}
";

#[test]
fn one_call_shows_result_log_and_times_and_leaves_nothing() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let function = machine.file("hello.py", HELLO);
    let printed = machine.run(&["invoke", "-f", &function, r#"{"name": "Ada"}"#]);
    assert!(printed.stderr.contains("log: said Ada"), "{}", printed.stderr);
    assert!(printed.stderr.contains("succeeded, "), "{}", printed.stderr);
    let result: serde_json::Value = serde_json::from_str(&printed.ok()).unwrap();
    assert_eq!(result["greeting"], "Hello Ada!");
    let stdin = machine.run_with(r#"{"name": "Bo"}"#, &["invoke", "-q", "-f", &function, "-"]);
    assert_eq!(stdin.stderr, "");
    assert!(stdin.ok().contains("Hello Bo!"));
    let printed = machine.run(&["invoke", "--json", "-qf", &function, r#"{"name": "Ada"}"#]).ok();
    let shown: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(shown["log"][0], "said Ada");
    assert!(shown["times"]["execution_ms"].as_f64().is_some(), "{shown}");

    let failed = machine.run(&["invoke", "-f", &function]);
    let error = failed.error();
    assert!(error.contains("KeyError") && error.contains("Traceback"), "{error}");
    for (argument, words) in [("{oops", "invalid argument"), ("[1]", "invalid argument")] {
        let error = machine.run(&["invoke", "-f", &function, argument]).error();
        assert!(error.contains(words), "{error}");
    }
    machine.assert_clean();
}

#[test]
fn an_image_is_refused_here_with_the_platforms_that_run_it() {
    let machine = Machine::new();
    let function = machine.file("hello.py", HELLO);
    for arguments in [
        &["invoke", "-f", &*function, "--image", "me/science:1"][..],
        &["invoke", "--image", "me/science:1"],
    ] {
        let error = machine.run(arguments).error();
        assert!(error.contains("me/science:1") && error.contains("docker"), "{error}");
    }
    let error = machine.run(&["invoke"]).error();
    assert!(error.contains("--function"), "{error}");
    machine.assert_clean();
}

#[test]
fn a_function_that_is_deployed_is_listed_called_and_removed() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let function = machine.file("hello.py", HELLO);
    assert_eq!(machine.run(&["deploy", "-f", &function]).ok(), "hello\n");
    assert_eq!(machine.run(&["deploy", "-f", &function, "--name", "again"]).ok(), "again\n");
    let listed = machine.run(&["list"]).ok();
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert!(listed.starts_with("again  python:3  ") && listed.contains("expires in "), "{listed}");
    let json = machine.run(&["list", "--json"]).ok();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[1]["name"], "hello");
    let called = machine.run(&["call", "hello", "--json", r#"{"name": "Ada"}"#]).ok();
    let called: serde_json::Value = serde_json::from_str(&called).unwrap();
    assert_eq!(called["result"]["greeting"], "Hello Ada!");
    for (flags, named) in [
        (&["--package", "."][..], "--package"),
        (&["--requirements", "r.txt", "--memory", "256"], "--memory and --requirements"),
    ] {
        let error = machine.run(&[&["call", "hello"], flags].concat()).error();
        assert!(error.contains(named) && error.contains("falco deploy"), "{error}");
    }
    let help = machine.run(&["call", "--help"]).ok();
    assert!(help.contains("--platform") && !help.contains("--package"), "{help}");
    let error = machine.run(&["call", "nobody"]).error();
    assert!(error.contains("nobody"), "{error}");
    assert_eq!(machine.run(&["remove", "hello", "again"]).ok(), "");
    assert!(machine.run(&["remove", "hello"]).error().contains("hello"));
    assert_eq!(machine.run(&["list"]).ok(), "");
    machine.assert_clean();
}

#[test]
fn what_was_kept_can_be_called_again() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let function = machine.file("hello.py", HELLO);
    let arguments = ["invoke", "--keep", "-f", &function, r#"{"name": "Ada"}"#];
    let printed = machine.run(&arguments);
    let name = printed.stderr.lines().find_map(|line| line.split("falco call ").nth(1)).unwrap();
    assert!(machine.run(&["call", "-q", name, r#"{"name": "Bo"}"#]).ok().contains("Hello Bo!"));
    machine.run(&["remove", "-q", name]).ok();
    machine.assert_clean();
}

#[test]
fn shells_get_completions_and_manual_pages() {
    let machine = Machine::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = machine.run(&["completions", shell]).ok();
        assert!(script.contains("target-rate"), "{shell}: {script}");
    }
    let page = machine.run(&["man"]).ok();
    assert!(page.contains(".TH falco 1") && page.contains("map"), "{page}");
    let page = machine.run(&["man", "map"]).ok();
    assert!(page.contains("falco\\-map") && page.contains("unordered"), "{page}");
    assert!(machine.run(&["man", "fly"]).error().contains("no command \"fly\""));
    let page = machine.run(&["man", "runs", "show"]).ok();
    assert!(page.contains("falco\\-runs\\-show"), "{page}");
}

/// The commands that a help lists, without `help` itself.
fn listed(help: &str) -> Vec<String> {
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = commands.take_while(|line| !line.is_empty());
    // Descriptions that go on in a second line are indented further.
    let commands = commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    commands.filter(|name| !name.is_empty() && *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_command_has_help_with_an_example_and_takes_json_and_quiet() {
    let machine = Machine::new();
    let mut left: Vec<Vec<String>> = vec![Vec::new()];
    let mut seen = 0;
    while let Some(command) = left.pop() {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let help = machine.run(&[&words[..], &["--help"]].concat()).ok();
        assert!(help.contains("For example"), "{command:?}: {help}");
        if !command.is_empty() {
            assert!(help.contains("--json") && help.contains("--quiet"), "{command:?}: {help}");
            seen += 1;
        }
        left.extend(listed(&help).into_iter().map(|below| [&command[..], &[below]].concat()));
    }
    assert!(seen > 20, "{seen} commands");
}

#[test]
fn what_tools_read_is_json() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let function = machine.file("hello.py", HELLO);
    let json = |arguments: &[&str]| -> serde_json::Value {
        let printed = machine.run(arguments);
        serde_json::from_str(&printed.stdout)
            .unwrap_or_else(|_| panic!("{arguments:?}: {} {}", printed.stdout, printed.stderr))
    };
    let deployed = json(&["deploy", "--json", "-f", &function]);
    assert_eq!(deployed["name"], "hello");
    let removed = json(&["remove", "--json", "hello", "nobody"]);
    assert_eq!(removed["removed"], serde_json::json!(["hello"]));
    assert_eq!(removed["left"][0]["name"], "nobody");
    assert_eq!(json(&["cleanup", "--json"])["removed"], serde_json::json!([]));
    assert_eq!(json(&["runs", "--json"]), serde_json::json!([]));
    assert_eq!(json(&["runs", "prune", "--json"])["removed"], serde_json::json!([]));
    assert!(json(&["completions", "bash", "--json"])["script"].as_str().unwrap().len() > 1_000);
    let outline = json(&["man", "runs", "show", "--json"]);
    assert_eq!(outline["name"], "show");
    let flags = outline["flags"].as_array().unwrap();
    assert!(flags.iter().any(|flag| flag["long"] == "why"), "{outline}");
}

#[test]
fn quiet_commands_print_results_only() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let function = machine.file("hello.py", HELLO);
    for (arguments, result) in [
        (&["list", "-q"][..], ""),
        (&["deploy", "-q", "-f", &function], "hello\n"),
        (&["call", "-q", "hello", r#"{"name": "Ada"}"#], "{\"greeting\":\"Hello Ada!\"}\n"),
        (&["remove", "-q", "hello"], ""),
        (&["cleanup", "-q"], ""),
        (&["runs", "-q"], ""),
        (&["runs", "prune", "-q"], ""),
    ] {
        let printed = machine.run(arguments);
        assert_eq!(printed.stderr, "", "{arguments:?}");
        assert_eq!(printed.ok().replace(": ", ":"), result, "{arguments:?}");
    }
}
