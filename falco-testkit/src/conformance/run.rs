//! Runs one case.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::time::timeout;

use super::cases::{CASES, Case};
use super::harness::{Harness, Verdict};
use super::secret::MARKED_SECRET;
use super::skips::skipped;
use super::subject::Subject;
use crate::log_capture::LogCapture;

impl Case {
    /// Runs the case, and removes what it has deployed.
    ///
    /// # Errors
    ///
    /// A [`Skip`](super::Skip) where the platform cannot do what the case is about.
    ///
    /// # Panics
    ///
    /// When the platform does not do what the case demands, or the case takes longer than the harness's patience. The text
    /// says what was seen, the runtime, the harness, and what the case demands.
    pub async fn run(&self, harness: Arc<dyn Harness>) -> Verdict {
        if let Some(skip) = harness.exempt(self.name) {
            return Err(skip);
        }
        let (patience, name) = (harness.patience(), harness.name());
        let subject = Subject::new(harness, self.name);
        let body = AssertUnwindSafe((self.body)(&subject)).catch_unwind();
        let ended = timeout(patience, body).await;
        let runtime = subject.last_runtime().map(|runtime| format!(" in {runtime}"));
        subject.clean_up().await;
        let seen = match ended {
            Ok(Ok(verdict)) => return verdict,
            Ok(Err(panic)) => words(&*panic),
            Err(_) => format!("it did not end within {patience:?}"),
        };
        panic!(
            "{seen}\n{}, on {name}{}, demands: {}",
            self.name,
            runtime.unwrap_or_default(),
            self.demand
        )
    }
}

/// The words of a panic.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
}

/// Runs the case of this name on a harness of its own; what [`conformance_tests!`](crate::conformance_tests) expands to.
///
/// Whatever the case is about, none of the secrets may appear in what is logged meanwhile.
///
/// # Panics
///
/// When the case fails, or there is no case of this name.
pub async fn check<H: Harness>(name: &str) {
    let Some(case) = CASES.iter().find(|case| case.name == name) else {
        panic!("there is no conformance case {name}");
    };
    let log = LogCapture::start();
    let harness = Arc::new(H::start().await);
    let mut secrets = harness.secrets();
    secrets.push(MARKED_SECRET.to_owned());

    if let Err(skip) = case.run(harness.clone()).await {
        skipped(&*harness, name, &skip.to_string());
    }
    let log = log.text();
    for line in log.lines() {
        let is_shown = secrets.iter().any(|secret| line.contains(secret.as_str()));
        assert!(!is_shown, "{name}, on {}: a secret is in the log: {line}", harness.name());
    }
}
