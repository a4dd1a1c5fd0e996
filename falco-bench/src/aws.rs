//! AWS Lambda over a loopback fake of its API, whose functions answer at once.

use std::sync::Arc;

use anyhow::Context;
use falco_aws::AwsLambda;
use falco_core::{Deployable, Deployment, Invocation, Payload, Platform};
use falco_fakes::aws::{FakeAws, FakeSettings};
use falco_fakes::http::Request;
use serde_json::Value;

use crate::figure::{Figure, Goal};
use crate::invoking;

pub(crate) fn run() -> anyhow::Result<Vec<Figure>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let bench = Bench::start().await?;
        let (mut bare, mut signed) = (0.0_f64, 0.0_f64);
        for _ in 0..invoking::ROUNDS {
            bare = bare.max(bench.bare().await?);
            signed = signed.max(bench.signed().await?);
        }
        let name = "aws signed invocations, 64 at once";
        Ok(vec![Figure::beside(name, "1/s", signed, bare, Goal::AtLeast(0.6))])
    })
}

struct Bench {
    fake: FakeAws,
    platform: Arc<AwsLambda>,
    deployment: Deployment,
    /// A request as the platform sends it, with its signature.
    request: Request,
}

impl Bench {
    async fn start() -> anyhow::Result<Self> {
        let settings =
            FakeSettings { function: Some(Arc::new(Value::clone)), ..FakeSettings::default() };
        let fake = FakeAws::with(settings);
        let platform = Arc::new(AwsLambda::connect(fake.config().build()?).await?);
        let function =
            Deployable::from_source("noop", "python:3".parse()?, "def main(args): return args");
        let deployment = platform.deploy(&function).await?;
        let payload = Payload::json(&serde_json::json!({"n": 1}))?;
        platform.invoke(&deployment, &Invocation::new("bench", "noop", "1", payload)).await?;
        let request = fake.requests_of("Invoke").pop().context("the invocation was seen")?;
        fake.forget_requests();
        fake.change(|settings| settings.is_strict = false);
        Ok(Self { fake, platform, deployment, request })
    }

    /// The floor: the same request, signed beforehand, of whose answer nothing is parsed.
    async fn bare(&self) -> anyhow::Result<f64> {
        let client = invoking::client().build()?;
        let url = format!("{}{}", self.fake.url(), self.request.target);
        invoking::bare(&client, &url, &self.request.headers, &self.request.body).await
    }

    async fn signed(&self) -> anyhow::Result<f64> {
        invoking::falco(self.platform.clone(), &self.deployment).await
    }
}
