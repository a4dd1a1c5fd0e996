//! Tests of the platform, and of how it speaks to its gateway.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod conformance;
mod faults;

/// Whether there is a Python here.
fn has_python() -> bool {
    let version = std::process::Command::new("python3").arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}
