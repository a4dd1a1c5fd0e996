//! The input of a batch that ran when its function was cut off.

use std::time::Duration;

use falco_core::{Activation, ActivationId, AsyncPlatform, Deployment};
use tokio::time::sleep;

use super::{marks, unpack};
use crate::strategy::caught::caught;

/// The pauses before a log is asked for again that does not name it: providers store logs late.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(1500),
    Duration::from_secs(3),
];

/// The input that ran when the function was cut off: the last one that the end of its log announces. `None` when the function
/// was not cut off, or no log is to be had.
pub(super) async fn running_input(
    platform: &dyn AsyncPlatform,
    deployment: &Deployment,
    batch: &Activation,
    mark: &str,
) -> Option<usize> {
    running_inputs(platform, deployment, &[(batch, mark)]).await.pop()?
}

/// The same for several batches, each with its mark: one request asks for the logs of all. No mark is known of a batch that an
/// earlier process submitted, so that no log is asked for.
pub(super) async fn running_inputs(
    platform: &dyn AsyncPlatform,
    deployment: &Deployment,
    batches: &[(&Activation, &str)],
) -> Vec<Option<usize>> {
    let mut running = vec![None; batches.len()];
    let mut open = Vec::new();
    for (at, (batch, mark)) in batches.iter().enumerate() {
        let failed = batch.outcome.as_ref().err();
        let Some(error) = failed.filter(|error| unpack::is_cut_off(error)) else { continue };
        let trace = error.trace.as_deref().unwrap_or_default();
        running[at] = marks::last_input(trace.lines(), mark);
        if running[at].is_none() && !mark.is_empty() {
            open.push(at);
        }
    }
    if open.is_empty() || !platform.capabilities().logs {
        return running;
    }
    for pause in [Duration::ZERO].into_iter().chain(PAUSES) {
        if !pause.is_zero() {
            sleep(pause).await;
        }
        let asked: Vec<ActivationId> = open.iter().map(|at| batches[*at].0.id.clone()).collect();
        let asking = async { platform.activation_log(deployment, &asked).await };
        let Ok(logs) = caught(platform, "activation_log", asking).await else { continue };
        open.retain(|at| {
            // The mark says to which batch a line belongs.
            let lines = logs.iter().flat_map(|log| log.lines.iter()).map(|line| line.text.as_str());
            running[*at] = marks::last_input(lines, batches[*at].1);
            running[*at].is_none()
        });
        if open.is_empty() {
            break;
        }
    }
    running
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    use falco_core::{
        Batch, Deployable, FunctionError, FunctionErrorKind, Invocation, Payload, Platform,
    };
    use falco_testkit::{Fate, Fates, InMemory, Operation, Settings};
    use tokio::sync::{Semaphore, oneshot};
    use tokio::time::Instant;

    use super::super::Batches;
    use super::super::queue::{Reply, Supply};
    use super::*;

    fn timeout() -> FunctionError {
        FunctionError::new(FunctionErrorKind::Timeout, "slow")
    }

    /// A platform whose functions time out, an echo on it, and how often logs are asked for.
    async fn slow() -> (Arc<InMemory>, Arc<Deployment>, Arc<AtomicU64>) {
        let asked = Arc::new(AtomicU64::new(0));
        let counted = asked.clone();
        let fates = Fates::by(move |call| match call.operation {
            Operation::Invoke => Fate::FailFunction(timeout()),
            Operation::ActivationLog => {
                counted.fetch_add(1, SeqCst);
                Fate::Serve
            }
            _ => Fate::Serve,
        });
        let platform = Arc::new(InMemory::new(Settings { fates, ..Settings::default() }));
        let echo = Deployable::python("echo", "def main(args): return args");
        let deployment = Arc::new(platform.deploy(&echo).await.unwrap());
        (platform, deployment, asked)
    }

    #[tokio::test(start_paused = true)]
    async fn no_log_is_asked_for_when_an_input_that_travels_alone_runs_out_of_time() {
        for (inputs, requests) in [(1, 0), (2, 5)] {
            let (platform, deployment, asked) = slow().await;
            let permits = Arc::new(Semaphore::new(1));
            let batches = Batches::new(Batch::of(2), platform, deployment, permits, 1, false);
            let mut answers = Vec::new();
            for number in 0..inputs {
                let (reply, answer) = oneshot::channel();
                let id = number.to_string();
                let invocation = Invocation::new("run", "stage", id, Payload::empty());
                batches.enqueue(&invocation, Reply::Invoked(reply));
                answers.push(answer);
            }
            let mut all = Box::pin(futures_util::future::join_all(answers));
            let driven = std::future::poll_fn(|cx| {
                while batches.poll(Supply::Ended, cx) {}
                all.as_mut().poll(cx)
            });
            let answers = tokio::time::timeout(Duration::from_secs(60), driven).await.unwrap();
            assert_eq!((answers.len(), asked.load(SeqCst)), (inputs, requests));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_asks_for_the_logs_of_all_batches_that_were_cut_off() {
        let (platform, deployment, asked) = slow().await;
        let silent = [0, 1, 2].map(|number| Activation::failed(format!("a-{number}"), timeout()));
        let traced = Activation::failed("a-3", timeout().with_trace("falco:input 0a1b2c3d 2"));
        let done = Activation::succeeded("a-4", Payload::empty());
        let marked = |mark| silent.iter().map(move |batch| (batch, mark));
        let began = Instant::now();
        let mut batches: Vec<_> = marked("0a1b2c3d").collect();
        batches.extend([(&traced, "0a1b2c3d"), (&done, "0a1b2c3d")]);
        let running = running_inputs(&*platform, &deployment, &batches).await;
        assert_eq!(running, [None, None, None, Some(2), None]);
        assert_eq!((began.elapsed(), asked.load(SeqCst)), (Duration::from_secs(5), 5));

        // The marks of an earlier process are not known.
        let of_earlier: Vec<_> = marked("").collect();
        assert_eq!(running_inputs(&*platform, &deployment, &of_earlier).await, [None; 3]);
        assert_eq!(asked.load(SeqCst), 5);
    }
}
