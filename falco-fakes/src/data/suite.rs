//! One deployment of the suite's function, and calls of it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use falco_core::{
    Activation, AsyncPlatform, Capabilities, Deployable, Deployment, Error, ErrorKind,
    FunctionError, Invocation, Payload, Platform, Result,
};
use falco_data::{Data, DataPolicy, Object, Store};
use futures_util::TryStreamExt;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::FakeS3;

/// How long one call may take, cold start included.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// The faults that a section finds, in words.
pub(super) type Checked<T = ()> = std::result::Result<T, String>;

pub(super) type Layer = Data<Arc<dyn AsyncPlatform>>;

pub(super) struct Suite {
    pub(super) s3: FakeS3,
    pub(super) input: Store,
    pub(super) data: Layer,
    platform: Arc<dyn AsyncPlatform>,
    pub(super) deployment: Deployment,
    calls: AtomicU64,
}

impl Suite {
    pub(super) async fn deploy(
        platform: Arc<dyn AsyncPlatform>,
        function: &Deployable,
    ) -> Checked<Self> {
        let s3 = FakeS3::start();
        let data = layer(&s3, &platform, DataPolicy::default())?;
        let deployed = data.deploy(function).await;
        let deployment = deployed.map_err(in_words("the function has to be deployed"))?;
        let input = s3.store("in");
        Ok(Self { s3, input, data, platform, deployment, calls: AtomicU64::new(0) })
    }

    pub(super) async fn end(&self) -> Checked {
        let removed = self.data.remove(&self.deployment).await;
        removed.map_err(in_words("the function has to be removed"))
    }

    /// A layer with another policy over the same deployment.
    pub(super) fn layer(&self, policy: DataPolicy) -> Checked<Layer> {
        layer(&self.s3, &self.platform, policy)
    }

    /// The abilities of the platform itself for the function's runtime.
    pub(super) fn deployed_capabilities(&self) -> Capabilities {
        self.platform.capabilities().for_runtime(&self.deployment.runtime)
    }

    pub(super) fn invocation(&self, argument: &Value) -> Checked<Invocation> {
        let payload = Payload::json(argument).map_err(in_words("an argument"))?;
        let number = self.calls.fetch_add(1, Relaxed).to_string();
        Ok(Invocation::new("suite", "data", number, payload))
    }

    /// A call, without what stands around its result.
    pub(super) async fn called(
        &self,
        data: &Layer,
        argument: &Value,
    ) -> Checked<Result<Activation>> {
        let invocation = self.invocation(argument)?;
        let call = async {
            loop {
                match data.invoke(&self.deployment, &invocation).await {
                    Err(error) if error.kind() == ErrorKind::Throttled => {
                        sleep(error.retry_after().unwrap_or(Duration::from_millis(20))).await;
                    }
                    other => return other,
                }
            }
        };
        let late = |_| format!("no answer to {} within {PATIENCE:?}", shown(argument));
        timeout(PATIENCE, call).await.map_err(late)
    }

    /// The result of a call that has to succeed.
    pub(super) async fn result(&self, data: &Layer, argument: &Value) -> Checked<Payload> {
        let activation = self.called(data, argument).await?.map_err(in_words(shown(argument)))?;
        succeeded(argument, activation.outcome)
    }

    /// The same, fetched where it was spilled.
    pub(super) async fn value(&self, data: &Layer, argument: &Value) -> Checked<Value> {
        let result = self.result(data, argument).await?;
        let value = data.value(&result).await.map_err(in_words("a spilled result"))?;
        value.parse().map_err(in_words("a result"))
    }

    /// The text of an object that a function wrote.
    pub(super) async fn written(&self, result: &Value) -> Checked<String> {
        let object: Object = serde_json::from_value(result["out"].clone())
            .map_err(|error| format!("{} does not name an object: {error}", shown(result)))?;
        let pieces = self.data.scratch().read(&object).await.map_err(in_words("an object"))?;
        let pieces: Vec<_> = pieces.try_collect().await.map_err(in_words("an object"))?;
        String::from_utf8(pieces.concat()).map_err(|error| error.to_string())
    }
}

fn layer(s3: &FakeS3, platform: &Arc<dyn AsyncPlatform>, policy: DataPolicy) -> Checked<Layer> {
    let data = Data::new(platform.clone(), s3.store("scratch"), policy);
    Ok(data.map_err(in_words("the layer"))?.with_store(s3.store("in")))
}

pub(super) fn succeeded(
    argument: &Value,
    outcome: std::result::Result<Payload, FunctionError>,
) -> Checked<Payload> {
    outcome.map_err(|error| format!("{} failed: {error}", shown(argument)))
}

pub(super) fn in_words(what: impl fmt::Display) -> impl FnOnce(Error) -> String {
    move |error| format!("{what}: {error}")
}

/// The beginning of a JSON value.
pub(super) fn shown(value: &Value) -> String {
    value.to_string().chars().take(200).collect()
}

/// Fails with both values when they differ.
pub(super) fn equal<T: PartialEq + fmt::Debug>(what: &str, found: &T, right: &T) -> Checked {
    let shown = |value: &T| format!("{value:?}").chars().take(300).collect::<String>();
    match found == right {
        true => Ok(()),
        false => Err(format!("{what} is {}, and not {}", shown(found), shown(right))),
    }
}
