//! The HTTP server beneath the fakes, for the fake of a provider of your own: it serves, records, and misbehaves.
//!
//! A fake is a [`Provider`], which holds state and answers requests, in an [`HttpFake`], which does everything else.
//!
//! # Examples
//!
//! ```
//! use falco_fakes::http::{Fault, HttpFake, Provider, Reply, Request};
//! use serde_json::json;
//! use std::sync::Arc;
//!
//! #[derive(Default)]
//! struct Gateway;
//!
//! #[falco_core::async_trait]
//! impl Provider for Gateway {
//!     async fn answer(self: Arc<Self>, request: Request) -> Reply {
//!         match (request.method.as_str(), request.path.as_str()) {
//!             ("GET", "/system/info") => Reply::json(200, &json!({"arch": "x86_64"})),
//!             _ => Reply::new(404, "not found"),
//!         }
//!     }
//! }
//!
//! let fake = HttpFake::start(Gateway);
//! fake.inject(Fault::answer("GET /system", 429, "slow down").times(1));
//! // Your platform connects to `fake.url()`, is refused once, and then served.
//! assert!(fake.requests().is_empty());
//! ```

mod decode;
mod fault;
mod hold;
mod provider;
mod records;
mod reply;
mod request;
mod server;

pub use fault::{Fault, Faults};
pub use provider::Provider;
pub use reply::Reply;
pub use request::Request;
pub use server::HttpFake;

#[cfg(feature = "aws")]
pub(crate) use server::serve;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, also after a panic of another holder: a test that failed is reported by itself.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
