//! Time, memory and size hold, whatever the function does.

use std::time::Duration;

use falco_core::{Deployable, ErrorKind, FunctionErrorKind, Platform, Scaling};

use crate::support::{Local, eventually, has, invocation, native, node, pid_of, python, runs};

fn timeout(millis: u64) -> Scaling {
    Scaling::default().with_timeout(Duration::from_millis(millis))
}

#[tokio::test]
async fn a_timeout_ends_the_worker_with_its_children_and_the_next_worker_is_fresh() {
    let local = Local::new();
    let children = local.path("children");
    let note = children.display();
    let functions = [
        (
            "python3",
            python(&format!(
                "
import subprocess
def main(args):
    if 'hang' in args:
        child = subprocess.Popen(['sleep', '600'])
        print(child.pid, file=open('{note}', 'w'), flush=True)
        while True: pass
    return {{}}
"
            )),
        ),
        (
            "node",
            node(&format!(
                "
function main(args) {{
  if ('hang' in args) {{
    const child = require('child_process').spawn('sleep', ['600']);
    require('fs').writeFileSync('{note}', child.pid + '\\n');
    for (;;);
  }}
  return {{}};
}}"
            )),
        ),
        (
            "sh",
            native(&format!(
                "
case $line in *hang*) sleep 600 & echo $! > '{note}'; wait ;; esac
echo '{{}}' >&3"
            )),
        ),
    ];
    for (program, function) in functions {
        if !has(program) {
            continue;
        }
        // Long enough for the child to start in on a busy machine.
        let function = local.deploy(&function.with_scaling(timeout(2500))).await;
        let hung = local.invoke(&function, r#"{"hang":1}"#).await;
        let error = hung.outcome.clone().unwrap_err();
        assert_eq!(error.kind, FunctionErrorKind::Timeout, "{program}: {error}");
        assert!(error.message.contains("2.5s"), "{error}");
        assert!(hung.execution.unwrap() >= Duration::from_millis(2500));
        let child = std::fs::read_to_string(&children).unwrap();
        eventually("the child's end", || (!runs(child.trim())).then_some(())).await;
        assert!(!runs(&pid_of(&hung)));
        let next = local.invoke(&function, "{}").await;
        assert!(next.is_success() && next.cold_start == Some(true), "{program}: {next:?}");
    }
}

#[tokio::test]
async fn a_function_that_prints_without_end_is_ended_in_time() {
    let local = Local::new();
    let function = local.deploy(&native("yes").with_scaling(timeout(300))).await;
    assert_eq!(local.failure(&function, "{}").await.kind, FunctionErrorKind::Timeout);
}

#[tokio::test]
async fn a_function_that_never_reads_a_large_argument_is_ended_in_time() {
    let local = Local::new();
    let source = "#!/bin/sh\nsleep 600\n";
    let function = Deployable::from_source("deaf", "native".parse().unwrap(), source);
    let function = local.deploy(&function.with_scaling(timeout(300))).await;
    let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(2_000_000));
    assert_eq!(local.failure(&function, &large).await.kind, FunctionErrorKind::Timeout);
}

#[tokio::test]
async fn code_that_takes_too_long_to_load_is_an_initialization_error() {
    if !has("python3") {
        return;
    }
    let local = Local::with(|config| config.with_start_timeout(Duration::from_millis(500)));
    let function = local.deploy(&python("import time\ntime.sleep(600)\n")).await;
    let error = local.failure(&function, "{}").await;
    assert_eq!(error.kind, FunctionErrorKind::Initialization);
    assert!(error.message.contains("500ms"), "{error}");
}

#[tokio::test]
async fn limits_may_be_as_large_as_can_be() {
    let local = Local::with(|config| {
        config
            .with_start_timeout(Duration::MAX)
            .with_idle_timeout(Duration::MAX)
            .with_max_payload(u64::MAX)
            .with_max_result(u64::MAX)
            .with_max_log(u64::MAX)
            .with_retained_logs(u64::MAX)
    });
    let echo = python("def main(args):\n    print('printed')\n    return args\n");
    for (program, function) in [("sh", native("echo '{}' >&3")), ("python3", echo)] {
        if has(program) {
            let function = local.deploy(&function).await;
            for _ in 0..2 {
                assert_eq!(local.result(&function, "{}").await, "{}", "{program}");
            }
        }
    }
}

#[tokio::test]
async fn memory_over_the_limit_is_reported_as_such_in_every_runtime() {
    let local = Local::new();
    let functions = [
        (
            "python3",
            python(
                "
import time
def main(args):
    if 'grow' in args:
        held = bytearray(400 << 20)
        time.sleep(600)
    return {}
",
            ),
        ),
        (
            "node",
            node(
                "
function main(args) {
  if ('grow' in args) {
    const held = [];
    for (let i = 0; i < 40; i++) held.push(Buffer.alloc(10 << 20, 1));
    return new Promise((done) => setTimeout(done, 600000, {held}));
  }
  return {};
}",
            ),
        ),
        // tail keeps a line without an end in memory.
        (
            "sh",
            native(
                "
case $line in *grow*) head -c 400m /dev/zero | tail > /dev/null; sleep 600 ;; esac
echo '{}' >&3",
            ),
        ),
    ];
    for (program, function) in functions {
        if !has(program) {
            continue;
        }
        let limit = Scaling::default().with_memory_mib(200);
        let function = local.deploy(&function.with_scaling(limit)).await;
        let failed = local.invoke(&function, r#"{"grow":1}"#).await;
        let error = failed.outcome.unwrap_err();
        assert_eq!(error.kind, FunctionErrorKind::OutOfMemory, "{program}: {error}");
        assert!(error.message.contains("200 MiB are granted"), "{error}");
        assert_eq!(failed.memory_mib, Some(200));
        assert!(failed.memory_used_bytes.unwrap() > 200 << 20);
        let next = local.invoke(&function, "{}").await;
        assert!(next.is_success() && next.cold_start == Some(true), "{program}: {next:?}");
    }
}

#[tokio::test]
async fn a_result_over_the_limit_says_so_and_one_at_the_limit_passes() {
    let local = Local::with(|config| config.with_max_result(1000));
    let body = "n=${line##*:}; n=${n%%\\}*}; printf '{\"x\":\"%*s\"}\\n' $n '' >&3";
    let function = local.deploy(&native(body)).await;
    assert_eq!(local.result(&function, r#"{"n":992}"#).await.len(), 1000);
    for n in [993, 200_000] {
        let error = local.failure(&function, &format!(r#"{{"n":{n}}}"#)).await;
        assert_eq!(error.kind, FunctionErrorKind::BadResult);
        assert!(error.message.contains("longer than 1000 bytes"), "{error}");
    }
    assert_eq!(local.result(&function, r#"{"n":1}"#).await.len(), 9);

    if has("python3") {
        let source = "def main(args):\n    return {'x': 'x' * args['n']}\n";
        let function = local.deploy(&python(source)).await;
        assert_eq!(local.result(&function, r#"{"n":992}"#).await.len(), 1000);
        let error = local.failure(&function, r#"{"n":993}"#).await;
        assert_eq!(error.kind, FunctionErrorKind::BadResult);
    }
}

#[tokio::test]
async fn an_argument_over_the_limit_is_refused_before_it_is_sent() {
    let local = Local::with(|config| config.with_max_payload(10));
    let function = local.deploy(&native("echo '{}' >&3")).await;
    assert_eq!(local.result(&function, r#"{"a":"bc"}"#).await, "{}");
    let error = local.platform.invoke(&function, &invocation(r#"{"a":"bcd"}"#)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PayloadTooLarge);
    assert_eq!(local.platform.capabilities().max_payload, Some(10));
}

#[tokio::test]
async fn payloads_of_many_megabytes_pass_both_ways() {
    if !has("python3") {
        return;
    }
    let local = Local::new();
    let function = local.deploy(&python("def main(args):\n    return args\n")).await;
    let large = format!(r#"{{"x":"{}"}}"#, "ä\\n".repeat(5_000_000));
    assert!(local.result(&function, &large).await == large);
}

#[tokio::test]
async fn sizes_out_of_bounds_are_refused_by_name() {
    let local = Local::new();
    for (scaling, words) in [
        (Scaling::default().with_memory_mib(1), "1 MiB of memory"),
        (Scaling::default().with_timeout(Duration::from_nanos(1)), "1ns"),
        (Scaling::default().with_max_instances(0), "max_instances"),
    ] {
        let function = native("echo '{}' >&3").with_scaling(scaling);
        let error = local.platform.deploy(&function).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(words), "{error}");
    }
}
