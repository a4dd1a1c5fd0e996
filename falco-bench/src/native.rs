//! A warm call of a native function on each platform's fake: what driving its executable costs beyond the request.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use falco_aws::AwsLambda;
use falco_core::{AsyncPlatform, Deployable, Invocation, Payload};
use falco_fakes::aws::FakeAws;
use falco_fakes::gcp::FakeGcp;
use falco_fakes::openwhisk::FakeOpenWhisk;
use falco_gcp::GcpFunctions;
use falco_openwhisk::OpenWhisk;
use serde_json::{Value, json};

use crate::figure::{Figure, Goal};

const WARM_UP: usize = 20;
const CALLS: usize = 100;

/// Measured so often, of which the best counts: what disturbs a measurement only makes it slower.
const ROUNDS: usize = 5;

/// Milliseconds that a call may take on the way between the fake and the executable, and back.
const MOST: f64 = 1.0;

/// An ActionLoop executable that answers with its argument. Its interpreter is started once.
const ECHO: &str = "#!/usr/bin/env python3\n\
                    import json, os, sys\n\
                    results = os.fdopen(3, 'w')\n\
                    for line in sys.stdin:\n    \
                    results.write(json.dumps(json.loads(line)['value']) + '\\n')\n    \
                    results.flush()\n";

pub(crate) fn run() -> anyhow::Result<Vec<Figure>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        Ok(vec![
            figure("aws", aws().await?),
            figure("gcp", gcp().await?),
            figure("openwhisk", openwhisk().await?),
        ])
    })
}

/// The difference of two medians, in milliseconds.
fn figure(platform: &str, [native, request]: [f64; 2]) -> Figure {
    let name = format!("{platform} native warm call, beyond the request");
    Figure::alone(name, "ms", native - request, Goal::AtMost(MOST))
}

async fn aws() -> anyhow::Result<[f64; 2]> {
    let fake = FakeAws::start();
    let platform = Arc::new(AwsLambda::connect(fake.config().build()?).await?);
    let native = median(platform.clone()).await?;
    fake.change(|settings| settings.function = Some(Arc::new(Value::clone)));
    Ok([native, median(platform).await?])
}

async fn gcp() -> anyhow::Result<[f64; 2]> {
    let fake = FakeGcp::start();
    let platform = Arc::new(GcpFunctions::connect(fake.config().build()?).await?);
    let native = median(platform.clone()).await?;
    fake.answer_with(Payload::clone);
    Ok([native, median(platform).await?])
}

async fn openwhisk() -> anyhow::Result<[f64; 2]> {
    let settings = |function| falco_fakes::openwhisk::FakeSettings {
        function,
        invocations_per_minute: u32::MAX,
        ..Default::default()
    };
    let fake = FakeOpenWhisk::with(settings(None));
    let native = median(Arc::new(OpenWhisk::connect(fake.config().build()?).await?)).await?;
    let fake = FakeOpenWhisk::with(settings(Some(Arc::new(Value::clone))));
    Ok([native, median(Arc::new(OpenWhisk::connect(fake.config().build()?).await?)).await?])
}

/// The least of some medians of warm calls, one after the other, in milliseconds.
async fn median(platform: Arc<dyn AsyncPlatform>) -> anyhow::Result<f64> {
    let function = Deployable::from_source("native-echo", "native".parse()?, ECHO);
    let deployment = platform.deploy(&function).await?;
    let mut times = Vec::with_capacity(ROUNDS * CALLS);
    for n in 0..WARM_UP + ROUNDS * CALLS {
        let payload = Payload::json(&json!({"n": n}))?;
        let invocation = Invocation::new("bench", "native", n.to_string(), payload);
        let begun = Instant::now();
        let activation = platform.invoke(&deployment, &invocation).await?;
        if n >= WARM_UP {
            times.push(begun.elapsed().as_secs_f64() * 1000.0);
        }
        ensure!(activation.is_success(), "{:?}", activation.outcome);
    }
    platform.remove(&deployment).await?;
    let medians = times.chunks_mut(CALLS).filter_map(|round| {
        round.sort_by(f64::total_cmp);
        round.get(CALLS / 2).copied()
    });
    medians.min_by(f64::total_cmp).context("there are calls")
}
