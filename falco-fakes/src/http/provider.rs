//! The provider behind a fake, which answers requests.

use std::sync::Arc;

use falco_core::async_trait;

use super::{Reply, Request};

/// A provider: its state, and its answers.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// Does what a request asks, and answers it.
    async fn answer(self: Arc<Self>, request: Request) -> Reply;

    /// The provider's name of what a request asks, such as `CreateFunction`, where it has names.
    fn operation(&self, _: &Request) -> String {
        String::new()
    }

    /// Refuses a request by its head, before its body is read and before it is recorded.
    fn refuse(&self, _: &Request) -> Option<Reply> {
        None
    }

    /// Adds what every reply of the provider has, such as the id of the request. Replies of faults pass here, too.
    fn finish(&self, _: &Request, reply: Reply) -> Reply {
        reply
    }

    /// Takes note of where the fake listens, before the first request.
    fn started(&self, _url: &str) {}

    /// Ends what it has started, such as processes, on the fake's own runtime.
    fn ended(&self) {}
}
