//! Executables that this machine's compiler makes, linked to glibc and static.

use std::process::{Command, Stdio};

use falco_package::{Archive, Glibc, Machine, Requirements, System};

/// A small program, compiled with these flags, which was run.
fn compiled(flags: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (source, executable) = (folder.path().join("f.rs"), folder.path().join("f"));
    std::fs::write(&source, "fn main() { println!(\"{}\", std::process::id()); }\n").unwrap();
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut rustc = Command::new(compiler);
    rustc.args(["--edition=2024", "-Cstrip=symbols"]).args(flags).arg("-o").arg(&executable);
    assert!(rustc.arg(&source).status().unwrap().success(), "the program compiles");
    let program = Command::new(&executable).stdout(Stdio::piped()).spawn().unwrap();
    let id = program.id();
    let said = program.wait_with_output().unwrap();
    assert!(said.status.success(), "{said:?}");
    assert_eq!(String::from_utf8(said.stdout).unwrap().trim(), id.to_string());
    std::fs::read(executable).unwrap()
}

fn system(glibc: Glibc) -> System {
    System::new("an old system", Machine::current(), glibc)
}

#[test]
fn a_static_executable_needs_no_glibc_and_a_linked_one_says_which() {
    let fixed = compiled(&["-Ctarget-feature=+crt-static"]);
    let requirements = Requirements::of(&fixed).unwrap();
    assert_eq!((&requirements.interpreter, requirements.glibc), (&None, None));
    assert!(requirements.libraries.is_empty(), "{requirements:?}");
    let archive = Archive::new().with_executable("exec", fixed).unwrap();
    archive.check_native_on(&system(Glibc(2, 5))).unwrap();

    let linked = Archive::new().with_executable("exec", compiled(&[])).unwrap();
    linked.check_native_on(&System::current()).unwrap();
    let error = linked.check_native_on(&system(Glibc(2, 5))).unwrap_err();
    assert!(error.message().contains("but an old system has 2.5"), "{error}");
    assert!(error.hint().unwrap().contains("crt-static"), "{error}");
}
