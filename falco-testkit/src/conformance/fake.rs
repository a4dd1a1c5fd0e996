//! A provider's fake, as the suite asks every one of them.

use async_trait::async_trait;

/// A provider's fake, as the suite asks every one of them. A harness over one returns it as
/// [`Harness::fake`](super::Harness::fake), and the cases that look behind the platform run.
///
/// The fakes of AWS, Google Cloud and OpenWhisk in `falco-fakes` are such fakes.
pub trait Fake: Send + Sync {
    /// How many calls of functions have reached it so far, refused ones included.
    fn calls(&self) -> u64;

    /// Puts a function that Falco has not deployed beside those of the suite.
    fn place_stranger(&self, name: &str);

    /// Everything that it holds, in words: functions, roles, queues, logs.
    fn leftovers(&self) -> Vec<String>;

    /// The server in front of it, which can be stopped between two requests.
    fn server(&self) -> &dyn Pause;
}

/// A server that can be stopped between two requests. `falco_fakes::http::HttpFake` is one.
#[async_trait]
pub trait Pause: Send + Sync {
    /// Takes so many requests more. It does what the last of them asks without answering it, and answers nothing else until
    /// [`go_on`](Self::go_on).
    fn pause_after(&self, requests: u64);

    /// Resolves when a request is not answered, because of [`pause_after`](Self::pause_after).
    async fn paused(&self);

    /// Answers again.
    fn go_on(&self);
}
