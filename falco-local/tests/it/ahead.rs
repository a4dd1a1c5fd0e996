//! Calls that are sent to a worker before it has answered the one that it runs.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use falco_core::{
    Activation, Deployable, Deployment, Error, FunctionErrorKind, Invocation, LogStream, Platform,
    Scaling,
};
use futures_util::future::join_all;
use serde_json::Value;

use crate::support::{Local, eventually, has, invocation, python, texts};

/// The beginning of a function whose calls note their numbers in a file as they begin, and see how many bytes of other requests
/// wait in the worker's pipe.
const BEGIN: &str = "
import fcntl, os, struct, sys, time
def waiting():
    return struct.unpack('i', fcntl.ioctl(4, 0x541B, b'0000'))[0]
def until(done):
    end = time.monotonic() + 60
    while not done() and time.monotonic() < end:
        time.sleep(0.001)
def begin(args):
    with open(os.environ['PLACE'] + '/begun', 'a') as file:
        file.write('%d %d\\n' % (args['n'], waiting()))
def there(name):
    return os.path.exists(os.environ['PLACE'] + '/' + name)
";

/// The numbers of the calls that are made at once.
const NUMBERS: RangeInclusive<u64> = 1..=40;

/// How often they are made at most, until others wait behind one of them.
const ROUNDS: usize = 200;

struct Calls {
    local: Local,
    function: Deployment,
    place: tempfile::TempDir,
}

impl Calls {
    /// A function with this body, of one worker that is warm and known to be quick.
    async fn of(body: &str, change: impl FnOnce(Deployable) -> Deployable) -> Self {
        Self::on(Local::with(|config| config.with_max_workers(1)), body, change).await
    }

    async fn on(local: Local, body: &str, change: impl FnOnce(Deployable) -> Deployable) -> Self {
        let place = tempfile::tempdir().unwrap();
        let source = format!("{BEGIN}def main(args):\n    begin(args)\n{body}\n    return args\n");
        let function = python(&source).with_env("PLACE", place.path().to_str().unwrap());
        let function = local.deploy(&change(function)).await;
        let calls = Self { local, function, place };
        for _ in 0..20 {
            calls.local.result(&calls.function, r#"{"n":0}"#).await;
        }
        calls.forget();
        calls
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.place.path().join(name)
    }

    fn touch(&self, name: &str) {
        std::fs::write(self.path(name), "").unwrap();
    }

    fn forget(&self) {
        std::fs::write(self.path("begun"), "").unwrap();
    }

    /// How often each call was begun, and the calls behind which others waited in the pipe.
    fn begun(&self) -> (BTreeMap<u64, usize>, Vec<u64>) {
        let text = std::fs::read_to_string(self.path("begun")).unwrap();
        let (mut times, mut followed) = (BTreeMap::new(), Vec::new());
        for line in text.lines() {
            let (n, waiting) = line.split_once(' ').unwrap();
            let n = n.parse().unwrap();
            *times.entry(n).or_default() += 1;
            if waiting != "0" {
                followed.push(n);
            }
        }
        (times, followed)
    }

    /// Calls 1 to 40 at once, in this order, and what is done after each.
    async fn run(&self, after: impl Fn(u64) + Sync) -> Vec<Result<Activation, Error>> {
        let invocations: Vec<_> = NUMBERS.map(numbered).collect();
        let calls = NUMBERS.zip(&invocations).map(async |(n, invocation)| {
            let outcome = self.local.platform.invoke(&self.function, invocation).await;
            after(n);
            outcome
        });
        join_all(calls).await
    }

    /// Repeats calls 1 to 40 until others waited in the pipe when the call of that number began, and returns their outcomes.
    async fn run_with_others_behind(
        &self,
        number: u64,
        after: impl Fn(u64) + Sync,
    ) -> Vec<Result<Activation, Error>> {
        for _ in 0..ROUNDS {
            self.forget();
            let outcomes = self.run(&after).await;
            let (times, followed) = self.begun();
            let expected: BTreeMap<_, _> = NUMBERS.map(|n| (n, 1)).collect();
            assert_eq!(times, expected, "each call is run once");
            if followed.contains(&number) {
                return outcomes;
            }
        }
        panic!("no call was ever sent behind call {number}");
    }
}

fn numbered(n: u64) -> Invocation {
    invocation(&format!(r#"{{"n":{n}}}"#))
}

fn number_of(activation: &Activation) -> u64 {
    let result = activation.outcome.as_ref().unwrap();
    serde_json::from_str::<Value>(result.as_str()).unwrap()["n"].as_u64().unwrap()
}

/// Call 7 fails in this way, and all others succeed.
#[track_caller]
fn assert_only_call_7_fails(outcomes: Vec<Result<Activation, Error>>, kind: FunctionErrorKind) {
    for (n, outcome) in (1..).zip(outcomes) {
        let outcome = outcome.unwrap().outcome.map_err(|error| error.kind);
        assert_eq!(outcome.err(), (n == 7).then_some(kind), "call {n}");
    }
}

#[tokio::test]
async fn calls_that_wait_are_sent_ahead_and_each_gets_its_own_answer() {
    if !has("python3") {
        return;
    }
    let calls = Calls::of("", |function| function).await;
    let outcomes = calls.run_with_others_behind(20, |_| {}).await;
    let mut last = None;
    for (n, outcome) in (1..).zip(outcomes) {
        let activation = outcome.unwrap();
        assert_eq!(number_of(&activation), n);
        let (started, ended) = (activation.started_at.unwrap(), activation.ended_at.unwrap());
        assert!(started <= ended && last.is_none_or(|last| last <= started), "one after the other");
        last = activation.started_at;
    }
}

#[tokio::test]
async fn what_calls_print_is_in_their_own_logs_when_others_were_sent_behind() {
    if !has("python3") {
        return;
    }
    let body = "
    if args['n'] % 10 == 0:
        os.write(1, b'raw %d' % args['n'])
        print('printed', args['n'], file=sys.stderr)
        os.system('echo from a child %d' % args['n'])
";
    let calls = Calls::of(body, |function| function).await;
    for (n, outcome) in (1..).zip(calls.run_with_others_behind(10, |_| {}).await) {
        let log = calls.local.log(&calls.function, &outcome.unwrap()).await;
        let stdout = texts(&log, LogStream::Stdout).concat();
        let stderr = texts(&log, LogStream::Stderr).concat();
        let expected = match n % 10 {
            0 => (format!("raw {n}from a child {n}"), format!("printed {n}")),
            _ => Default::default(),
        };
        assert_eq!((stdout, stderr), expected, "call {n}");
    }
}

#[tokio::test]
async fn a_worker_that_ends_takes_only_the_call_with_it_that_it_runs() {
    if !has("python3") {
        return;
    }
    let body = "
    if args['n'] == 7:
        os.write(2, b'the end')
        os._exit(3)
";
    let calls = Calls::of(body, |function| function).await;
    for (n, outcome) in (1..).zip(calls.run_with_others_behind(7, |_| {}).await) {
        let activation = outcome.unwrap();
        if n == 7 {
            let error = activation.outcome.unwrap_err();
            assert_eq!((error.kind, error.exit_status), (FunctionErrorKind::Crashed, Some(3)));
            assert_eq!(error.trace.as_deref(), Some("the end"));
        } else {
            assert_eq!(number_of(&activation), n);
        }
    }
}

#[tokio::test]
async fn calls_that_have_ended_are_answered_while_a_later_one_runs() {
    if !has("python3") {
        return;
    }
    let body = "
    if args['n'] == 7:
        until(lambda: there('answered'))
        args['is_answered'] = there('answered')
";
    let calls = Calls::of(body, |function| function).await;
    for _ in 0..20 {
        let answered = AtomicUsize::new(0);
        let outcomes = calls
            .run(|n| {
                if n < 7 && answered.fetch_add(1, Relaxed) == 5 {
                    calls.touch("answered");
                }
            })
            .await;
        for (n, outcome) in (1..).zip(outcomes) {
            let result = outcome.unwrap().outcome.unwrap();
            let result: Value = serde_json::from_str(result.as_str()).unwrap();
            assert_eq!(result["is_answered"].as_bool(), (n == 7).then_some(true), "call {n}");
        }
        std::fs::remove_file(calls.path("answered")).unwrap();
    }
}

#[tokio::test]
async fn a_call_that_runs_too_long_takes_no_call_with_it_that_was_sent_behind() {
    if !has("python3") {
        return;
    }
    let body = "
    if args['n'] == 7:
        while True: pass
";
    let timeout = Scaling::default().with_timeout(Duration::from_secs(1));
    let calls = Calls::of(body, |function| function.with_scaling(timeout)).await;
    let outcomes = calls.run_with_others_behind(7, |_| {}).await;
    assert_only_call_7_fails(outcomes, FunctionErrorKind::Timeout);
}

#[tokio::test]
async fn a_line_that_the_function_writes_fails_its_own_call_and_no_other() {
    if !has("python3") {
        return;
    }
    // A number that another request may have is not its own either.
    for line in ["stray", r#"1 {"ok":{}}"#] {
        let body = format!("    if args['n'] == 7: os.write(3, b'{line}\\n')");
        let calls = Calls::of(&body, |function| function).await;
        let outcomes = calls.run_with_others_behind(7, |_| {}).await;
        assert_only_call_7_fails(outcomes, FunctionErrorKind::BadResult);
    }
}

#[tokio::test]
async fn a_call_that_prints_and_whose_answer_cannot_be_used_leaves_nothing_in_the_logs_of_others() {
    if !has("python3") {
        return;
    }
    for fault in ["os.write(3, b'a\\nb\\n')", "os.write(3, b'a')", "args['x'] = 'x' * 2000"] {
        let body = format!(
            "
    if args['n'] == 7:
        os.write(1, b'of 7')
        {fault}
    if args['n'] == 8: print('of 8')
"
        );
        let local = Local::with(|config| config.with_max_workers(1).with_max_result(1000));
        let calls = Calls::on(local, &body, |function| function).await;
        for (n, outcome) in (1..).zip(calls.run_with_others_behind(7, |_| {}).await) {
            let activation = outcome.unwrap();
            assert_eq!(activation.is_success(), n != 7, "call {n} after {fault}");
            let log = calls.local.log(&calls.function, &activation).await;
            let expected = if n == 7 || n == 8 { format!("of {n}") } else { String::new() };
            assert_eq!(texts(&log, LogStream::Stdout).concat(), expected, "{n} after {fault}");
        }
    }
}

#[tokio::test]
async fn a_result_over_the_limit_fails_its_own_call_and_no_other() {
    if !has("python3") {
        return;
    }
    let local = Local::with(|config| config.with_max_workers(1).with_max_result(1000));
    let source = "def main(args):\n    return {'n': args['n'], 'x': 'x' * (2000 if args['n'] == 7 else 0)}\n";
    let function = local.deploy(&python(source)).await;
    for _ in 0..2 {
        let invocations: Vec<_> = (1..=40).map(numbered).collect();
        let calls = invocations.iter().map(|it| local.platform.invoke(&function, it));
        assert_only_call_7_fails(join_all(calls).await, FunctionErrorKind::BadResult);
    }
}

#[tokio::test]
async fn a_call_whose_future_is_dropped_while_it_waits_in_the_pipe_is_never_begun() {
    if !has("python3") {
        return;
    }
    let body = "
    if args['n'] == 20:
        until(lambda: there('go') and waiting() == 0)
";
    let calls = Calls::of(body, |function| function).await;
    let invocations: Vec<_> = NUMBERS.map(numbered).collect();
    for _ in 0..ROUNDS {
        calls.forget();
        let invoke = |it| calls.local.platform.invoke(&calls.function, it);
        let wanted = join_all(invocations[..20].iter().map(invoke));
        let dropped = join_all(invocations[20..].iter().map(invoke));
        let has_begun = || calls.begun().0.contains_key(&20).then_some(());
        let outcomes = {
            let begun = eventually("the call before them", has_begun);
            tokio::pin!(wanted, begun);
            tokio::select! {
                biased;
                _ = &mut wanted => panic!("call 20 has ended by itself"),
                _ = dropped => panic!("the others did not wait for call 20"),
                () = begun => {}
            }
            calls.touch("go");
            wanted.await
        };
        std::fs::remove_file(calls.path("go")).unwrap();
        assert!(outcomes.into_iter().all(|outcome| outcome.unwrap().is_success()));
        let (times, followed) = calls.begun();
        assert_eq!(times.into_keys().collect::<Vec<_>>(), (1..=20).collect::<Vec<_>>());
        if followed.contains(&20) {
            return;
        }
    }
    panic!("no call was ever sent behind call 20");
}

#[tokio::test]
async fn no_call_waits_behind_a_long_one_while_another_worker_is_idle() {
    if !has("python3") {
        return;
    }
    let body = "
    if args['n'] == 20:
        until(lambda: there('go'))
        args['went'] = there('go')
";
    let two = Scaling::default().with_max_instances(2);
    let calls = Calls::of(body, |function| function.with_scaling(two)).await;
    let others = AtomicUsize::new(0);
    let after = |n| {
        if n == 20 {
            others.store(0, Relaxed);
            std::fs::remove_file(calls.path("go")).unwrap();
        } else if others.fetch_add(1, Relaxed) + 2 == NUMBERS.count() {
            calls.touch("go");
        }
    };
    let outcomes = calls.run_with_others_behind(20, after).await;
    let long = outcomes[19].as_ref().unwrap().outcome.as_ref().unwrap();
    assert_eq!(long.as_str(), r#"{"n":20,"went":true}"#);
}

#[tokio::test]
async fn removing_a_function_ends_the_calls_that_wait_in_the_pipe() {
    if !has("python3") {
        return;
    }
    let calls = Calls::of("    if args['n'] == 1: until(lambda: False)", |function| function).await;
    let removed = async {
        let path = calls.path("begun");
        let has_begun =
            |path: &Path| std::fs::read_to_string(path).is_ok_and(|text| !text.is_empty());
        eventually("the first call", || has_begun(&path).then_some(())).await;
        calls.local.platform.remove(&calls.function).await.unwrap();
    };
    let (outcomes, ()) = tokio::join!(calls.run(|_| {}), removed);
    for outcome in outcomes {
        assert_eq!(outcome.unwrap_err().kind(), falco_core::ErrorKind::NotFound);
    }
}
