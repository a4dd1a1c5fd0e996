//! A thousand calls at once over TLS, from a client that has no connection yet.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use falco_core::{Deployable, ExecutionStrategy, Invocation, Payload, Platform, Target};
use falco_executors::ParallelExecutor;
use falco_fakes::openwhisk::{FAKE_AUTH, FakeOpenWhisk, FakeSettings};
use falco_openwhisk::{ClientConfig, OpenWhisk};
use futures_util::future::try_join_all;
use futures_util::{StreamExt, stream};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::figure::{Figure, Goal};

const CALLS: usize = 1_000;
/// How long each call takes on the server, in milliseconds.
const LATENCY: u64 = 50;
/// Measured so often, in turns, of which the best counts.
const ROUNDS: usize = 3;

pub(super) fn figures() -> anyhow::Result<Vec<Figure>> {
    // The server has threads of its own.
    let server =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let fake = FakeOpenWhisk::with(FakeSettings {
        function: Some(Arc::new(Value::clone)),
        invocations_per_minute: u32::MAX,
        concurrent_invocations: u32::MAX,
        ..FakeSettings::default()
    });
    fake.stop_remembering();
    let address = fake.url().trim_start_matches("http://").to_owned();
    let url = server.block_on(terminate(address))?;
    let client =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    client.block_on(async {
        let platform = connect(&url, &fake).await?;
        let function =
            Deployable::from_source("noop", "python:3".parse()?, "def main(args): return args");
        platform.deploy(&function).await?;
        let (mut bare, mut falco) = (f64::MAX, f64::MAX);
        for _ in 0..ROUNDS {
            bare = bare.min(by_bare_client(&url).await?);
            falco = falco.min(by_falco(&url, &fake).await?);
        }
        let name = "1,000 at once over TLS, from a cold start";
        Ok(vec![Figure::beside(name, "s", falco, bare, Goal::AtMost(1.25))])
    })
}

/// Speaks TLS before a server that does not. It ends with the runtime.
async fn terminate(address: String) -> anyhow::Result<String> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".into()])?;
    let key = signing_key.serialize_der().try_into().ok().context("a key has a form")?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("https://localhost:{}", listener.local_addr()?.port());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (acceptor, address) = (acceptor.clone(), address.clone());
            tokio::spawn(async move {
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let Ok(mut server) = TcpStream::connect(address).await else { return };
                // A connection that breaks off fails its call, which the measurement sees.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    Ok(url)
}

async fn connect(url: &str, fake: &FakeOpenWhisk) -> anyhow::Result<Arc<OpenWhisk>> {
    let http = ClientConfig::new("falco-bench").with_insecure(true);
    Ok(Arc::new(OpenWhisk::connect(fake.config().apihost(url).http(http).build()?).await?))
}

/// Seconds from the first call to the last answer, connecting included.
async fn by_falco(url: &str, fake: &FakeOpenWhisk) -> anyhow::Result<f64> {
    let platform = connect(url, fake).await?;
    let deployment = Arc::new(platform.fetch_deployment("noop").await?);
    // A client that has not spoken to the server yet.
    let platform = connect(url, fake).await?;
    let payload = Payload::json(&json!({"sleep_ms": LATENCY}))?;
    let invocations = stream::iter(0..CALLS)
        .map(move |n| Invocation::new("bench", "noop", format!("{n:08}"), payload.clone()));
    let begun = Instant::now();
    let succeeded = ParallelExecutor::with_concurrency(CALLS)?
        .execute(Target::new(platform, deployment), invocations.boxed())
        .fold(0, async |count, completion| count + usize::from(completion.is_success()))
        .await;
    ensure!(succeeded == CALLS, "{succeeded} of {CALLS} calls succeeded");
    Ok(begun.elapsed().as_secs_f64())
}

async fn by_bare_client(url: &str) -> anyhow::Result<f64> {
    let (user, password) = FAKE_AUTH.split_once(':').context("a key has two parts")?;
    let client = reqwest::Client::builder().danger_accept_invalid_certs(true).build()?;
    let url = format!("{url}/api/v1/namespaces/_/actions/noop?blocking=true&result=false");
    let body = json!({"sleep_ms": LATENCY}).to_string();
    let begun = Instant::now();
    try_join_all((0..CALLS).map(|_| {
        let request = client
            .post(&url)
            .basic_auth(user, Some(password))
            .header("content-type", "application/json")
            .body(body.clone());
        async move { request.send().await?.error_for_status()?.bytes().await }
    }))
    .await?;
    Ok(begun.elapsed().as_secs_f64())
}
