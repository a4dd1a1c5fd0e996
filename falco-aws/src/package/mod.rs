//! From a function's source to the archive that Lambda starts.

mod runtimes;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use falco_core::{Code, Deployable, Error, ErrorKind, Result};
use falco_package::native::SMALLER;
use falco_package::{Archive, Glibc, Machine, NATIVE_EXECUTABLE, System, shim};
use sha2::{Digest, Sha256};

use crate::architecture::Architecture;
use crate::config::AwsConfig;

pub(crate) use runtimes::supported;

/// A function as Lambda takes it.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    /// Lambda's name of the runtime.
    pub(crate) runtime: String,
    /// The handler that Lambda calls.
    pub(crate) handler: String,
    pub(crate) zip: Bytes,
    /// The digest by which Lambda knows the archive.
    pub(crate) sha256: [u8; 32],
}

const PYTHON_HANDLER: &str = include_str!("falco_handler.py");
const NODE_HANDLER: &str = include_str!("falco_handler.cjs");
const BOOTSTRAP: &str = include_str!("bootstrap.sh");
/// The file that Lambda starts.
const BOOTSTRAP_FILE: &str = "bootstrap";

impl Package {
    /// Packs `function`: equal functions give equal bytes.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a runtime that Lambda lacks, `InvalidInput` for code that cannot be started there,
    /// `PayloadTooLarge` when it unpacks to more than Lambda allows.
    pub(crate) fn new(function: &Deployable, config: &AwsConfig) -> Result<Self> {
        Self::pack(function, config)
            .map_err(|e| e.with_platform(crate::NAME).with_function(&function.name))
    }

    fn pack(function: &Deployable, config: &AwsConfig) -> Result<Self> {
        let runtime = runtimes::resolve(&function.runtime, &config.runtimes)?;
        let entry_point = function.entry_point_or_main();
        // Lambda splits it at its dots; the shim checks that the entry point has none.
        let handler = format!("falco_handler.{entry_point}");
        let (archive, handler) = match function.runtime.family() {
            "python" => {
                (shim::wrap(function)?.with_file("falco_handler.py", PYTHON_HANDLER)?, handler)
            }
            "nodejs" => {
                (shim::wrap(function)?.with_file("falco_handler.cjs", NODE_HANDLER)?, handler)
            }
            "native" => (native(&function.code, config)?, native_handler(function)?),
            other => {
                return Err(Error::unsupported(format!("Falco has no shim for {other} on Lambda")));
            }
        };
        let limit = config.limits.unpacked;
        if archive.unpacked_len() > limit {
            let message = format!(
                "the code has {} bytes, and Lambda allows {limit} unpacked",
                archive.unpacked_len()
            );
            let is_native = function.runtime.family() == "native";
            let hint =
                if is_native { SMALLER } else { "leave out dependencies that are not needed" };
            return Err(Error::new(ErrorKind::PayloadTooLarge, message).with_hint(hint));
        }
        let zip = archive.to_zip()?;
        let sha256 = Sha256::digest(&zip).into();
        Ok(Self { runtime, handler, zip, sha256 })
    }

    /// The digest in the form in which Lambda reports it.
    pub(crate) fn code_sha256(&self) -> String {
        STANDARD.encode(self.sha256)
    }
}

fn native(code: &Code, config: &AwsConfig) -> Result<Archive> {
    let archive = Archive::from_code(code, NATIVE_EXECUTABLE)?;
    archive.check_native_on(&system(config.architecture))?;
    if archive.contains(BOOTSTRAP_FILE) {
        // A function in Rust brings its own, since it speaks the Runtime API itself.
        return Ok(archive);
    }
    archive.with_executable(BOOTSTRAP_FILE, BOOTSTRAP)
}

/// The system that Lambda starts an executable on: Amazon Linux 2023.
fn system(architecture: Architecture) -> System {
    let machine = match architecture {
        Architecture::X86_64 => Machine::X86_64,
        Architecture::Arm64 => Machine::Aarch64,
    };
    System { name: runtimes::NATIVE.to_owned(), machine, glibc: Some(Glibc(2, 34)) }
}

/// The name that the bootstrap is given: an entry point names one of several in the executable.
fn native_handler(function: &Deployable) -> Result<String> {
    const LONGEST: usize = 100;
    let Some(name) = &function.entry_point else { return Ok("bootstrap".to_owned()) };
    if (1..=LONGEST).contains(&name.len()) && name.chars().all(|c| c.is_ascii_graphic()) {
        return Ok(format!("bootstrap/{name}"));
    }
    Err(Error::invalid_input(format!(
        "invalid entry point {name:?}: use 1 to {LONGEST} ASCII characters without blanks"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> AwsConfig {
        AwsConfig::builder()
            .region("us-east-1")
            .static_credentials("AKID", "secret", None)
            .build()
            .unwrap()
    }

    fn package(runtime: &str, source: &str) -> Result<Package> {
        let function = Deployable::from_source("f", runtime.parse().unwrap(), source);
        Package::new(&function, &config())
    }

    #[test]
    fn equal_functions_give_equal_bytes() {
        let pack = || package("python:3", "def main(args):\n    return args\n").unwrap();
        assert_eq!(pack().zip, pack().zip);
        assert_eq!(pack().code_sha256().len(), 44);
    }

    #[test]
    fn a_bootstrap_has_its_executable_bit() {
        let packed = package("native", "#!/bin/sh\ncat >&3\n").unwrap();
        let archive = Archive::from_zip(&packed.zip).unwrap();
        for name in ["bootstrap", "exec"] {
            assert!(archive.get(name).unwrap().executable, "{name}");
        }
        assert_eq!(packed.handler, "bootstrap");
    }

    #[test]
    fn code_without_its_main_module_is_refused_with_what_is_missing() {
        let zip = Archive::new().with_file("other.py", "x").unwrap().to_zip().unwrap();
        for (runtime, name) in
            [("python:3", "__main__.py"), ("nodejs:22", "index.js"), ("native", "exec")]
        {
            let function = Deployable::from_archive("f", runtime.parse().unwrap(), zip.clone());
            let error = Package::new(&function, &config()).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn code_over_the_limit_is_refused_with_what_makes_it_smaller() {
        let mut config = config();
        config.limits.unpacked = 10;
        for (runtime, words) in [("native", "--release"), ("python:3", "dependencies")] {
            let function =
                Deployable::from_source("f", runtime.parse().unwrap(), "#!/bin/sh\ncat >&3\n");
            let error = Package::new(&function, &config).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PayloadTooLarge);
            assert!(error.hint().unwrap().contains(words), "{error}");
        }
    }

    #[test]
    fn a_native_entry_point_names_a_function_of_the_executable() {
        let package = |name: &str| {
            let native = "native".parse().unwrap();
            let function = Deployable::from_source("f", native, "#!/bin/sh\n");
            Package::new(&function.with_entry_point(name), &config())
        };
        for name in ["-", "count-words", "main"] {
            assert_eq!(package(name).unwrap().handler, format!("bootstrap/{name}"));
        }
        for name in ["", "a b", "ä", &"x".repeat(101)] {
            let error = package(name).unwrap_err();
            assert!(error.message().contains("invalid entry point"), "{error}");
        }
    }

    #[test]
    fn an_uncallable_name_is_not_an_entry_point() {
        for name in ["a.b", "", "1a", "a b", "a;b"] {
            let function =
                Deployable::from_source("f", "nodejs".parse().unwrap(), "x").with_entry_point(name);
            assert!(Package::new(&function, &config()).is_err(), "{name}");
        }
    }
}
