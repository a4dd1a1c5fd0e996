//! How a function fails, and that the next invocation is none the worse for it.

use std::time::{Duration, Instant};

use falco_core::{Deployable, FunctionErrorKind, Platform};

use crate::support::{Local, has, invocation, native, node, python};

#[tokio::test]
async fn raising_is_failing_with_class_message_and_traceback() {
    if !has("python3") {
        return;
    }
    let local = Local::new();
    let source = "def main(args):\n    raise KeyError('name')\n";
    let function = local.deploy(&python(source)).await;
    let error = local.failure(&function, "{}").await;
    assert_eq!(error.kind, FunctionErrorKind::Raised);
    assert_eq!(error.error_type.as_deref(), Some("KeyError"));
    assert_eq!(error.message, "'name'");
    let trace = error.trace.unwrap();
    assert!(trace.contains("main__.py\", line 2") && !trace.contains("shim.py"), "{trace}");
    // An exception is not a reason for another worker.
    assert_eq!(local.invoke(&function, "{}").await.cold_start, Some(false));
}

#[tokio::test]
async fn a_node_function_fails_by_throwing_by_rejecting_and_by_answering_an_error() {
    if !has("node") {
        return;
    }
    let local = Local::new();
    let source = "
function main(args) {
  if (args.how === 'throw') throw new RangeError('oops');
  if (args.how === 'reject') return Promise.reject(new RangeError('oops'));
  if (args.how === 'plain') return Promise.reject('oops');
  return {error: 'oops'};
}";
    let function = local.deploy(&node(source)).await;
    for (how, class) in [
        ("throw", Some("RangeError")),
        ("reject", Some("RangeError")),
        ("plain", None),
        ("x", None),
    ] {
        let error = local.failure(&function, &format!(r#"{{"how":"{how}"}}"#)).await;
        assert_eq!(error.kind, FunctionErrorKind::Raised, "{how}");
        assert_eq!((error.message.as_str(), error.error_type.as_deref()), ("oops", class), "{how}");
    }
}

#[tokio::test]
async fn an_answer_with_the_key_error_is_a_failure_as_on_openwhisk() {
    let local = Local::new();
    let function = local.deploy(&native("printf '{\"error\":\"no such file\"}\\n' >&3")).await;
    let error = local.failure(&function, "{}").await;
    assert_eq!((error.kind, &*error.message), (FunctionErrorKind::Raised, "no such file"));
    if has("python3") {
        let source = "def main(args):\n    return {'error': {'code': 7}}\n";
        let function = local.deploy(&python(source)).await;
        let error = local.failure(&function, "{}").await;
        assert_eq!((error.kind, &*error.message), (FunctionErrorKind::Raised, r#"{"code":7}"#));
    }
}

#[tokio::test]
async fn code_that_cannot_be_loaded_is_an_initialization_error_that_says_where() {
    let local = Local::new();
    if has("python3") {
        for (source, message) in [
            ("def main(args)\n    return {}\n", "line 1"),
            ("import no_such_module\n", "no_such_module"),
            ("def other(args):\n    return {}\n", "main"),
            ("main = 1\n", "main is not a function"),
        ] {
            let function = local.deploy(&python(source)).await;
            let error = local.failure(&function, "{}").await;
            assert_eq!(error.kind, FunctionErrorKind::Initialization, "{source}");
            assert!(error.message.contains(message), "{source}: {error}");
        }
    }
    if has("node") {
        for (source, message) in
            [("function main( {", "Unexpected"), ("require('no-such-module')", "no-such-module")]
        {
            let function = local.deploy(&node(source)).await;
            let error = local.failure(&function, "{}").await;
            assert_eq!(error.kind, FunctionErrorKind::Initialization, "{source}");
            assert!(error.message.contains(message), "{source}: {error}");
        }
    }
}

#[tokio::test]
async fn code_that_ends_its_process_while_it_is_loaded_is_an_initialization_error_with_status() {
    if !has("python3") {
        return;
    }
    let local = Local::new();
    let source = "import os, sys\nprint('last words', file=sys.stderr)\nos._exit(4)\n";
    let function = local.deploy(&python(source)).await;
    let error = local.failure(&function, "{}").await;
    assert_eq!(error.kind, FunctionErrorKind::Initialization);
    assert_eq!(error.exit_status, Some(4));
    assert_eq!(error.trace.as_deref(), Some("last words"));
}

#[tokio::test]
async fn a_crash_carries_status_and_the_end_of_stderr_and_the_next_worker_is_fresh() {
    let local = Local::new();
    let functions = [
        (
            "python3",
            python(
                "
import os, sys, signal
def main(args):
    if 'exit' in args:
        print('last words', file=sys.stderr)
        sys.stderr.flush()
        os._exit(args['exit'])
    if 'signal' in args:
        os.write(2, b'last words')
        os.kill(os.getpid(), args['signal'])
    return {}
",
            ),
        ),
        (
            "node",
            node(
                "
function main(args) {
  if ('exit' in args) { console.error('last words'); process.exit(args.exit); }
  if ('signal' in args) {
    process.stderr.write('last words');
    process.kill(process.pid, args.signal);
    return new Promise((done) => setTimeout(done, 60000));
  }
  return {};
}",
            ),
        ),
        (
            "sh",
            native(
                "
case $line in
  *exit*) echo last words >&2; exit 3 ;;
  *signal*) echo last words >&2; kill -9 $$ ;;
esac
echo '{}' >&3",
            ),
        ),
    ];
    for (program, function) in functions {
        if !has(program) {
            continue;
        }
        let function = local.deploy(&function).await;
        for (argument, status) in [(r#"{"exit":3}"#, 3), (r#"{"signal":9}"#, -9)] {
            let error = local.failure(&function, argument).await;
            assert_eq!(error.kind, FunctionErrorKind::Crashed, "{program}: {error}");
            assert_eq!(error.exit_status, Some(status), "{program}");
            assert_eq!(error.trace.as_deref(), Some("last words"), "{program}");
            let next = local.invoke(&function, "{}").await;
            assert!(next.is_success() && next.cold_start == Some(true), "{program}: {next:?}");
        }
    }
}

#[tokio::test]
async fn a_result_that_is_not_a_json_object_says_what_it_is() {
    let local = Local::new();
    if has("python3") {
        let source = "
def main(args):
    return {'list': [], 'none': None, 'text': 'x', 'nan': {'x': float('nan')}, 'set': {'x': set()},
            'lone': {'x': '\\ud800'}}[args['which']]
";
        let function = local.deploy(&python(source)).await;
        for (which, message) in [
            ("list", "list"),
            ("none", "NoneType"),
            ("text", "str"),
            ("nan", "NaN"),
            ("set", "set is not JSON serializable"),
            ("lone", "surrogate"),
        ] {
            let error = local.failure(&function, &format!(r#"{{"which":"{which}"}}"#)).await;
            assert_eq!(error.kind, FunctionErrorKind::BadResult, "{which}: {error}");
            assert!(error.message.contains(message), "{which}: {error}");
        }
    }
    if has("node") {
        let source = "
function main(args) {
  return {list: [], none: null, text: 'x', big: {n: 1n}, nan: {x: NaN}, lone: {x: '\\ud800'}}[args.which];
}";
        let function = local.deploy(&node(source)).await;
        for (which, message) in [
            ("list", "array"),
            ("none", "null"),
            ("text", "string"),
            ("big", "BigInt"),
            ("nan", "NaN"),
            ("lone", "surrogate"),
        ] {
            let error = local.failure(&function, &format!(r#"{{"which":"{which}"}}"#)).await;
            assert_eq!(error.kind, FunctionErrorKind::BadResult, "{which}: {error}");
            assert!(error.message.contains(message), "{which}: {error}");
        }
        assert_eq!(local.result(&function, r#"{"which":"nothing"}"#).await, "{}");
    }
    for (line, message) in
        [("nonsense", "as JSON"), ("[1]", "[1]"), ("null", "null"), ("", "as JSON")]
    {
        let function = local.deploy(&native(&format!("printf '{line}\\n' >&3"))).await;
        let error = local.failure(&function, "{}").await;
        assert_eq!(error.kind, FunctionErrorKind::BadResult, "{line}");
        assert!(error.message.contains(message), "{line}: {error}");
    }
}

#[tokio::test]
async fn a_line_too_many_is_never_taken_for_the_next_answer() {
    let local = Local::new();
    let function = local.deploy(&native("printf '{\"n\":1}\\n{\"n\":2}\\n' >&3")).await;
    for _ in 0..3 {
        let activation = local.invoke(&function, "{}").await;
        assert_eq!(activation.cold_start, Some(true));
        assert_eq!(activation.outcome.unwrap().as_str(), r#"{"n":1}"#);
    }
}

#[tokio::test]
async fn a_worker_that_died_while_idle_is_replaced_without_a_failure() {
    let local = Local::new();
    let function = local.deploy(&native("echo '{}' >&3")).await;
    let first = local.invoke(&function, "{}").await.container.unwrap();
    // `PID@START`, since ids of processes are used again.
    let pid = first.split('@').next().unwrap();
    let killed = std::process::Command::new("kill").args(["-9", pid]).status().unwrap();
    assert!(killed.success());
    crate::support::eventually("the worker's end", || (!crate::support::runs(pid)).then_some(()))
        .await;
    let next = local.platform.invoke(&function, &invocation("{}")).await.unwrap();
    assert!(next.is_success() && next.container != Some(first));
}

#[tokio::test]
async fn closing_the_descriptor_of_the_results_is_a_crash_that_says_so() {
    let local = Local::new();
    let function = local.deploy(&native("exec 3>&-; sleep 600")).await;
    let error = local.failure(&function, "{}").await;
    assert_eq!(error.kind, FunctionErrorKind::Crashed);
    assert!(error.message.contains("descriptor 3"), "{error}");
}

#[tokio::test]
async fn a_process_that_left_on_purpose_does_not_keep_the_answer() {
    if !has("setsid") {
        return;
    }
    let local = Local::new();
    // It holds every pipe of the worker, and is in a group of its own.
    let function = local.deploy(&native("setsid sleep 20 & exit 3")).await;
    let begun = Instant::now();
    let error = local.failure(&function, "{}").await;
    assert_eq!((error.kind, error.exit_status), (FunctionErrorKind::Crashed, Some(3)));
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn bad_input_is_refused_before_a_process_starts() {
    let local = Local::new();
    let error = local.platform.deploy(&python("  \n")).await.unwrap_err();
    assert!(error.to_string().contains("local: deploy python-function: invalid input"), "{error}");
    let ruby = Deployable::from_source("f", "ruby:3".parse().unwrap(), "x");
    let error = local.platform.deploy(&ruby).await.unwrap_err();
    assert_eq!(error.kind(), falco_core::ErrorKind::Unsupported);
    assert!(
        error.to_string().contains("ruby:3") && error.to_string().contains("native"),
        "{error}"
    );

    let function = local.deploy(&native("echo '{}' >&3")).await;
    let error = local.platform.invoke(&function, &invocation("[1]")).await.unwrap_err();
    assert_eq!(error.kind(), falco_core::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("[1]"), "{error}");
    assert_eq!(local.platform.list_deployments().await.unwrap().len(), 1);
}

#[tokio::test]
async fn leaving_by_sys_exit_is_raising_even_beside_a_thread_that_runs() {
    if !has("python3") {
        return;
    }
    let local = Local::new();
    let source = "
import sys, threading, time
def main(args):
    threading.Thread(target=time.sleep, args=(60,)).start()
    sys.exit('no input rows')
";
    let function = local.deploy(&python(source)).await;
    for _ in 0..2 {
        let error = local.failure(&function, "{}").await;
        assert_eq!(error.kind, FunctionErrorKind::Raised, "{error}");
        assert_eq!(error.message, "no input rows");
        assert_eq!(error.error_type.as_deref(), Some("SystemExit"));
    }
}

#[tokio::test]
async fn an_executable_that_cannot_be_started_is_an_initialization_error() {
    let local = Local::new();
    let source = "#!/no/such/interpreter\n";
    let function = Deployable::from_source("native-function", "native".parse().unwrap(), source);
    let function = local.deploy(&function).await;
    let error = local.failure(&function, "{}").await;
    assert_eq!(error.kind, FunctionErrorKind::Initialization, "{error}");
}

#[tokio::test]
async fn a_script_with_carriage_returns_is_refused_when_it_is_deployed() {
    let local = Local::new();
    let source = "#!/bin/sh\r\nwhile read -r line; do echo '{}' >&3; done\r\n";
    let function = Deployable::from_source("native-function", "native".parse().unwrap(), source);
    let error = local.platform.deploy(&function).await.unwrap_err();
    assert!(error.to_string().contains("carriage return"), "{error}");
}

#[tokio::test]
async fn an_executable_with_an_entry_point_says_whether_it_has_started() {
    let local = Local::new();
    let impatient = Local::with(|config| config.with_start_timeout(Duration::from_secs(2)));
    let source = "#!/bin/sh
case $FALCO_FUNCTION in
  works) echo '{\"ok\":true}' >&3 ;;
  fails) echo '{\"error\":{\"name\":\"NoModel\",\"message\":\"no model\"}}' >&3 ;;
  odd) echo 'hello' >&3 ;;
  ends) exit 5 ;;
  hangs) read -r line ;;
esac
while read -r line; do echo \"{\\\"ack\\\":\\\"$__OW_WAIT_FOR_ACK\\\"}\" >&3; done
";
    let deploy = |entry_point: &str| {
        Deployable::from_source("native-function", "native".parse().unwrap(), source)
            .with_entry_point(entry_point)
    };
    let function = local.deploy(&deploy("works")).await;
    let activation = local.invoke(&function, "{}").await;
    assert_eq!(activation.outcome.unwrap().as_str(), r#"{"ack":"1"}"#);
    assert!(activation.init.is_some());
    for (entry_point, message) in
        [("fails", "no model"), ("odd", "hello"), ("ends", "status 5"), ("hangs", "start_timeout")]
    {
        let local = if entry_point == "hangs" { &impatient } else { &local };
        let function = local.deploy(&deploy(entry_point)).await;
        let error = local.failure(&function, "{}").await;
        assert_eq!(error.kind, FunctionErrorKind::Initialization, "{entry_point}: {error}");
        assert!(error.message.contains(message), "{entry_point}: {error}");
    }
}
