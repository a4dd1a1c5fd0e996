//! Changing the sizes of a function that is there.

use falco_core::{Deployment, Error, ErrorKind, Result, Scaling};
use serde_json::{Map, Value};

use super::AwsLambda;
use super::settings::{self, whole_seconds};

impl AwsLambda {
    pub(super) async fn scale_function(
        &self,
        deployment: &Deployment,
        scaling: &Scaling,
    ) -> Result<Deployment> {
        settings::check(scaling)?;
        let name = &deployment.name;
        let mut members = Map::new();
        if let Some(memory) = scaling.memory_mib {
            members.insert("MemorySize".into(), memory.into());
        }
        if let Some(timeout) = scaling.timeout {
            members.insert("Timeout".into(), whole_seconds(timeout).into());
        }
        if !members.is_empty() {
            let members = Value::Object(members);
            self.when_idle(|| self.client.resize(name, &members)).await?;
        }
        if let Some(reserved) = scaling.max_instances {
            self.reserve(name, reserved).await?;
        }
        // Nothing may have changed, and a function that is not there is an error anyway.
        let function = match self.client.get_function(name).await {
            Ok(_) => self.wait_until_ready(name).await?,
            Err(failure) => return Err(failure.into()),
        };
        Ok(self.describe(&function))
    }

    /// Reserves concurrency for a function, which also caps it.
    pub(super) async fn reserve(&self, name: &str, reserved: u32) -> Result<()> {
        let reserving = self.when_idle(|| self.client.put_concurrency(name, reserved)).await;
        reserving.map_err(|failure| {
            // The account has to keep a hundred for functions without a reservation; new accounts have ten in all.
            let too_much = failure.says(&["UnreservedConcurrentExecution"]);
            let error = Error::from(failure);
            if !too_much {
                return error;
            }
            error
                .with_kind(ErrorKind::InvalidInput)
                .with_hint("leave max_instances out, or ask AWS for a higher concurrency quota")
        })
    }
}
