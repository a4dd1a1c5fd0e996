//! The instances that there are, of each revision.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use falco_http::reqwest::Client;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Child;
use tokio::sync::Semaphore;

/// More than this machine could run at the same time; the rest waits as it does for instances.
const MAX_INSTANCES: usize = 8;

/// The instances of one revision. Each serves as many calls at once as the function's concurrency allows.
#[derive(Debug)]
pub(super) struct Instances {
    pub(super) code: Mutex<Option<Arc<TempDir>>>,
    /// An entry for each call that a running instance could serve now.
    free: Mutex<Vec<Arc<Instance>>>,
    pub(super) slots: Semaphore,
    pub(super) concurrency: usize,
    /// Calls that come while an instance starts share it, if they may.
    pub(super) starting: tokio::sync::Mutex<()>,
    pub(super) client: Client,
}

impl Instances {
    pub(super) fn new(service: &Value) -> Self {
        let number = |name: &str| service[name].as_u64().map(|n| n as usize);
        let instances = number("maxInstanceCount").unwrap_or(MAX_INSTANCES).clamp(1, MAX_INSTANCES);
        let concurrency = number("maxInstanceRequestConcurrency").unwrap_or(1).max(1);
        Self {
            code: Mutex::default(),
            free: Mutex::default(),
            slots: Semaphore::new(instances * concurrency),
            concurrency,
            starting: tokio::sync::Mutex::default(),
            client: http_client(),
        }
    }

    pub(super) fn take(&self) -> Option<Arc<Instance>> {
        self.free.lock().unwrap().pop()
    }

    pub(super) fn give_back(&self, instance: Arc<Instance>) {
        self.free.lock().unwrap().push(instance);
    }

    /// Ends an instance that has failed a call.
    pub(super) fn end(&self, instance: &Arc<Instance>) {
        self.free.lock().unwrap().retain(|other| !Arc::ptr_eq(other, instance));
    }
}

/// A client that waits for as long as functions may run, also for one that does not read what is sent to it.
fn http_client() -> Client {
    // An instance may close a connection that is idle in the moment in which it is used again.
    let idle = Duration::from_millis(500);
    let client = Client::builder().tls_certs_only([]).pool_idle_timeout(idle);
    client.tcp_user_timeout(None).build().unwrap()
}

/// A process that serves a function.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) process: Child,
    /// Where it listens.
    pub(super) address: String,
}

impl Drop for Instance {
    fn drop(&mut self) {
        // The whole group: handlers have processes of their own.
        if let Some(pid) = self.process.id() {
            let _ =
                std::process::Command::new("kill").args(["-9", "--", &format!("-{pid}")]).status();
        }
    }
}
