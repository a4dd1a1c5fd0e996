//! A platform in memory, on tokio's clock: complete, cheap, and as faulty as a test wants it.

mod activations;
mod admission;
mod batch;
mod counters;
mod deployed;
mod fate;
mod function;
mod gate;
mod platform;
mod run;
mod settings;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::SystemTime;

use falco_core::{Code, Deployable};
use tokio::time::Instant;

use activations::Activations;
use counters::Tally;
use deployed::Deployed;
use function::Function;

pub use admission::{Admission, Arrival};
pub use counters::Counters;
pub use fate::{Call, Fate, Fates, Odds, Operation};
pub use function::{FunctionCall, Reply};
pub use settings::Settings;

/// A platform in memory, on tokio's clock.
///
/// Functions are closures; one that is not registered returns its argument. It keeps the contracts of
/// [`Platform`](falco_core::Platform) and [`AsyncPlatform`](falco_core::AsyncPlatform) to the letter, misbehaves in
/// every way that they allow when [`Settings`] say so, and counts what it sees. Under `start_paused` an hour costs
/// nothing.
///
/// A dropped `invoke` stops at once. A dropped `submit` was not accepted. Nothing is spawned: submitted activations end
/// by the clock.
///
/// # Examples
///
/// ```
/// use falco_core::{Deployable, Invocation, Payload, Platform};
/// use falco_testkit::{InMemory, Reply};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> falco_core::Result<()> {
/// let platform = InMemory::default()
///     .with_function("python:3", |call| Reply::succeeded(call.payload().clone()).printing("hello"));
/// let f = Deployable::from_source("f", "python:3".parse()?, "def main(args): return args");
/// let deployment = platform.deploy(&f).await?;
/// let invocation = Invocation::new("run", "stage", "1", Payload::from_bytes(r#"{"a":1}"#)?);
/// let activation = platform.invoke(&deployment, &invocation).await?;
/// assert_eq!(activation.outcome.unwrap().as_str(), r#"{"a":1}"#);
/// assert_eq!(platform.counters().invokes, 1);
/// # Ok(())
/// # }
/// ```
pub struct InMemory {
    world: RwLock<World>,
    activations: Mutex<Activations>,
    tally: Tally,
    next_activation: AtomicU64,
    /// One moment on both clocks: what is reported as wall time follows tokio's clock from here.
    epoch: (Instant, SystemTime),
}

/// The state that calls read and configuration changes.
struct World {
    settings: Arc<Settings>,
    by_runtime: HashMap<String, Function>,
    by_source: HashMap<String, Function>,
    deployed: HashMap<String, Arc<Deployed>>,
}

impl InMemory {
    /// A platform that behaves as `settings` say.
    pub fn new(settings: Settings) -> Self {
        Self {
            world: RwLock::new(World {
                settings: Arc::new(settings),
                by_runtime: HashMap::new(),
                by_source: HashMap::new(),
                deployed: HashMap::new(),
            }),
            activations: Mutex::default(),
            tally: Tally::default(),
            next_activation: AtomicU64::new(1),
            epoch: (Instant::now(), SystemTime::now()),
        }
    }

    /// Runs `function` for code of `runtime`: a full name such as `python:3.12`, or a family such as `python`.
    /// Applies to what is deployed later.
    #[must_use]
    pub fn with_function<F, R>(self, runtime: impl Into<String>, function: F) -> Self
    where
        F: Fn(&FunctionCall<'_>) -> R + Send + Sync + 'static,
        R: Into<Reply>,
    {
        self.write().by_runtime.insert(runtime.into(), boxed(function));
        self
    }

    /// Runs `function` for exactly this source text, whatever its runtime. Applies to what is deployed later.
    #[must_use]
    pub fn with_source<F, R>(self, source: impl Into<String>, function: F) -> Self
    where
        F: Fn(&FunctionCall<'_>) -> R + Send + Sync + 'static,
        R: Into<Reply>,
    {
        self.write().by_source.insert(source.into(), boxed(function));
        self
    }

    /// Changes how the platform behaves from the next call on. What runs already keeps its fate.
    pub fn configure(&self, change: impl FnOnce(&mut Settings)) {
        let mut settings = (*self.settings()).clone();
        change(&mut settings);
        self.write().settings = Arc::new(settings);
    }

    /// The calls that the platform has seen so far, and its content of this moment.
    pub fn counters(&self) -> Counters {
        self.end_what_is_over();
        let unreleased = self.activations().unreleased();
        self.tally.snapshot(unreleased)
    }

    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.read().settings)
    }

    // A panic under one of these locks leaves nothing half-done, so poison is not a reason to stop.
    fn read(&self) -> RwLockReadGuard<'_, World> {
        self.world.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, World> {
        self.world.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn activations(&self) -> MutexGuard<'_, Activations> {
        self.activations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end_what_is_over(&self) {
        let ended = self.activations().end_until(Instant::now());
        self.tally.end(ended);
    }

    fn wall_time(&self, at: Instant) -> SystemTime {
        self.epoch.1 + at.saturating_duration_since(self.epoch.0)
    }
}

impl Default for InMemory {
    fn default() -> Self {
        Self::new(Settings::default())
    }
}

impl fmt::Debug for InMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMemory").field("counters", &self.counters()).finish_non_exhaustive()
    }
}

impl World {
    fn function_for(&self, function: &Deployable) -> Function {
        let by_source = match &function.code {
            Code::Source(source) => self.by_source.get(&**source),
            _ => None,
        };
        by_source
            .or_else(|| self.by_runtime.get(&function.runtime.to_string()))
            .or_else(|| self.by_runtime.get(function.runtime.family()))
            .map_or_else(function::echo, Arc::clone)
    }
}

fn boxed<F, R>(function: F) -> Function
where
    F: Fn(&FunctionCall<'_>) -> R + Send + Sync + 'static,
    R: Into<Reply>,
{
    Arc::new(move |call| function(call).into())
}
