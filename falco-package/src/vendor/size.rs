//! The limit of an archive, and the packages that take most of it.

use std::collections::BTreeMap;

use falco_core::{Error, ErrorKind, Result};

use crate::archive::Archive;

/// How many packages an error names.
const NAMED: usize = 5;

/// Checks the size of an archive as it is uploaded against a platform's limit.
///
/// # Errors
///
/// `PayloadTooLarge` that names the largest packages in it, with their sizes before compression.
pub fn check_size(archive: &Archive, zipped: u64, limit: u64) -> Result<()> {
    if zipped <= limit {
        return Ok(());
    }
    let mut packages: BTreeMap<&str, u64> = BTreeMap::new();
    for (path, file) in archive.files() {
        *packages.entry(package_of(path)).or_default() += file.content.len() as u64;
    }
    let mut largest: Vec<_> = packages.into_iter().collect();
    largest.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    let named = largest.iter().take(NAMED).map(|(name, size)| format!("{name} {}", mib(*size)));
    let message = format!(
        "the function with its packages takes {} zipped, and the platform takes {}; the largest before compression: {}",
        mib(zipped),
        mib(limit),
        named.collect::<Vec<_>>().join(", ")
    );
    Err(Error::new(ErrorKind::PayloadTooLarge, message)
        .with_hint("leave out what the function does not import"))
}

/// The package that a file belongs to: its first folder, or the one beneath `node_modules`.
fn package_of(path: &str) -> &str {
    let inner = path.strip_prefix("node_modules/").unwrap_or(path);
    let skipped = path.len() - inner.len();
    // Packages of a scope have two folders.
    let parts = if inner.starts_with('@') { 2 } else { 1 };
    let end = inner.match_indices('/').nth(parts - 1).map_or(inner.len(), |(at, _)| at);
    &path[skipped..skipped + end]
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1024.0 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_that_is_too_large_names_its_largest_packages() {
        let archive = Archive::new()
            .with_file("__main__.py", "x")
            .and_then(|it| it.with_file("numpy/core.so", vec![0; 3 << 20]))
            .and_then(|it| it.with_file("numpy/lib/a.py", vec![0; 1 << 20]))
            .and_then(|it| it.with_file("node_modules/@scope/b/index.js", vec![0; 2 << 20]))
            .unwrap();
        check_size(&archive, 10, 10).unwrap();
        let error = check_size(&archive, 11, 10).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PayloadTooLarge);
        let named = "numpy 4.0 MiB, @scope/b 2.0 MiB, __main__.py 0.0 MiB";
        assert!(error.to_string().contains(named), "{error}");
    }
}
