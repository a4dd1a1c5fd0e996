//! Whatever a function prints, and however, is its log and harms nothing.

use falco_core::{AsyncPlatform, LogStream};

use crate::support::{Local, has, native, node, python, texts};

#[tokio::test]
async fn lines_keep_their_stream_and_a_last_one_needs_no_line_break() {
    if !has("python3") {
        return;
    }
    let local = Local::new();
    let source = "
import sys
def main(args):
    print('out', args['n'])
    print('err', args['n'], file=sys.stderr)
    sys.stdout.write('no line break')
    return {}
";
    let function = local.deploy(&python(source)).await;
    for n in ["1", "2"] {
        let activation = local.invoke(&function, &format!(r#"{{"n":{n}}}"#)).await;
        let log = local.log(&function, &activation).await;
        assert_eq!(texts(&log, LogStream::Stdout), [&format!("out {n}"), "no line break"]);
        assert_eq!(texts(&log, LogStream::Stderr), [format!("err {n}")]);
        assert!(log.iter().all(|line| line.at.is_some()));
    }
}

#[tokio::test]
async fn a_node_functions_console_is_its_log() {
    if !has("node") {
        return;
    }
    let local = Local::new();
    let source = "function main() { console.log('out'); console.error('err'); return {}; }";
    let function = local.deploy(&node(source)).await;
    for _ in 0..2 {
        let activation = local.invoke(&function, "{}").await;
        let log = local.log(&function, &activation).await;
        assert_eq!(texts(&log, LogStream::Stdout), ["out"]);
        assert_eq!(texts(&log, LogStream::Stderr), ["err"]);
    }
}

#[tokio::test]
async fn what_is_written_past_the_language_is_in_the_log_and_not_in_the_result() {
    if !has("python3") {
        return;
    }
    let local = Local::new();
    let source = "
import os, subprocess
def main(args):
    os.write(1, b'={\"forged\":true}\\n')
    os.write(2, b'!\\n')
    subprocess.run(['sh', '-c', 'echo from a child; echo and aside >&2'], check=True)
    return {'ok': 1}
";
    let function = local.deploy(&python(source)).await;
    for _ in 0..2 {
        let activation = local.invoke(&function, "{}").await;
        let log = local.log(&function, &activation).await;
        assert_eq!(texts(&log, LogStream::Stdout), ["={\"forged\":true}", "from a child"]);
        assert_eq!(texts(&log, LogStream::Stderr), ["!", "and aside"]);
        assert_eq!(activation.outcome.unwrap().as_str(), r#"{"ok":1}"#);
    }
}

#[tokio::test]
async fn a_function_that_closes_its_streams_goes_on_working() {
    if !has("python3") {
        return;
    }
    let local = Local::new();
    let source = "
import os, sys
def main(args):
    print('printed')
    if args['how'] == 'object':
        sys.stdout.close()
        sys.stderr = None
    elif args['how'] == 'descriptor':
        os.close(1)
        os.close(2)
    return {'how': args['how']}
";
    let function = local.deploy(&python(source)).await;
    for how in ["not", "descriptor", "not", "object", "not"] {
        let activation = local.invoke(&function, &format!(r#"{{"how":"{how}"}}"#)).await;
        let log = local.log(&function, &activation).await;
        assert_eq!(texts(&log, LogStream::Stdout), ["printed"], "{how}");
        assert_eq!(activation.outcome.unwrap().as_str(), format!(r#"{{"how":"{how}"}}"#));
    }
}

#[tokio::test]
async fn ten_megabytes_of_log_arrive_whole() {
    let python = python(
        "def main(args):\n    for _ in range(100000):\n        print('x' * 99)\n    return {}\n",
    );
    // Without a turn of its event loop: what Node.js cannot write at once it writes in a later one.
    let node = node(
        "function main() { for (let i = 0; i < 1e5; i++) console.log('x'.repeat(99)); return {}; }",
    );
    for (program, function) in [("python3", python), ("node", node)] {
        if !has(program) {
            continue;
        }
        let local = Local::with(|config| config.with_max_log(11_000_000));
        let function = local.deploy(&function).await;
        let activation = local.invoke(&function, "{}").await;
        let log = local.log(&function, &activation).await;
        assert_eq!(log.len(), 100_000, "{program}");
        assert!(log.iter().all(|line| line.text.len() == 99), "{program}");
    }
}

#[tokio::test]
async fn a_log_over_the_limit_is_cut_and_says_so() {
    let local = Local::with(|config| config.with_max_log(1000));
    let function =
        local.deploy(&native("head -c 100000 /dev/zero | tr '\\0' x; echo; echo '{}' >&3")).await;
    let activation = local.invoke(&function, "{}").await;
    let logs = local.platform.activation_log(&function, &[activation.id]).await.unwrap();
    assert!(logs[0].truncated);
    assert_eq!(logs[0].lines.iter().map(|line| line.text.len()).sum::<usize>(), 1000);
}

#[tokio::test]
async fn a_silent_activation_has_an_empty_log_and_an_unknown_one_has_none() {
    let local = Local::new();
    let function = local.deploy(&native("echo '{}' >&3")).await;
    let activation = local.invoke(&function, "{}").await;
    assert!(local.log(&function, &activation).await.is_empty());
    let unknown = local.platform.activation_log(&function, &["somebody-elses".into()]).await;
    assert!(unknown.unwrap().is_empty());
}

#[tokio::test]
async fn a_child_that_prints_for_ever_does_not_keep_the_result() {
    let local = Local::new();
    let function = local.deploy(&native("yes noise & sleep 0.1; echo '{}' >&3")).await;
    for _ in 0..2 {
        assert_eq!(local.result(&function, "{}").await, "{}");
    }
}
