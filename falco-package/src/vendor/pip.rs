//! Packages for Python, by pip.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use falco_core::{Error, Result};

use super::{PackageTarget, cache, cache_folder, read, tool};
use crate::archive::Archive;
use crate::directory::unreadable;
use crate::requirements::Machine;

const MISSING: &str =
    "install pip for this python3, such as by apt install python3-pip or python3 -m ensurepip";

/// The names of the systems whose wheels run on all platforms, the newest first.
const SYSTEMS: [&str; 3] = ["manylinux_2_28", "manylinux_2_17", "manylinux2014"];

/// Installs the packages that a file names, and returns their folder.
pub(super) fn install(file: &Path, target: &PackageTarget) -> Result<PathBuf> {
    let requirements = with_included(file, &mut Vec::new())?;
    let local = local_packages(&requirements)?;
    let mut command = Command::new(interpreter(target));
    command.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-compile",
    ]);
    // Options in the user's own configuration, such as `user`, do not go together with a folder.
    command.args(["--no-input", "--no-user", "--upgrade"]);
    let mut options = Vec::new();
    if let Some(machine) = target.machine {
        options = wheels_for(target, machine)?;
    }
    command.args(&options);
    let described = format!("pip {options:?} {}", target.runtime);
    let here = std::env::consts::ARCH;
    let about = if target.machine.is_some() { described } else { format!("{described} {here}") };
    cache::folder_for(&cache_folder()?, &[&about, &requirements, &local], |folder| {
        command.arg("--target").arg(folder).arg("--requirement").arg(file);
        tool::run(&mut command, MISSING)?;
        // Scripts start with the path of this machine's interpreter, and no function calls them.
        let _ = fs::remove_dir_all(folder.join("bin"));
        Ok(())
    })
}

/// The text of a file of requirements and of those that it includes: a change in any of them is one of what is installed.
fn with_included(file: &Path, seen: &mut Vec<PathBuf>) -> Result<String> {
    let mut all = read(file)?;
    let included: Vec<PathBuf> = all.lines().filter_map(|line| included_by(file, line)).collect();
    for file in included {
        if !seen.contains(&file) {
            seen.push(file.clone());
            all.push('\n');
            all.push_str(&with_included(&file, seen)?);
        }
    }
    Ok(all)
}

/// A hash of each package that requirements name by its path, which pip takes from the current folder.
fn local_packages(requirements: &str) -> Result<String> {
    let mut hashes = String::new();
    for line in requirements.lines() {
        let line = line.split(" #").next().unwrap_or_default();
        let named = line.split_once('@').map_or(line, |(_, location)| location);
        let named = named.split([';', '[']).next().unwrap_or_default().trim();
        let path = Path::new(named.strip_prefix("file://").unwrap_or(named));
        let content = match fs::metadata(path) {
            Ok(found) if found.is_dir() => Archive::from_directory(path)?.to_zip()?,
            Ok(_) => fs::read(path).map_err(|error| unreadable(path, &error))?.into(),
            // A name, a URL or an option.
            Err(_) => continue,
        };
        hashes.push_str(&cache::digest([&content[..]]));
    }
    Ok(hashes)
}

/// The file that a line of requirements includes, as requirements or as constraints; pip itself fetches those at URLs.
fn included_by(file: &Path, line: &str) -> Option<PathBuf> {
    let line = line.split(" #").next().unwrap_or_default().trim();
    let flags = ["--requirement", "-r", "--constraint", "-c"];
    let name = flags.iter().find_map(|flag| line.strip_prefix(flag))?;
    let name = name.trim_start_matches('=').trim();
    let is_here = !name.is_empty() && !name.contains("://");
    is_here.then(|| file.parent().unwrap_or(Path::new("")).join(name))
}

/// The interpreter whose pip is asked: for this machine the one that runs the function.
fn interpreter(target: &PackageTarget) -> String {
    match (target.machine, target.runtime.version()) {
        (None, Some(version)) if version.contains('.') => format!("python{version}"),
        _ => "python3".to_owned(),
    }
}

fn wheels_for(target: &PackageTarget, machine: Machine) -> Result<Vec<String>> {
    let version = target.runtime.version().filter(|version| version.contains('.'));
    let version = version.ok_or_else(|| {
        let message = format!("the runtime {} does not say which Python it is", target.runtime);
        Error::invalid_input(message)
            .with_hint("packages are built for one version: name it, such as python:3.13")
    })?;
    let machine = match machine {
        Machine::X86_64 => "x86_64",
        Machine::Aarch64 => "aarch64",
        Machine::Other(_) => {
            return Err(Error::unsupported(format!("there are no wheels for {machine}")));
        }
    };
    let fixed = ["--only-binary=:all:", "--implementation=cp"].map(str::to_owned);
    let version = format!("--python-version={version}");
    let systems = SYSTEMS.map(|system| format!("--platform={system}_{machine}"));
    Ok(fixed.into_iter().chain([version]).chain(systems).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_in_a_file_that_requirements_include_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write(
            "all.txt",
            "six\n-r more.txt  # the rest\n--constraint=pins.txt\n-r https://host/x.txt\n",
        );
        // Files may include each other.
        write("more.txt", "-r all.txt\nidna\n");
        write("pins.txt", "idna==3.1\n");
        let text = || with_included(&folder.path().join("all.txt"), &mut Vec::new()).unwrap();
        let before = text();
        assert!(before.contains("idna==3.1") && before.contains("\nidna\n"), "{before}");
        write("pins.txt", "idna==3.2\n");
        assert_ne!(before, text());
        write("more.txt", "-r none.txt\n");
        let error = with_included(&folder.path().join("all.txt"), &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("none.txt"), "{error}");
    }

    #[test]
    fn a_change_in_a_package_of_this_machine_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let package = folder.path().join("lib");
        fs::create_dir(&package).unwrap();
        let wheel = folder.path().join("a.whl");
        let of = |lib: &str, bytes: &str| {
            fs::write(package.join("__init__.py"), lib).unwrap();
            fs::write(&wheel, bytes).unwrap();
            let (package, wheel) = (package.display(), wheel.display());
            let named =
                format!("six\n{package}[all]  # ours\na @ file://{wheel} ; python_version > '3'\n");
            local_packages(&named).unwrap()
        };
        let before = of("a = 1", "1");
        assert_eq!(before, of("a = 1", "1"));
        assert_ne!(before, of("a = 2", "1"));
        assert_ne!(before, of("a = 1", "2"));
        assert_eq!(local_packages("six==1.0\n--no-index\nb @ https://host/b.whl\n").unwrap(), "");
    }

    #[test]
    fn wheels_are_those_of_the_platforms_version_and_machine() {
        let target = PackageTarget::new("python:3.13".parse().unwrap(), Machine::Aarch64);
        let options = wheels_for(&target, Machine::Aarch64).unwrap();
        for option in ["--python-version=3.13", "--platform=manylinux_2_28_aarch64"] {
            assert!(options.iter().any(|it| it == option), "{options:?}");
        }
        let unknown = PackageTarget::new("python:3".parse().unwrap(), Machine::X86_64);
        let error = wheels_for(&unknown, Machine::X86_64).unwrap_err().to_string();
        assert!(error.contains("python:3.13"), "{error}");
    }
}
