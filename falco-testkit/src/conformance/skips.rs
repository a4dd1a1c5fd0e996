//! Skips are printed past the test runner's capture.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use falco_core::RuntimeName;

use super::harness::Harness;

/// The skips of this process.
static SKIPPED: AtomicU64 = AtomicU64::new(0);

/// Says that a case, or its part in one runtime, was skipped, and how many were so far: the last line holds the total.
pub(crate) fn skipped(harness: &dyn Harness, what: &str, reason: &str) {
    let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    let (platform, name) = (harness.platform().name().to_owned(), harness.name());
    let line =
        format!("skipped on {platform} ({name}): {what}: {reason} [{count} skipped so far]\n");
    // Written to the descriptor itself, since the test runner shows `eprintln!` of failed tests only; and in one piece, since
    // tests run side by side.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// The harness's runtime of a family, for a test of another suite with this name. Where there is none, or the harness
/// [exempts](Harness::exempt) the test, it prints a named skip.
pub fn runtime_for(harness: &dyn Harness, name: &str, family: &str) -> Option<RuntimeName> {
    if let Some(skip) = harness.exempt(name) {
        // Without a provider there may be no platform either, whose name `skipped` prints.
        let line = format!("skipped ({}): {name}: {skip}\n", harness.name());
        let _ = std::io::stderr().write_all(line.as_bytes());
        return None;
    }
    let found = harness.runtimes().into_iter().find(|runtime| runtime.family() == family);
    if found.is_none() {
        skipped(harness, name, "its runtime is not there");
    }
    found
}
