//! Runs one case.

use std::io::Write;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::time::timeout;

use super::cases::{CASES, Case};
use super::harness::{Harness, Verdict};
use super::secret::MARKED_SECRET;
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
    /// When the platform does not do what the case demands, or the case takes longer than the harness's patience.
    pub async fn run(&self, harness: Arc<dyn Harness>) -> Verdict {
        if let Some(skip) = harness.exempt(self.name) {
            return Err(skip);
        }
        let patience = harness.patience();
        let subject = Subject::new(harness);
        let body = AssertUnwindSafe((self.body)(&subject)).catch_unwind();
        let ended = timeout(patience, body).await;
        subject.clean_up().await;
        match ended {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_) => panic!("{} did not end within {patience:?}", self.name),
        }
    }
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
    let platform = harness.platform().name().to_owned();
    let mut secrets = harness.secrets();
    secrets.push(MARKED_SECRET.to_owned());

    match AssertUnwindSafe(case.run(harness)).catch_unwind().await {
        Ok(Ok(())) => {}
        Ok(Err(skip)) => tell(&format!("skipped on {platform}: {name}: {skip}")),
        Err(panic) => {
            tell(&format!("{name} demands: {}", case.demand));
            resume_unwind(panic)
        }
    }
    let log = log.text();
    for line in log.lines() {
        let told = secrets.iter().any(|secret| line.contains(secret.as_str()));
        assert!(!told, "a secret is in the log: {line}");
    }
}

/// Written to the descriptor itself: the test runner shows `eprintln!` of failed tests only.
pub(crate) fn tell(line: &str) {
    // In one piece, since tests run side by side.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}
