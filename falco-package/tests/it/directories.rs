//! From the file system and back to it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use falco_core::ErrorKind;
use falco_package::Archive;
use tempfile::tempdir;

#[test]
fn a_directory_is_packed_whole_without_what_differs_between_machines() {
    let dir = tempdir().unwrap();
    for inside in ["vendor/dep", "__pycache__", "vendor/__pycache__", ".git"] {
        fs::create_dir_all(dir.path().join(inside)).unwrap();
        fs::write(dir.path().join(inside).join("x"), inside).unwrap();
    }
    fs::write(dir.path().join("main.py"), "pass").unwrap();
    fs::set_permissions(dir.path().join("main.py"), fs::Permissions::from_mode(0o700)).unwrap();

    let archive = Archive::from_directory(dir.path()).unwrap();
    assert_eq!(archive.paths().collect::<Vec<_>>(), ["main.py", "vendor/dep/x"]);
    assert!(archive.require("main.py").unwrap().executable);
}

#[test]
fn unpacking_restores_files_and_executable_bits() {
    let dir = tempdir().unwrap();
    let archive = Archive::new()
        .with_file("a/b/data", "1")
        .unwrap()
        .with_executable("exec", "#!/bin/sh\n")
        .unwrap();
    archive.unpack_to(dir.path().join("new")).unwrap();
    assert_eq!(Archive::from_directory(dir.path().join("new")).unwrap(), archive);
}

#[test]
fn unpacking_neither_replaces_a_file_nor_writes_through_a_link() {
    let dir = tempdir().unwrap();
    let victim = dir.path().join("victim");
    fs::write(&victim, "mine").unwrap();
    let target = dir.path().join("target");
    fs::create_dir(&target).unwrap();
    symlink(&victim, target.join("f")).unwrap();

    let error = Archive::new().with_file("f", "yours").unwrap().unpack_to(&target).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(fs::read_to_string(victim).unwrap(), "mine");
}

#[test]
fn links_are_followed_and_a_circle_is_named() {
    let dir = tempdir().unwrap();
    let package = dir.path().join("package");
    let function = dir.path().join("function");
    fs::create_dir(&package).unwrap();
    fs::create_dir(&function).unwrap();
    fs::write(package.join("index.js"), "1").unwrap();
    symlink(&package, function.join("linked")).unwrap();
    symlink(&package, function.join("again")).unwrap();
    let archive = Archive::from_directory(&function).unwrap();
    assert_eq!(archive.paths().collect::<Vec<_>>(), ["again/index.js", "linked/index.js"]);

    symlink(&function, package.join("round")).unwrap();
    let error = Archive::from_directory(&function).unwrap_err();
    assert!(error.to_string().contains("round"), "{error}");
}

#[test]
fn what_cannot_be_read_is_named() {
    let dir = tempdir().unwrap();
    let missing = dir.path().join("missing");
    let error = Archive::from_directory(&missing).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("missing"), "{error}");

    symlink("nowhere", dir.path().join("dangling")).unwrap();
    let error = Archive::from_directory(dir.path()).unwrap_err();
    assert!(error.to_string().contains("dangling"), "{error}");
}
