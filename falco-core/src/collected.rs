//! The answer of a collect.

use std::time::Duration;

use crate::activation::Activation;
use crate::error::{Error, Result};
use crate::id::ActivationId;

/// The answer of [`AsyncPlatform::collect`](crate::AsyncPlatform::collect): what has become of some of the activations.
///
/// # Examples
///
/// ```
/// use falco_core::{Activation, Collected, Error, ErrorKind, Payload};
/// use std::time::Duration;
///
/// let refused = Error::new(ErrorKind::Throttled, "too many concurrent activations");
/// let collected = Collected::new(
///     vec![Activation::succeeded("a-1", Payload::empty())],
///     vec![("a-2".into(), refused)],
///     Duration::from_millis(100),
/// );
/// let answers: Vec<_> = collected.into_answers().collect();
/// assert!(answers[0].1.is_ok());
/// assert!(answers[1].1.as_ref().is_err_and(|error| error.is_retryable()));
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Collected {
    /// Activations that have ended; the function may have failed.
    pub finished: Vec<Activation>,
    /// Activations that the platform has failed to run, or has lost: they will have no result. The error says why;
    /// its kind is [`Lost`](crate::ErrorKind::Lost) if nobody knows.
    pub gone: Vec<(ActivationId, Error)>,
    /// How long to wait before asking again; zero means at once.
    pub poll_after: Duration,
    /// Whether the platform was not asked: it was too soon for that, or others ask at this time. Such an answer does not
    /// show that the platform can be reached.
    pub is_from_memory: bool,
}

impl Collected {
    /// An answer that names these activations.
    pub fn new(
        finished: Vec<Activation>,
        gone: Vec<(ActivationId, Error)>,
        poll_after: Duration,
    ) -> Self {
        Self { finished, gone, poll_after, is_from_memory: false }
    }

    /// Says whether the platform was not asked.
    #[must_use]
    pub fn with_from_memory(mut self, is_from_memory: bool) -> Self {
        self.is_from_memory = is_from_memory;
        self
    }

    /// Whether it names no activation.
    pub fn is_empty(&self) -> bool {
        self.finished.is_empty() && self.gone.is_empty()
    }

    /// The answer for each activation that it names.
    pub fn into_answers(self) -> impl Iterator<Item = (ActivationId, Result<Activation>)> {
        let finished = self.finished.into_iter().map(|it| (it.id.clone(), Ok(it)));
        finished.chain(self.gone.into_iter().map(|(id, error)| (id, Err(error))))
    }
}
