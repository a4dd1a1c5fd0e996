//! Google Cloud Functions over a loopback fake of them, whose functions answer at once.

use std::sync::Arc;

use anyhow::Context;
use falco_core::{Deployable, Deployment, Invocation, Payload, Platform};
use falco_fakes::gcp::FakeGcp;
use falco_fakes::http::Request;
use falco_gcp::GcpFunctions;

use crate::figure::{Figure, Goal};
use crate::invoking;

pub(crate) fn run() -> anyhow::Result<Vec<Figure>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let bench = Bench::start().await?;
        let (mut bare, mut falco) = (0.0_f64, 0.0_f64);
        for _ in 0..invoking::ROUNDS {
            bare = bare.max(bench.bare().await?);
            falco = falco.max(bench.falco().await?);
        }
        let name = "gcp invocations, 64 at once";
        Ok(vec![Figure::beside(name, "1/s", falco, bare, Goal::AtLeast(0.7))])
    })
}

struct Bench {
    fake: FakeGcp,
    platform: Arc<GcpFunctions>,
    deployment: Deployment,
    /// A request as the platform sends it, with its token.
    request: Request,
}

impl Bench {
    async fn start() -> anyhow::Result<Self> {
        let fake = FakeGcp::start();
        fake.answer_with(Payload::clone);
        let platform = Arc::new(GcpFunctions::connect(fake.config().build()?).await?);
        let function =
            Deployable::from_source("noop", "python:3".parse()?, "def main(args): return args");
        let deployment = platform.deploy(&function).await?;
        let payload = Payload::json(&serde_json::json!({"n": 1}))?;
        platform.invoke(&deployment, &Invocation::new("bench", "noop", "1", payload)).await?;
        let request = fake.requests_to("POST /run/").pop().context("the invocation was seen")?;
        fake.stop_remembering();
        Ok(Self { fake, platform, deployment, request })
    }

    /// The floor: the same request, of whose answer nothing is parsed.
    async fn bare(&self) -> anyhow::Result<f64> {
        let client = invoking::client().http1_only().build()?;
        let url = format!("{}{}", self.fake.url(), self.request.path);
        invoking::bare(&client, &url, &self.request.headers, &self.request.body).await
    }

    async fn falco(&self) -> anyhow::Result<f64> {
        invoking::falco(self.platform.clone(), &self.deployment).await
    }
}
