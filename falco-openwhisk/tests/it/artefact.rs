//! The deployed artefact is run: unpacked and started as OpenWhisk's runtimes do.

use falco_core::{
    Activation, AsyncPlatform, Deployable, FunctionErrorKind, LogStream, Platform, Result,
};
use falco_fakes::openwhisk::FakeSettings;
use falco_package::Archive;
use serde_json::{Value, json};

use crate::support::{connect, connect_with, function, invocation};

async fn run(function: &Deployable, arguments: &[Value]) -> Vec<Result<Activation>> {
    let (_fake, platform) = connect(FakeSettings::default()).await;
    let deployment = platform.deploy(function).await.unwrap();
    let mut activations = Vec::new();
    for arguments in arguments {
        activations.push(platform.invoke(&deployment, &invocation(arguments)).await);
    }
    activations
}

fn result(activation: &Result<Activation>) -> Value {
    activation.as_ref().unwrap().outcome.as_ref().unwrap().parse().unwrap()
}

fn failure(activation: &Result<Activation>) -> (FunctionErrorKind, String) {
    let error = activation.as_ref().unwrap().outcome.as_ref().unwrap_err();
    (error.kind, error.message.clone())
}

const PYTHON: &str = "
import sys
def main(args):
    what = args.get('do')
    print('does', what)
    print('to stderr', file=sys.stderr)
    if what == 'raise':
        raise ValueError('boom')
    if what == 'string':
        return 'no object'
    if what == 'large':
        return {'text': 'ü' * 300000}
    return {'echo': args}
";

const NODE: &str = "
function main(args) {
  console.log('does', args.do);
  console.error('to stderr');
  if (args.do === 'raise') throw new Error('boom');
  if (args.do === 'reject') return Promise.reject(new TypeError('boom'));
  if (args.do === 'string') return 'no object';
  if (args.do === 'large') return { text: 'ü'.repeat(300000) };
  return { echo: args };
}
";

/// An executable in the portable convention: it knows nothing of acknowledgements.
const NATIVE: &str = r#"#!/bin/sh
while read -r line; do
    echo "got a line"
    echo "to stderr" >&2
    case "$line" in
        *raise*) echo '{"error":"boom"}' >&3 ;;
        *string*) echo '"no object"' >&3 ;;
        *) printf '{"line":%s}\n' "$line" >&3 ;;
    esac
done
"#;

#[tokio::test]
async fn python_runs_with_objects_unicode_errors_and_large_results() {
    let arguments = [
        json!({"nested": {"list": [1, 2.5, null, true]}, "text": "äöü ✓ \u{1F600}\n"}),
        json!({"do": "raise"}),
        json!({"do": "large"}),
        json!({"do": "string"}),
        json!({"after": "a failure"}),
    ];
    let ran = run(&function("python:3", PYTHON), &arguments).await;
    assert_eq!(result(&ran[0])["echo"], arguments[0]);
    assert_eq!(failure(&ran[1]), (FunctionErrorKind::Raised, "boom".into()));
    assert_eq!(result(&ran[2])["text"].as_str().unwrap().chars().count(), 300_000);
    assert_eq!(failure(&ran[3]).0, FunctionErrorKind::BadResult);
    assert_eq!(result(&ran[4])["echo"], arguments[4]);
    let cold = ran.iter().map(|ran| ran.as_ref().unwrap().cold_start);
    assert_eq!(cold.collect::<Vec<_>>(), [true, false, false, false, false].map(Some));
}

#[tokio::test]
async fn node_runs_with_objects_unicode_errors_and_large_results() {
    let arguments = [
        json!({"nested": {"list": [1, 2.5, null, true]}, "text": "äöü ✓ \u{1F600}\n"}),
        json!({"do": "reject"}),
        json!({"do": "large"}),
        json!({"do": "raise"}),
        json!({"do": "string"}),
    ];
    let ran = run(&function("nodejs:20", NODE), &arguments).await;
    assert_eq!(result(&ran[0])["echo"], arguments[0]);
    assert_eq!(failure(&ran[1]), (FunctionErrorKind::Raised, "boom".into()));
    assert_eq!(result(&ran[2])["text"].as_str().unwrap().chars().count(), 300_000);
    assert_eq!(failure(&ran[3]), (FunctionErrorKind::Raised, "boom".into()));
    assert_eq!(failure(&ran[4]).0, FunctionErrorKind::BadResult);
}

#[tokio::test]
async fn a_native_function_runs_without_knowing_of_an_acknowledgement() {
    let arguments = [
        json!({"nested": {"list": [1, 2.5, null, true]}, "text": "äöü ✓"}),
        json!({"text": "x".repeat(300_000)}),
        json!({"do": "raise"}),
        json!({"do": "string"}),
    ];
    let ran = run(&function("native", NATIVE), &arguments).await;
    assert_eq!(result(&ran[0])["line"]["value"], arguments[0]);
    assert_eq!(result(&ran[1])["line"]["value"], arguments[1]);
    assert_eq!(failure(&ran[2]), (FunctionErrorKind::Raised, "boom".into()));
    assert_eq!(failure(&ran[3]).0, FunctionErrorKind::BadResult);
}

#[tokio::test]
async fn an_executable_of_several_functions_gets_the_name_and_acknowledges_its_start() {
    let source = r#"#!/bin/sh
[ -n "$__OW_WAIT_FOR_ACK" ] && printf '{"ok":true}\n' >&3
while read -r line; do printf '{"function":"%s"}\n' "$FALCO_FUNCTION" >&3; done
"#;
    let ran = run(&function("native", source).with_entry_point("count-words"), &[json!({})]).await;
    assert_eq!(result(&ran[0]), json!({"function": "count-words"}));
}

#[tokio::test]
async fn code_beside_an_image_runs_as_in_the_kind_that_the_image_was_made_from() {
    for (runtime, source, image) in [
        ("python:3", PYTHON, "me/action-python-v3.11:1"),
        ("nodejs", NODE, "me/action-nodejs-v20:1"),
        ("native", NATIVE, "me/action-golang-v1.20:1"),
    ] {
        let function = function(runtime, source).with_image(image);
        let ran = run(&function, &[json!({"n": 1})]).await;
        let answer = result(&ran[0]);
        let argument = if runtime == "native" { &answer["line"]["value"] } else { &answer["echo"] };
        assert_eq!(argument, &json!({"n": 1}), "{runtime}: {answer}");
    }
}

#[tokio::test]
async fn an_archive_runs_with_its_modules_and_another_entry_point() {
    let zip = Archive::new()
        .with_file(
            "__main__.py",
            "from parts.words import greet\ndef hello(args):\n    return greet(args)\n",
        )
        .and_then(|a| a.with_file("parts/__init__.py", ""))
        .and_then(|a| {
            a.with_file("parts/words.py", "def greet(args): return {'hi': args['name']}\n")
        })
        .unwrap();
    let python = Deployable::from_archive("f", "python:3".parse().unwrap(), zip.to_zip().unwrap());
    let ran = run(&python.with_entry_point("hello"), &[json!({"name": "Ada"})]).await;
    assert_eq!(result(&ran[0]), json!({"hi": "Ada"}));

    let zip = Archive::new()
        .with_file("package.json", r#"{"main": "lib/start.js"}"#)
        .and_then(|a| {
            a.with_file("lib/start.js", "const w = require('./w'); exports.main = (a) => w(a);")
        })
        .and_then(|a| a.with_file("lib/w.js", "module.exports = (a) => ({ hi: a.name });"))
        .unwrap();
    let node = Deployable::from_archive("f", "nodejs".parse().unwrap(), zip.to_zip().unwrap());
    let ran = run(&node, &[json!({"name": "Ada"})]).await;
    assert_eq!(result(&ran[0]), json!({"hi": "Ada"}));
}

#[tokio::test]
async fn the_environment_reaches_the_function_and_not_its_arguments() {
    let source = "import os\ndef main(args):\n    return {'env': os.environ.get('GREETING'), 'args': args}\n";
    let ran = run(&function("python:3", source).with_env("GREETING", "Hallo"), &[json!({})]).await;
    assert_eq!(result(&ran[0]), json!({"env": "Hallo", "args": {}}));
}

#[tokio::test]
async fn code_that_does_not_load_fails_while_starting() {
    for (runtime, source) in [
        ("python:3", "def main(args:\n"),
        ("python:3", "import no_such_module\ndef main(args): return args\n"),
        ("nodejs:20", "function main( {"),
        ("python:3", "main"),
    ] {
        let ran = run(&function(runtime, source), &[json!({})]).await;
        assert_eq!(failure(&ran[0]).0, FunctionErrorKind::Initialization, "{source}");
    }
}

#[tokio::test]
async fn a_source_that_begins_with_a_shebang_is_still_source() {
    let source = "#!/usr/bin/env python3\ndef main(args):\n    return {'ok': True}\n";
    let ran = run(&function("python:3", source), &[json!({})]).await;
    assert_eq!(result(&ran[0]), json!({"ok": true}));
}

#[tokio::test]
async fn numbers_and_keys_keep_their_values_and_not_their_spelling() {
    let source = "def main(args):\n    args['sum'] = args['big'] + 1\n    return args\n";
    let (_fake, platform) = connect(FakeSettings::default()).await;
    let deployment = platform.deploy(&function("python:3", source)).await.unwrap();
    let text = r#"{"z":1e16,"big":123456789012345678901234567890,"a":[1.50,-0.0]}"#;
    let payload = falco_core::Payload::from_bytes(text).unwrap();
    let invocation = falco_core::Invocation::new("run", "stage", "i", payload);
    let activation = platform.invoke(&deployment, &invocation).await.unwrap();
    let result = activation.outcome.unwrap();
    let expected = r#""sum":123456789012345678901234567891,"z":1E+16"#;
    assert!(result.as_str().contains(expected), "{result:?}");
    assert!(result.as_str().starts_with(r#"{"a":[1.5,0.0],"big""#), "{result:?}");
}

#[tokio::test]
async fn a_crash_and_a_timeout_are_distinguished_and_the_next_activation_runs() {
    let source = "
import os, time
def main(args):
    if args.get('do') == 'crash': os._exit(3)
    if args.get('do') == 'sleep': time.sleep(60)
    return {'ok': True}
";
    let function = function("python:3", source).with_scaling(
        falco_core::Scaling::default().with_timeout(std::time::Duration::from_secs(5)),
    );
    let arguments = [json!({"do": "crash"}), json!({"do": "sleep"}), json!({})];
    let ran = run(&function, &arguments).await;
    assert_eq!(failure(&ran[0]).0, FunctionErrorKind::Crashed);
    assert_eq!(failure(&ran[1]).0, FunctionErrorKind::Timeout);
    assert_eq!(result(&ran[2]), json!({"ok": true}));
}

#[tokio::test]
async fn a_byte_order_mark_before_source_is_dropped_with_and_without_the_shim() {
    for plain in [false, true] {
        let (_fake, platform) =
            connect_with(FakeSettings::default(), |config| config.plain_code(plain)).await;
        for (runtime, source) in [
            ("python:3", "\u{feff}def main(args):\n    return {'ok': True}\n"),
            ("nodejs:20", "\u{feff}function main() { return {ok: true}; }"),
        ] {
            let deployment = platform.deploy(&function(runtime, source)).await.unwrap();
            let activation = platform.invoke(&deployment, &invocation(&json!({}))).await;
            assert_eq!(result(&activation), json!({"ok": true}), "{runtime} {plain}");
        }
    }
}

#[tokio::test]
async fn an_exception_has_its_class_and_its_traceback() {
    let ran = run(&function("python:3", PYTHON), &[json!({"do": "raise"})]).await;
    let error = ran[0].as_ref().unwrap().outcome.as_ref().unwrap_err().clone();
    assert_eq!(error.error_type.as_deref(), Some("ValueError"));
    assert!(error.trace.unwrap().contains("in main"));
    let ran = run(&function("python:3", "import no_such_module"), &[json!({})]).await;
    let (kind, message) = failure(&ran[0]);
    assert_eq!(kind, FunctionErrorKind::Initialization);
    assert!(message.contains("no_such_module"), "{message}");
}

#[tokio::test]
async fn plain_code_fails_as_openwhisk_reports_it() {
    let (_fake, platform) =
        connect_with(FakeSettings::default(), |config| config.plain_code(true)).await;
    for (runtime, source, message) in
        [("python:3", PYTHON, "boom"), ("nodejs:20", NODE, "Error: boom")]
    {
        let deployment = platform.deploy(&function(runtime, source)).await.unwrap();
        let activation = platform.invoke(&deployment, &invocation(&json!({"do": "raise"}))).await;
        assert_eq!(failure(&activation), (FunctionErrorKind::Raised, message.into()));
        let error = activation.unwrap().outcome.unwrap_err();
        assert_eq!((error.error_type, error.trace), (None, None));
    }
}

#[tokio::test]
async fn plain_code_is_offered_no_batches_since_nothing_opens_them() {
    for plain in [false, true] {
        let (_fake, platform) =
            connect_with(FakeSettings::default(), |config| config.plain_code(plain)).await;
        assert_eq!(platform.capabilities().shim, !plain);
    }
}

#[tokio::test]
async fn the_last_line_of_a_log_is_kept_without_an_end_and_long_ones_are_cut_into_pieces() {
    let (_fake, platform) = connect(FakeSettings::default()).await;
    for (runtime, source) in [
        (
            "python:3",
            "def main(args):\n    print('x' * 20000)\n    print('no end', end='')\n    return {}\n",
        ),
        (
            "nodejs:20",
            "function main() { console.log('x'.repeat(20000)); process.stdout.write('no end'); return {}; }",
        ),
    ] {
        let deployment = platform.deploy(&function(runtime, source)).await.unwrap();
        for _ in 0..2 {
            let activation = platform.invoke(&deployment, &invocation(&json!({}))).await.unwrap();
            let logs = platform.activation_log(&deployment, &[activation.id]).await.unwrap();
            let lengths: Vec<_> = logs[0].lines.iter().map(|line| line.text.len()).collect();
            assert_eq!(lengths, [16384, 3616, 6], "{runtime}");
            assert_eq!(logs[0].lines[2].text, "no end");
        }
    }
}

#[tokio::test]
async fn logs_keep_their_stream_and_time() {
    let (_fake, platform) = connect(FakeSettings::default()).await;
    let deployment = platform.deploy(&function("python:3", PYTHON)).await.unwrap();
    let activation =
        platform.invoke(&deployment, &invocation(&json!({"do": "nothing"}))).await.unwrap();
    let logs =
        platform.activation_log(&deployment, std::slice::from_ref(&activation.id)).await.unwrap();
    let lines: Vec<_> =
        logs[0].lines.iter().map(|line| (line.stream.unwrap(), line.text.as_str())).collect();
    assert_eq!(lines, [(LogStream::Stdout, "does nothing"), (LogStream::Stderr, "to stderr")]);
    assert!(logs[0].lines.iter().all(|line| line.at.is_some()));
    assert!(!logs[0].truncated);
}
