//! The progress monitor.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use falco_core::Stage;
use falco_executors::{DriverExt, OneToOne, Progress};
use falco_testkit::{Fate, Fates, InMemory, Latency, Settings};

use super::support::{Plan, function, numbers, options};

/// The written bytes, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn lines_report_how_far_a_stage_is_every_few_seconds() {
    let platform = Arc::new(InMemory::new(Settings {
        latency: Latency::fixed(Duration::from_secs(2)),
        ..Settings::default()
    }));
    let log = Log::default();
    let plan = Plan(vec![numbers("map", 40)]);
    let options = options(&platform).with_monitor(Arc::new(Progress::lines(log.clone())));
    let _ = plan.run(options).await.unwrap();
    assert_eq!(
        log.lines(),
        [
            "map: started",
            "map: 17 of 40 done, 0 failed, 7 in flight, 2.8/s, 8.12 s left",
            "map: 40 done in 10.0 s",
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn the_last_line_of_a_failed_stage_says_why() {
    let platform = Arc::new(InMemory::new(Settings {
        fates: Fates::of_invocation("00000001", Fate::raise()),
        ..Settings::default()
    }));
    let log = Log::default();
    let next = Stage::derived("next", function("next"), ["map"], OneToOne::new());
    let plan = Plan(vec![numbers("map", 3), next]);
    let options = options(&platform).with_monitor(Arc::new(Progress::lines(log.clone())));
    let _ = plan.run(options).await.unwrap();
    let lines = log.lines();
    let map = lines.iter().find(|line| line.starts_with("map: 3 done, 1 failed")).unwrap();
    assert!(map.contains("00000001") && map.contains("raised on purpose"), "{map}");
    assert!(lines.last().unwrap().contains("follows \"map\""), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_cancelled_has_not_failed() {
    let platform = Arc::new(InMemory::new(Settings {
        latency: Latency::fixed(Duration::from_secs(2)),
        ..Settings::default()
    }));
    let log = Log::default();
    let options = options(&platform)
        .with_monitor(Arc::new(Progress::lines(log.clone())))
        .with_stop(tokio::time::sleep(Duration::from_secs(3)));
    let _ = Plan(vec![numbers("map", 40)]).run(options).await.unwrap();
    let lines = log.lines();
    assert!(lines[1].starts_with("map: 16 done, 0 failed, 8 cancelled: "), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_waits_for_one_answer_is_not_silent() {
    let platform = Arc::new(InMemory::new(Settings {
        latency: Latency::fixed(Duration::from_secs(65)),
        ..Settings::default()
    }));
    let log = Log::default();
    let options = options(&platform).with_monitor(Arc::new(Progress::lines(log.clone())));
    let _ = Plan(vec![numbers("map", 1)]).run(options).await.unwrap();
    assert_eq!(
        log.lines(),
        [
            "map: started",
            "map: 0 of 1 done, 0 failed, 1 in flight, no news for 20.0 s",
            "map: 0 of 1 done, 0 failed, 1 in flight, no news for 40.0 s",
            "map: 0 of 1 done, 0 failed, 1 in flight, no news for 1.00 min",
            "map: 1 of 1 done, 0 failed, 0 in flight, 0.0/s, 0 µs left",
            "map: 1 done in 1.08 min",
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn progress_says_what_invocations_wait_for() {
    use falco_core::{Event, Invocation, Monitor, Payload, WaitReason};

    let log = Log::default();
    let progress = Progress::lines(log.clone());
    let stage = falco_core::StageName::from("map");
    let deployment =
        falco_core::Deployment::new("map", "python:3".parse().unwrap()).with_platform("memory");
    let _ = progress.event(&Event::StageStarted { stage: &stage, deployment: &deployment });
    let invocations = ["1", "2", "3"].map(|id| Invocation::new("run", "map", id, Payload::empty()));
    for invocation in &invocations {
        let _ = progress.event(&Event::Admitted { invocation });
    }
    let [limited, paused, runs] = &invocations;
    let reason = WaitReason::Limit;
    for invocation in [limited, runs] {
        let _ = progress.event(&Event::Held { invocation, reason });
    }
    let (reason, wait) = (WaitReason::BackOff, Duration::from_secs(9));
    let _ = progress.event(&Event::Waiting { invocation: paused, reason, wait });
    let _ = progress.event(&Event::Waiting { invocation: runs, reason: WaitReason::Limit, wait });
    tokio::time::sleep(Duration::from_secs(6)).await;
    let _ = progress.event(&Event::StageSized { stage: &stage, invocations: 3 });
    assert_eq!(
        log.lines()[1],
        "map: 0 of 3 done, 0 failed, 3 in flight (1 wait for the rate or concurrency limit, \
         1 pause before another attempt)",
    );
}

#[tokio::test(start_paused = true)]
async fn progress_can_be_switched_off() {
    let platform = Arc::new(InMemory::default());
    let options = options(&platform).with_monitor(Arc::new(Progress::hidden()));
    assert!(Plan(vec![numbers("map", 3)]).run(options).await.unwrap().is_success());
}
