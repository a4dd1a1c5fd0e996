//! Skips are printed past the test runner's capture.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use falco_core::RuntimeName;

use super::harness::Harness;

/// The skips of this process. Held while a line is written, so that the last line holds the total.
static SKIPPED: Mutex<u64> = Mutex::new(0);

/// Says that a case, or its part in one runtime, was skipped, and how many were so far: the last line holds the total.
pub(crate) fn skipped(harness: &dyn Harness, what: &str, reason: &str) {
    let platform = harness.platform().name().to_owned();
    print(&format!("skipped on {platform} ({}): {what}: {reason}", harness.name()));
}

fn print(skip: &str) {
    let mut skipped = SKIPPED.lock().unwrap_or_else(PoisonError::into_inner);
    *skipped += 1;
    let line = format!("{skip} [{skipped} skipped so far]\n");
    // Written to the descriptor itself, since the test runner shows `eprintln!` of failed tests only; and in one piece, since
    // tests run side by side.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// The harness's runtime of a family, for a test of another suite with this name. Where there is none, or the harness
/// [exempts](Harness::exempt) the test, it prints a named skip.
pub fn runtime_for(harness: &dyn Harness, name: &str, family: &str) -> Option<RuntimeName> {
    if let Some(skip) = harness.exempt(name) {
        // Without a provider there may be no platform either, whose name `skipped` prints.
        print(&format!("skipped ({}): {name}: {skip}", harness.name()));
        return None;
    }
    let found = harness.runtimes().into_iter().find(|runtime| runtime.family() == family);
    if found.is_none() {
        skipped(harness, name, "its runtime is not there");
    }
    found
}
