//! The state of the fake.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use falco_core::Payload;
use serde_json::Value;

use super::instances::Instances;
use crate::http::Faults;

pub(super) type Stub = Arc<dyn Fn(&Payload) -> Payload + Send + Sync>;

/// The state that the requests of a fake share.
#[derive(Default)]
pub struct World {
    pub(super) state: Mutex<State>,
    /// The faults of the server, which the calls of queues meet, too.
    pub(super) faults: Faults,
    pub(super) stub: Mutex<Option<Stub>>,
    /// Where the server listens; set once.
    pub(super) url: std::sync::OnceLock<String>,
    /// Where callers reach the server, if something stands before it.
    pub(super) front: std::sync::OnceLock<String>,
}

impl World {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn url(&self) -> &str {
        self.url.get().expect("the server has started")
    }

    /// Where callers reach the server.
    pub(super) fn front(&self) -> &str {
        self.front.get().map_or_else(|| self.url(), String::as_str)
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("url", &self.url).finish_non_exhaustive()
    }
}

pub(super) struct State {
    pub(super) tokens: HashMap<String, Issued>,
    pub(super) token_uses: u32,
    pub(super) uploads: HashMap<String, Bytes>,
    pub(super) functions: BTreeMap<String, Function>,
    pub(super) operations: HashMap<String, Operation>,
    pub(super) looks: u32,
    pub(super) next_failure: Option<Value>,
    pub(super) policies: HashMap<String, Policy>,
    pub(super) grant_delay: u32,
    pub(super) queues: BTreeMap<String, Queue>,
    pub(super) queue_refusals: u32,
    pub(super) task_tombstones: std::collections::HashSet<String>,
    pub(super) buckets: BTreeMap<String, Bucket>,
    pub(super) storing_is_forbidden: bool,
    pub(super) list_twice: bool,
    pub(super) log: Vec<Value>,
    pub(super) denied_permissions: Vec<String>,
    pub(super) counter: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            tokens: HashMap::new(),
            token_uses: u32::MAX,
            uploads: HashMap::new(),
            functions: BTreeMap::new(),
            operations: HashMap::new(),
            looks: 1,
            next_failure: None,
            policies: HashMap::new(),
            grant_delay: 0,
            queues: BTreeMap::new(),
            queue_refusals: 0,
            task_tombstones: Default::default(),
            buckets: BTreeMap::new(),
            storing_is_forbidden: false,
            list_twice: false,
            log: Vec::new(),
            denied_permissions: Vec::new(),
            counter: 0,
        }
    }
}

impl State {
    /// A token that may still be used, once.
    pub(super) fn use_token(&mut self, token: &str) -> Option<Issued> {
        let issued = self.tokens.get_mut(token)?;
        issued.uses = issued.uses.checked_sub(1)?;
        Some(issued.clone())
    }

    pub(super) fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }
}

/// A token that was granted.
#[derive(Clone)]
pub(super) struct Issued {
    pub(super) email: String,
    /// None for an access token.
    pub(super) audience: Option<String>,
    pub(super) uses: u32,
}

pub(super) struct Function {
    pub(super) json: Value,
    pub(super) zip: Bytes,
    pub(super) instances: Arc<Instances>,
}

/// The effect of an operation's end.
pub(super) type Then = Box<dyn FnOnce(&mut State) + Send>;

pub(super) struct Operation {
    /// The id of the function that it is about.
    pub(super) target: String,
    pub(super) looks_left: u32,
    pub(super) end: Value,
    pub(super) then: Option<Then>,
}

#[derive(Default)]
pub(super) struct Policy {
    pub(super) json: Value,
    pub(super) version: u64,
    /// Calls that are still refused after a grant.
    pub(super) delay: u32,
}

#[derive(Default)]
pub(super) struct Queue {
    pub(super) max_attempts: u32,
    pub(super) tasks: BTreeMap<String, Value>,
}

#[derive(Default)]
pub(super) struct Bucket {
    pub(super) objects: BTreeMap<String, Bytes>,
}
