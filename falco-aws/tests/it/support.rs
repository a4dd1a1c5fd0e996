//! Helpers of several tests.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use falco_aws::AwsLambda;
use falco_core::{
    Activation, AsyncPlatform, Deployable, Deployment, Invocation, Ownership, Payload, Pending,
    Platform,
};
use falco_fakes::aws::{FakeAws, FakeSettings};
use serde_json::Value;

pub const ECHO: &str = "def main(args):\n    return args\n";

pub const RUN: &str = "6553f100-0000beef";

/// A fake, and a platform that is connected to it.
pub struct Aws {
    pub fake: FakeAws,
    pub platform: Arc<AwsLambda>,
}

impl Aws {
    pub async fn start() -> Self {
        Self::with(FakeSettings::default()).await
    }

    pub async fn with(settings: FakeSettings) -> Self {
        let fake = FakeAws::with(settings);
        let platform = AwsLambda::connect(fake.config().build().unwrap()).await.unwrap();
        Self { fake, platform: Arc::new(platform) }
    }

    pub async fn deploy(&self, function: &Deployable) -> Deployment {
        self.platform.deploy(function).await.unwrap()
    }
}

pub fn echoing() -> FakeSettings {
    FakeSettings { function: Some(Arc::new(Value::clone)), ..FakeSettings::default() }
}

pub fn echo(name: &str) -> Deployable {
    Deployable::from_source(name, "python:3".parse().unwrap(), ECHO)
}

pub fn ownership() -> Ownership {
    Ownership::new(
        RUN,
        "ada@workstation",
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
    )
}

pub fn invocation(payload: Value) -> Invocation {
    Invocation::new("run", "stage", "1", Payload::json(&payload).unwrap())
}

pub async fn submit(aws: &Aws, deployment: &Deployment, argument: Value) -> Pending {
    aws.platform.submit(deployment, &invocation(argument)).await.unwrap()
}

pub async fn collect(aws: &Aws, deployment: &Deployment, pending: &[Pending]) -> Vec<Activation> {
    let mut found: Vec<Activation> = Vec::new();
    while found.len() < pending.len() {
        let collected = aws.platform.collect(deployment, pending).await.unwrap();
        assert!(collected.gone.is_empty());
        for activation in collected.finished {
            if !found.iter().any(|known| known.id == activation.id) {
                found.push(activation);
            }
        }
        tokio::time::sleep(collected.poll_after).await;
    }
    found
}

/// Waits until a process has ended and its parent knows. A child of this process counts before it is waited for.
pub async fn has_ended(pid: u64) {
    let own_zombie = format!("Z {} ", std::process::id());
    for _ in 0..6_000 {
        // The state and the parent stand behind the name, which is in parentheses.
        match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) if stat.rsplit(") ").next().unwrap().starts_with(&own_zombie) => return,
            Ok(_) => {}
            Err(_) => return,
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("process {pid} has not ended within a minute");
}
