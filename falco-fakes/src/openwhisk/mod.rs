//! A fake OpenWhisk for tests: the API over loopback HTTP, with real functions behind it.
//!
//! It holds actions,
//! limits and throttles as OpenWhisk does, runs Python, Node and native functions as its runtimes do, and stores their
//! records late, twice or never, as its settings say.

mod actions;
mod activations;
mod answers;
mod api;
mod container;
mod invocation;
mod outcome;
mod reprint;
mod settings;
mod world;

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex};

use falco_openwhisk::{OpenWhiskConfig, OpenWhiskConfigBuilder};
use serde_json::Value;

use crate::http::{Fault, HttpFake, Reply, lock};
pub use settings::{FakeFunction, FakeSettings};
use world::World;

/// The key that a fake takes: the one that every server for developers comes with.
pub const FAKE_AUTH: &str = "23bc46b1-71f6-4ed5-8c54-816aa4f8c502:123zO3xZCLrMN6v2BKK1dXYFpXlPkccOFqm12CdAsMgRU4VrNZ9lyGVCGuMDGIwP";

/// A running fake. It ends when it is dropped, and so do the processes of its functions.
#[derive(Debug)]
pub struct FakeOpenWhisk(HttpFake<Shared>);

/// The state that the requests of a fake share.
pub struct Shared {
    settings: Mutex<Arc<FakeSettings>>,
    world: Mutex<World>,
    containers: container::Containers,
}

impl FakeOpenWhisk {
    /// Starts a fake.
    ///
    /// # Panics
    ///
    /// When no port of loopback can be had.
    pub fn start() -> Self {
        Self::with(FakeSettings::default())
    }

    /// Starts a fake that behaves as its settings say.
    ///
    /// # Panics
    ///
    /// When no port of loopback can be had.
    pub fn with(settings: FakeSettings) -> Self {
        Self(HttpFake::start(Shared {
            containers: container::Containers::new(settings.containers),
            world: Mutex::new(World::new()),
            settings: Mutex::new(Arc::new(settings)),
        }))
    }

    /// A configuration for it.
    pub fn config(&self) -> OpenWhiskConfigBuilder {
        OpenWhiskConfig::builder().apihost(self.url()).auth(FAKE_AUTH)
    }

    /// Changes how it behaves, from the next request on. Containers stay as many as there were.
    pub fn change(&self, change: impl FnOnce(&mut FakeSettings)) {
        change(Arc::make_mut(&mut lock(&self.provider().settings)));
    }

    /// Answers the next invocation so, and starts nothing; called again, the one after it.
    pub fn answer_next_invocation(&self, answer: Reply) {
        let answer = answers::with_request_id(answer);
        self.inject(Fault::reply("POST /api/v1/namespaces/", answer).times(1));
    }

    /// How many requests have asked for activations or their number, kept or not.
    pub fn collecting_requests(&self) -> u64 {
        lock(&self.provider().world).collecting_requests
    }

    /// Makes an action that somebody else has deployed, without any annotations.
    pub fn place_action(&self, name: &str) {
        let mut action = actions::new_action(&[name]);
        action.kind = "python:3.11".to_owned();
        lock(&self.provider().world).put(action);
    }

    /// The names of the actions that it holds, with their packages.
    pub fn actions(&self) -> Vec<String> {
        lock(&self.provider().world).action_names()
    }

    /// An action as `GET` shows it, with its code.
    pub fn action(&self, name: &str) -> Option<Value> {
        lock(&self.provider().world).action(name).map(|action| action.to_json(true))
    }

    /// How many activations functions were started for, since it runs.
    pub fn activations(&self) -> u64 {
        lock(&self.provider().world).started()
    }

    /// The largest number of activations that were in flight at the same time.
    pub fn most_in_flight(&self) -> u32 {
        lock(&self.provider().world).most_in_flight()
    }
}

impl Shared {
    fn settings(&self) -> Arc<FakeSettings> {
        lock(&self.settings).clone()
    }
}

impl Deref for FakeOpenWhisk {
    type Target = HttpFake<Shared>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
