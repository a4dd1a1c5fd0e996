//! Tests that a worker's answer is the function's, and for the activation that it was asked for.

use std::path::Path;

use falco_core::{FunctionErrorKind, LogStream};

use crate::support::{Local, eventually, has, native, node, python, texts};

#[tokio::test]
async fn an_error_that_is_not_text_is_still_reported() {
    let local = Local::new();
    if has("python3") {
        let source = "
class Mute(Exception):
    def __str__(self):
        raise ValueError('no words')
def main(args):
    if args['how'] == 'surrogate':
        raise ValueError('half \\ud800')
    if args['how'] == 'answer':
        return {'error': 'half \\ud800'}
    raise Mute()
";
        let function = local.deploy(&python(source)).await;
        for (how, message) in
            [("surrogate", "half \u{fffd}"), ("answer", "half \u{fffd}"), ("mute", "__str__")]
        {
            let error = local.failure(&function, &format!(r#"{{"how":"{how}"}}"#)).await;
            assert_eq!(error.kind, FunctionErrorKind::Raised, "{how}: {error}");
            assert!(error.message.contains(message), "{how}: {error}");
        }
    }
    if has("node") {
        let source = "
function main(args) {
  if (args.how === 'throw') throw new Error('half \\ud800');
  return {error: 'half \\ud800'};
}";
        let function = local.deploy(&node(source)).await;
        for how in ["throw", "answer"] {
            let error = local.failure(&function, &format!(r#"{{"how":"{how}"}}"#)).await;
            assert_eq!(error.kind, FunctionErrorKind::Raised, "{how}: {error}");
            assert_eq!(error.message, "half \u{fffd}", "{how}");
        }
    }
}

#[tokio::test]
async fn a_node_object_that_json_makes_something_else_of_is_a_bad_result() {
    if !has("node") {
        return;
    }
    let local = Local::new();
    let source = "
function main(args) {
  if (args.how === 'date') return new Date(0);
  return {toJSON() { return args.how === 'number' ? 5 : undefined; }};
}";
    let function = local.deploy(&node(source)).await;
    for (how, made) in [("date", "\"1970"), ("number", "5"), ("nothing", "undefined")] {
        let error = local.failure(&function, &format!(r#"{{"how":"{how}"}}"#)).await;
        assert_eq!(error.kind, FunctionErrorKind::BadResult, "{how}");
        let message = format!("its toJSON makes it {made}");
        assert!(error.message.contains(&message), "{how}: {error}");
    }
}

#[tokio::test]
async fn a_line_that_the_function_writes_among_the_results_never_shifts_the_answers() {
    let local = Local::new();
    let body = "echo $$ >\"$TMPDIR/pid\"; echo \"$line\" | sed 's/.*\"n\":\\([0-9]*\\).*/{\"n\":\\1}/' >&3; echo '{}' >&3; touch \"$TMPDIR/written\"";
    let marks = tempfile::tempdir().unwrap();
    let function = native(body).with_env("TMPDIR", marks.path().to_str().unwrap());
    let function = local.deploy(&function).await;
    for n in 1..4 {
        let argument = format!(r#"{{"n":{n}}}"#);
        assert_eq!(local.result(&function, &argument).await, argument);
        let mark = marks.path().join("written");
        // A worker whose two lines are read at once is ended before it can leave its mark.
        let is_gone = || {
            let pid = std::fs::read_to_string(marks.path().join("pid")).ok()?;
            (!Path::new("/proc").join(pid.trim()).exists()).then_some(())
        };
        eventually("the second line", || std::fs::remove_file(&mark).ok().or_else(is_gone)).await;
    }
    if has("python3") {
        let source = "
import os, time
def main(args):
    if args['n'] == 2:
        os.write(3, b'stray\\n')
        time.sleep(0.1)
    return args
";
        let function = local.deploy(&python(source)).await;
        assert_eq!(local.result(&function, r#"{"n":1}"#).await, r#"{"n":1}"#);
        let error = local.failure(&function, r#"{"n":2}"#).await;
        assert_eq!(error.kind, FunctionErrorKind::BadResult);
        assert!(error.message.contains("descriptor 3"), "{error}");
        assert_eq!(local.result(&function, r#"{"n":3}"#).await, r#"{"n":3}"#);
    }
}

#[tokio::test]
async fn a_forked_copy_that_returns_does_not_answer_for_the_worker() {
    if !has("python3") {
        return;
    }
    let local = Local::new();
    let source = "
import os
def main(args):
    if args['n'] == 1:
        child = os.fork()
        if child == 0:
            return {'child': 1}
        os.waitpid(child, 0)
    return args
";
    let function = local.deploy(&python(source)).await;
    for n in [1, 2, 1, 2] {
        let argument = format!(r#"{{"n":{n}}}"#);
        assert_eq!(local.result(&function, &argument).await, argument);
    }
    let activation = local.invoke(&function, r#"{"n":1}"#).await;
    let log = local.log(&function, &activation).await;
    assert!(
        texts(&log, LogStream::Stderr).iter().any(|line| line.contains("forked copy")),
        "{log:?}"
    );
}
