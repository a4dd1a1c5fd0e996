//! The suite's view of a platform crate.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use falco_core::{AsyncPlatform, Deployable, RuntimeName};

use super::Fake;
use crate::fixture;

/// The suite's view of a platform crate: how to make the platform, and how to make its provider misbehave.
///
/// One is started for each case and dropped after it: it owns the fake, the directory or the server that the
/// platform is connected to.
#[async_trait]
pub trait Harness: Send + Sync + 'static {
    /// Starts a provider and connects a platform to it.
    async fn start() -> Self
    where
        Self: Sized;

    /// The platform. Its provider is in good health.
    fn platform(&self) -> Arc<dyn AsyncPlatform>;

    /// The runtimes to try the [fixture](crate::fixture) in, such as `python:3`, `nodejs:22` and `native`: those that the
    /// provider can run here. Cases that do not depend on the language use the first.
    fn runtimes(&self) -> Vec<RuntimeName>;

    /// The fixture for a runtime, under this name: [`fixture::function`] unless the harness brings its own, such as one in a
    /// language that the suite does not have. `None` leaves the runtime out.
    fn fixture(&self, name: &str, runtime: &RuntimeName) -> Option<Deployable> {
        fixture::function(name, runtime)
    }

    /// Makes the provider misbehave from now on, and gives a platform that sees it. Both platforms see the same
    /// deployments.
    ///
    /// # Errors
    ///
    /// A [`Skip`] when it cannot be done, with the reason.
    async fn provoke(&self, fault: Fault) -> Result<Arc<dyn AsyncPlatform>, Skip>;

    /// The fake that the platform is connected to, if the suite can ask it: the methods from [`calls`](Self::calls) to
    /// [`leftovers`](Self::leftovers) ask it, unless the harness implements them itself.
    fn fake(&self) -> Option<&dyn Fake> {
        None
    }

    /// Marked secrets in the platform's configuration, which must appear in no error, no `Debug` and no log.
    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }

    /// The harness's own name, in what failed and what was skipped: that of its type, unless it says otherwise.
    fn name(&self) -> &'static str {
        std::any::type_name::<Self>()
    }

    /// Why the case of this name does not apply to functions of one runtime; those of the others are tried.
    fn exempt_runtime(&self, case: &str, runtime: &RuntimeName) -> Option<Skip> {
        let _ = (case, runtime);
        None
    }

    /// Why the case of this name does not apply, although `capabilities()` say that it could: the platform promises
    /// something else than the case demands, on purpose.
    fn exempt(&self, case: &str) -> Option<Skip> {
        let _ = case;
        None
    }

    /// How many calls of functions, submitted ones included, have reached the provider so far, whether it refused them or not;
    /// `None` where the harness does not count them.
    fn calls(&self) -> Option<u64> {
        self.fake().map(Fake::calls)
    }

    /// Whether functions run on this machine and write into its files.
    fn shares_files(&self) -> bool {
        false
    }

    /// Puts a function that Falco has not deployed beside those of the suite, and returns its name.
    ///
    /// # Errors
    ///
    /// A [`Skip`] where the harness cannot do that.
    async fn place_stranger(&self) -> Result<String, Skip> {
        let fake = self.fake();
        let fake = fake.ok_or_else(|| Skip::new("the harness places no function of a stranger"))?;
        fake.place_stranger("stranger");
        Ok("stranger".to_owned())
    }

    /// Puts so many functions that Falco has not deployed beside those of the suite; by their names they come first.
    ///
    /// # Errors
    ///
    /// A [`Skip`] where the harness cannot do that.
    async fn place_strangers(&self, count: usize) -> Result<(), Skip> {
        let fake = self.fake();
        let fake = fake.ok_or_else(|| Skip::new("the harness places no functions of strangers"))?;
        (0..count).for_each(|n| fake.place_stranger(&format!("a-stranger-{n}")));
        Ok(())
    }

    /// Lets the provider take so many requests more. It does what the last of them asks without answering it, and answers
    /// nothing else until [`go_on`](Self::go_on).
    ///
    /// # Errors
    ///
    /// A [`Skip`] where the harness cannot do that.
    async fn stop_after(&self, requests: u64) -> Result<(), Skip> {
        let fake = self.fake();
        let unable = || Skip::new("the harness does not stop the provider in the middle");
        fake.ok_or_else(unable)?.server().pause_after(requests);
        Ok(())
    }

    /// Resolves when a request is not answered, because of [`stop_after`](Self::stop_after).
    async fn stopped(&self) {
        match self.fake() {
            Some(fake) => fake.server().paused().await,
            None => std::future::pending().await,
        }
    }

    /// Lets the provider answer again.
    fn go_on(&self) {
        if let Some(fake) = self.fake() {
            fake.server().go_on();
        }
    }

    /// Another platform on the same provider, as another process has it: what the first one knows, it learns from the
    /// provider only.
    ///
    /// # Errors
    ///
    /// A [`Skip`] where activations go with the process that has submitted them, or the harness cannot connect again.
    async fn reconnect(&self) -> Result<Arc<dyn AsyncPlatform>, Skip> {
        Err(Skip::new("the harness connects once"))
    }

    /// Everything that the provider holds, in words: functions, roles, queues, logs. `None` where the harness cannot look.
    /// The words about a part of a function hold its name: the suite looks for what a deploy that was cut off has left.
    fn leftovers(&self) -> Option<Vec<String>> {
        self.fake().map(Fake::leftovers)
    }

    /// How long one case may take, on tokio's clock.
    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }
}

/// A way in which a provider misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The provider does not accept the credentials.
    Unauthorized,
    /// The provider refuses every invocation for its rate.
    Throttled,
    /// The provider accepts connections and never answers.
    Silent,
    /// The provider runs what it is asked to, and the connection breaks before each answer to a call.
    LostAnswer,
    /// Nobody accepts connections to the provider; those that were open are cut.
    Unreachable,
    /// The provider accepts submissions, and knows at once that they will never answer: a dead-letter queue, a
    /// record that says so.
    Gone,
    /// The provider reports every result twice, as queues do that deliver at least once.
    Duplicates,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unauthorized => "wrong credentials",
            Self::Throttled => "throttling",
            Self::Silent => "silence of the provider",
            Self::LostAnswer => "answers that are lost",
            Self::Unreachable => "a provider that cannot be reached",
            Self::Gone => "activations that are gone",
            Self::Duplicates => "results reported twice",
        })
    }
}

/// Why a case does not apply to a platform. It is printed with the case's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip(Cow<'static, str>);

impl Skip {
    /// Skips a case for this reason.
    pub fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a case ends that does not fail: failing is a panic, as in every test.
pub type Verdict = Result<(), Skip>;
