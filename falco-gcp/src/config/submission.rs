//! How invocations are submitted for later collection.

use std::num::NonZeroU32;

use falco_core::Result;

use super::{check_segment, invalid};

/// How invocations are submitted.
///
/// Google's functions have no asynchronous call of their own. There are two ways to have one:
///
/// | | calls held open | [`CloudTasks`](Self::CloudTasks) |
/// |---|---|---|
/// | how | `falco_layers::Held` around [`GcpFunctions`](crate::GcpFunctions) | a queue calls, the function stores its result |
/// | the client may go away | no | yes, another process collects |
/// | argument and result | 32 MiB each | 32 MiB each; an argument above 72 KiB goes through the bucket |
/// | longest run | 3,570 seconds | 1,770 seconds |
/// | starts per second | as the client can | 500 per queue |
/// | further services and their cost | none | a queue and a bucket |
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Submission {
    /// Not by this platform: `capabilities().submit` is false. Executors invoke and wait, or
    /// `falco_layers::Held` holds the calls open.
    #[default]
    Unsupported,
    /// By a queue of Cloud Tasks, with one result object per call in Cloud Storage.
    CloudTasks(CloudTasks),
}

impl Submission {
    pub(super) fn validate(&self) -> Result<()> {
        let Self::CloudTasks(tasks) = self else { return Ok(()) };
        if let Some(queue) = &tasks.queue {
            check_segment("queue", queue)?;
        }
        if let Some(bucket) = &tasks.bucket {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
            if !(3..=222).contains(&bucket.len()) || !bucket.chars().all(plain) {
                return Err(invalid(format!(
                    "invalid bucket name {bucket:?}: use 3 to 222 lower-case letters, digits, '-', '_' or '.'"
                )));
            }
        }
        Ok(())
    }
}

/// The queue and the bucket that submission uses.
///
/// Without a name, Falco makes them once per project and location: the queue `falco`, which stays, empty, since
/// the name of a deleted queue is blocked for days; and the bucket `falco-PROJECT-LOCATION`, which goes with the
/// last function of Falco's.
///
/// The function's account needs to store and to read objects in the bucket (`roles/storage.objectUser`); `deploy`
/// tries it and says so. A driver that submits needs `roles/cloudtasks.enqueuer`, `roles/storage.objectUser`, and
/// `roles/iam.serviceAccountUser` on the service account that calls.
///
/// # Examples
///
/// ```
/// use falco_gcp::{CloudTasks, Submission};
///
/// let ours = Submission::CloudTasks(CloudTasks::default());
/// let theirs = Submission::CloudTasks(
///     CloudTasks::default().with_queue("analytics").with_bucket("analytics-results"),
/// );
/// assert_ne!(ours, theirs);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct CloudTasks {
    pub(crate) queue: Option<String>,
    pub(crate) bucket: Option<String>,
    pub(crate) caller: Option<String>,
    pub(crate) attempts: Option<NonZeroU32>,
}

impl CloudTasks {
    /// Uses a queue that is there already.
    pub fn with_queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = Some(queue.into());
        self
    }

    /// Uses a bucket that is there already.
    pub fn with_bucket(mut self, bucket: impl Into<String>) -> Self {
        self.bucket = Some(bucket.into());
        self
    }

    /// Lets the queue call functions as the service account `email`, instead of the one that submits.
    pub fn with_caller(mut self, email: impl Into<String>) -> Self {
        self.caller = Some(email.into());
        self
    }

    /// How often the queue that Falco makes tries a task; 10 times unless set.
    pub fn with_attempts(mut self, attempts: NonZeroU32) -> Self {
        self.attempts = Some(attempts);
        self
    }
}
