//! The layer by itself: its time, what it sends, and its planning.

use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use falco_core::{Deployable, Deployment, Invocation, Payload, Platform, RuntimeName};
use falco_data::{Data, DataPolicy, Sink, Splits, Store};
use falco_fakes::FakeS3;
use falco_testkit::InMemory;
use futures_util::TryStreamExt;
use serde_json::{Value, json};

use crate::figure::{Figure, Goal};

const CALLS: usize = 20_000;

/// Parts of one argument.
const PARTS: usize = 1_000;

/// Ranges of one object whose boundaries are planned.
const RANGES: u64 = 2_000;

pub(super) fn run(folder: &Path) -> anyhow::Result<Vec<Figure>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let s3 = FakeS3::start();
    let text = std::fs::read(super::words::text(folder)?)?;
    runtime.block_on(async {
        s3.upload("in/text.txt", text).await;
        let store = s3.store("in");
        let bare = InMemory::default();
        let deployment = bare.deploy(&echo()).await?;
        let floor = microseconds(&bare, &deployment, &json!({"n": 1}), CALLS).await?;
        let data = Data::new(InMemory::default(), s3.store("scratch"), DataPolicy::default())?
            .with_store(store.clone());
        let deployment = data.deploy(&echo()).await?;
        let time = async |argument: &Value, calls| -> anyhow::Result<f64> {
            Ok((microseconds(&data, &deployment, argument, calls).await? - floor).max(0.0))
        };
        let two = json!({"input": store.object("text.txt").with_range(0, 1 << 20), "out": Sink::scratch()});
        let parts = parts(&s3);
        let none = time(&json!({"n": 1}), CALLS).await?;
        let of_two = time(&two, CALLS).await?;
        // The first call signs them all.
        time(&parts, 1).await?;
        let of_parts = time(&parts, 50).await? / 1000.0;
        let sent = sent(&data, &deployment, &two).await?;
        let sent_parts = sent_of_parts(&data, &deployment, &parts).await?;
        let mut figures = vec![
            Figure::alone("data: layer, no reference", "µs", none, Goal::AtMost(2.0)),
            Figure::alone("data: layer, two references, S3", "µs", of_two, Goal::AtMost(100.0)),
            Figure::alone("data: layer, 1,000 cached parts", "ms", of_parts, Goal::AtMost(5.0)),
            Figure::alone("data: driver sends a call", "B", sent, Goal::AtMost(1500.0)),
            Figure::alone("data: driver sends a part", "B", sent_parts, Goal::AtMost(130.0)),
        ];
        for (place, store) in [("folder", Store::folder(folder)?), ("S3", store)] {
            figures.push(boundaries(place, &store).await?);
        }
        Ok(figures)
    })
}

fn echo() -> Deployable {
    Deployable::from_source("echo", RuntimeName::python(), "def main(args): return args")
}

/// An argument with many parts, as an exchange makes it.
fn parts(s3: &FakeS3) -> Value {
    let base = format!("{}/runs/6553f100-0000beef/map", s3.store("scratch").url());
    let part =
        |number: usize| json!([format!("{:x}/{number:08}-1-5f3a7c019e2b", number % 16), 0, 400]);
    let parts: Vec<_> = (0..PARTS).map(part).collect();
    json!({"in": {"falco:parts": {"base": base, "parts": parts}}})
}

async fn microseconds(
    platform: &impl Platform,
    deployment: &Deployment,
    argument: &Value,
    calls: usize,
) -> anyhow::Result<f64> {
    let payload = Payload::json(argument)?;
    let begun = Instant::now();
    for call in 0..calls {
        let invocation = Invocation::new("bench", "layer", call.to_string(), payload.clone());
        platform.invoke(deployment, &invocation).await?;
    }
    Ok(begun.elapsed().as_secs_f64() * 1e6 / calls as f64)
}

/// The bytes of the argument that the platform gets; it answers with them.
async fn sent(
    data: &Data<InMemory>,
    deployment: &Deployment,
    argument: &Value,
) -> anyhow::Result<f64> {
    let invocation = Invocation::new("bench", "layer", "sent", Payload::json(argument)?);
    let activation = data.invoke(deployment, &invocation).await?;
    Ok(activation.outcome?.len() as f64)
}

/// The bytes of one part more.
async fn sent_of_parts(
    data: &Data<InMemory>,
    deployment: &Deployment,
    argument: &Value,
) -> anyhow::Result<f64> {
    let all = sent(data, deployment, argument).await?;
    let mut half = argument.clone();
    let parts = half["in"]["falco:parts"]["parts"].as_array_mut().context("a list of parts")?;
    parts.truncate(PARTS / 2);
    let half = sent(data, deployment, &half).await?;
    Ok((all - half) / (PARTS - PARTS / 2) as f64)
}

async fn boundaries(place: &str, store: &Store) -> anyhow::Result<Figure> {
    let begun = Instant::now();
    let splits = Splits::lines(store, "text.txt").count(RANGES).stream();
    let planned = splits.try_fold(0_u64, |count, _| async move { Ok(count + 1) }).await?;
    let rate = planned as f64 / begun.elapsed().as_secs_f64();
    let name = format!("data: boundaries planned, {place}");
    Ok(Figure::alone(name, "1/s", rate, Goal::AtLeast(500.0)))
}
