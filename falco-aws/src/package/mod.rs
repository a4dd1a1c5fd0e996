//! From a function's source to the archive that Lambda starts.

mod image;
mod runtimes;

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use falco_core::{Deployable, Error, ErrorKind, Result};
use falco_package::native::SMALLER;
use falco_package::{Archive, Glibc, Machine, System, lambda};
use sha2::{Digest, Sha256};

use crate::architecture::Architecture;
use crate::config::AwsConfig;

pub(crate) use image::ImageCode;
pub(crate) use runtimes::supported;

/// The code that Lambda is given to run.
#[derive(Clone, Debug)]
pub(crate) enum Artefact {
    Zip(Package),
    Image(ImageCode),
}

impl Artefact {
    /// Makes of `function` what Lambda runs.
    ///
    /// # Errors
    ///
    /// As [`Package::new`] and [`ImageCode::of`].
    pub(crate) fn new(function: &Deployable, config: &AwsConfig) -> Result<Self> {
        let at = |e: Error| e.with_platform(crate::NAME).with_function(&function.name);
        match ImageCode::of(function, &config.region).map_err(at)? {
            Some(image) => Ok(Self::Image(image)),
            None => Package::new(function, config).map(Self::Zip),
        }
    }

    /// A hash of all that a deployment with these settings is made of.
    pub(crate) fn content_hash(&self, function: &Deployable, settings: &str) -> String {
        let (runtime, handler) = match self {
            Self::Zip(package) => (package.runtime.as_str(), package.handler.as_str()),
            Self::Image(_) => ("", ""),
        };
        lambda::content_hash(function, &[runtime, handler, settings])
    }
}

/// A function as Lambda takes it.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    /// Lambda's name of the runtime.
    pub(crate) runtime: String,
    /// The handler that Lambda calls.
    pub(crate) handler: String,
    archive: Archive,
    zip: OnceLock<Bytes>,
}

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
        let (archive, handler) = lambda::wrap(function, &system(config.architecture))?;
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
        Ok(Self { runtime, handler, archive, zip: OnceLock::new() })
    }

    /// The archive's zip file, which is packed when it is first asked for: what is deployed already needs none.
    ///
    /// # Errors
    ///
    /// As [`Archive::to_zip`].
    pub(crate) fn zip(&self) -> Result<&Bytes> {
        if let Some(zip) = self.zip.get() {
            return Ok(zip);
        }
        let zip = self.archive.to_zip()?;
        Ok(self.zip.get_or_init(|| zip))
    }

    /// Whether the zip file has more than `limit` bytes. One of files that have half of it together is not packed for this.
    ///
    /// # Errors
    ///
    /// As [`zip`](Self::zip).
    pub(crate) fn is_longer_than(&self, limit: u64) -> Result<bool> {
        Ok(self.archive.unpacked_len() > limit / 2 && self.zip()?.len() as u64 > limit)
    }

    /// The digest of the zip file.
    ///
    /// # Errors
    ///
    /// As [`zip`](Self::zip).
    pub(crate) fn sha256(&self) -> Result<[u8; 32]> {
        Ok(Sha256::digest(self.zip()?).into())
    }

    /// The digest in the form in which Lambda reports it.
    ///
    /// # Errors
    ///
    /// As [`zip`](Self::zip).
    pub(crate) fn code_sha256(&self) -> Result<String> {
        Ok(STANDARD.encode(self.sha256()?))
    }
}

/// The system that Lambda starts an executable on: Amazon Linux 2023.
fn system(architecture: Architecture) -> System {
    let machine = match architecture {
        Architecture::X86_64 => Machine::X86_64,
        Architecture::Arm64 => Machine::Aarch64,
    };
    System::new(runtimes::NATIVE, machine, Glibc(2, 34))
}

#[cfg(test)]
mod tests {
    use falco_package::Archive;

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
        assert_eq!(pack().zip().unwrap(), pack().zip().unwrap());
        assert_eq!(pack().code_sha256().unwrap().len(), 44);
    }

    #[test]
    fn a_bootstrap_has_its_executable_bit() {
        let packed = package("native", "#!/bin/sh\ncat >&3\n").unwrap();
        let archive = Archive::from_zip(packed.zip().unwrap()).unwrap();
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
