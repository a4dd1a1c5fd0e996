//! This machine, by its name and its boot.

/// The name of this machine.
pub(crate) fn host() -> String {
    match line("/proc/sys/kernel/hostname") {
        host if !host.is_empty() => host,
        _ => std::env::var("HOSTNAME").unwrap_or_else(|_| "unknown".to_owned()),
    }
}

/// The id of this boot; empty where the system has none.
pub(crate) fn boot() -> String {
    line("/proc/sys/kernel/random/boot_id")
}

fn line(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}
