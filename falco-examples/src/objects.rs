//! Runs over objects: stores instead of payloads, an output that becomes complete at once.

use falco_cli::flags::Stores;
use falco_cli::{Launch, RunFlags, check_outputs, clean_scratch, with_objects};
use falco_core::Driver;
use falco_data::{Manifest, Object, commit};
use falco_executors::RunOutcome;
use futures_util::TryStreamExt;

/// A platform whose functions read and write objects.
#[derive(Debug)]
pub struct OverObjects<'a> {
    launch: Launch<'a>,
    stores: Stores,
}

impl<'a> OverObjects<'a> {
    /// Connects to the platform, with the layer that signs next to it.
    ///
    /// # Errors
    ///
    /// When a setting is missing or wrong, the output is taken, or the platform does not answer.
    pub async fn connect(flags: &'a RunFlags, stores: Stores) -> anyhow::Result<Self> {
        check_outputs(&flags.journal, [&stores.output]).await?;
        let (input, output) = ([stores.input.clone()], [stores.output.clone()]);
        let layer = |platform| with_objects(platform, &stores.scratch, input, output);
        let launch = Launch::connect_with(flags, layer).await?;
        Ok(Self { launch, stores })
    }

    /// Runs a driver to its end, commits what the stage `last` wrote, and deletes what the run kept in the scratch store.
    ///
    /// # Errors
    ///
    /// When nothing could be executed, or the output could not be committed; what came of an execution is in the outcome.
    pub async fn run(
        &self,
        driver: &dyn Driver,
        last: &str,
    ) -> anyhow::Result<(RunOutcome, Option<Manifest>)> {
        let outcome = self.launch.run(driver).await?;
        let run = &outcome.report.run;
        let manifest = if outcome.is_success() {
            commit(&self.stores.output, run, outcome.results(last)?).await.map(Some)
        } else {
            Ok(None)
        };
        clean_scratch(&self.stores.scratch, &outcome).await?;
        Ok((outcome, manifest?))
    }

    /// The text of everything that a manifest lists.
    ///
    /// # Errors
    ///
    /// When an object cannot be read, or is not UTF-8.
    pub async fn read(&self, manifest: &Manifest) -> anyhow::Result<String> {
        let mut bytes = Vec::new();
        for object in &manifest.objects {
            let mut pieces = self.stores.output.read(&Object::new(&*object.url)).await?;
            while let Some(piece) = pieces.try_next().await? {
                bytes.extend_from_slice(&piece);
            }
        }
        Ok(String::from_utf8(bytes)?)
    }
}
