//! Comparison with what was written before.

use std::path::Path;

/// Compares `bytes` with a file that is checked in. With the environment variable `FALCO_GOLDEN` it writes the file instead, so
/// that a change that is meant is reviewed as a difference of files.
///
/// # Panics
///
/// When they differ, or the file cannot be read or written.
#[track_caller]
pub fn assert_golden(file: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
    let (file, bytes) = (file.as_ref(), bytes.as_ref());
    if std::env::var_os("FALCO_GOLDEN").is_some() {
        let written = std::fs::write(file, bytes);
        assert!(written.is_ok(), "cannot write {}: {written:?}", file.display());
        return;
    }
    let Ok(golden) = std::fs::read(file) else {
        panic!("cannot read {}; the tests with FALCO_GOLDEN=1 write it", file.display());
    };
    let common = golden.iter().zip(bytes).take_while(|(left, right)| left == right).count();
    let around = |bytes: &[u8]| {
        let from = common.saturating_sub(40);
        String::from_utf8_lossy(&bytes[from..bytes.len().min(common + 40)]).into_owned()
    };
    assert!(
        golden == bytes,
        "{} has {:?} where the test made {:?}, at byte {common}; if the change is meant, FALCO_GOLDEN=1 writes the file",
        file.display(),
        around(&golden),
        around(bytes),
    );
}
