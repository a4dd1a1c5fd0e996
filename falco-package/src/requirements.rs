//! The system that an executable needs, read from its ELF headers before anything is uploaded.

mod elf;

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use falco_core::{Error, Result};
use object::read::ReadCache;

use crate::directory::unreadable;

/// The kind of processor that an executable is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Machine {
    /// 64-bit x86: `x86_64`.
    X86_64,
    /// 64-bit ARM: `aarch64`, which Lambda calls `arm64`.
    Aarch64,
    /// Another one, by its number in the ELF header.
    Other(u16),
}

impl System {
    /// A system of this name; `None` for glibc where any will do.
    pub fn new(name: impl Into<String>, machine: Machine, glibc: impl Into<Option<Glibc>>) -> Self {
        Self { name: name.into(), machine, glibc: glibc.into() }
    }

    /// This machine, which runs whatever was built on it.
    pub fn current() -> Self {
        Self { name: "this machine".to_owned(), machine: Machine::current(), glibc: None }
    }
}

impl Machine {
    /// The machine that this program runs on.
    pub fn current() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 }
    }

    /// The machine of this name, as Rust, Linux, Docker or Lambda write it; none for one without packages.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "x86_64" | "amd64" => Some(Self::X86_64),
            "aarch64" | "arm64" => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// The first part of a Rust target's name.
    fn target(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64",
            _ => "x86_64",
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::X86_64 => f.write_str("x86_64"),
            Self::Aarch64 => f.write_str("arm64"),
            Self::Other(number) => write!(f, "machine {number}"),
        }
    }
}

/// A version of glibc, such as 2.34.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Glibc(pub u16, pub u16);

impl fmt::Display for Glibc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// The system on which a platform starts executables.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct System {
    /// The platform's name for it, such as `provided.al2023`.
    pub name: String,
    /// Its processor.
    pub machine: Machine,
    /// Its version of glibc; `None` where any will do, as on the machine that built the executable.
    pub glibc: Option<Glibc>,
}

/// The needs of an executable.
///
/// # Examples
///
/// ```
/// use falco_package::{Requirements, System};
///
/// let own = std::fs::read(std::env::current_exe()?)?;
/// Requirements::of(&own)?.check(&System::current())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Requirements {
    /// The processor; `None` for a script.
    pub machine: Option<Machine>,
    /// The program that loads it, such as `/lib64/ld-linux-x86-64.so.2`; `None` for a static executable and a script.
    pub interpreter: Option<String>,
    /// The shared libraries that it names.
    pub libraries: Vec<String>,
    /// The newest version of glibc of which it uses a symbol.
    pub glibc: Option<Glibc>,
}

/// Libraries that come with glibc and with every compiler.
const COMMON: [&str; 9] = [
    "libc.so.6",
    "libm.so.6",
    "libdl.so.2",
    "librt.so.1",
    "libpthread.so.0",
    "libresolv.so.2",
    "libutil.so.1",
    "libgcc_s.so.1",
    "ld-linux",
];

impl Requirements {
    /// Reads the needs of an executable, or of a script, which has none that can be read.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a file that is neither, or whose headers are damaged.
    pub fn of(executable: &[u8]) -> Result<Self> {
        if executable.starts_with(b"#!") {
            return Ok(Self {
                machine: None,
                interpreter: None,
                libraries: Vec::new(),
                glibc: None,
            });
        }
        elf::read(executable)
    }

    /// As [`of`](Self::of) for a file, of which only the headers are read.
    ///
    /// # Errors
    ///
    /// As [`of`](Self::of), and `InvalidInput` for what cannot be read.
    pub fn of_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let read = |file: &mut File| {
            let mut start = [0; 2];
            file.read_exact(&mut start)?;
            file.rewind().map(|()| start)
        };
        let opened = File::open(path).and_then(|mut file| Ok((read(&mut file)?, file)));
        let (start, file) = opened.map_err(|error| unreadable(path, &error))?;
        match &start {
            b"#!" => Self::of(&start),
            _ => elf::read(&ReadCache::new(file)),
        }
    }

    /// Compares the needs with what a system offers. A static executable passes wherever the processor fits.
    ///
    /// # Errors
    ///
    /// `InvalidInput` with what is needed and what is there, and with how to build it instead.
    pub fn check(&self, system: &System) -> Result<()> {
        let target = system.machine.target();
        let Some(machine) = self.machine else { return Ok(()) };
        if machine != system.machine {
            let message = format!(
                "the executable is built for {machine}, but {} runs on {}",
                system.name, system.machine
            );
            return Err(Error::invalid_input(message).with_hint(format!(
                "build it with --target {target}-unknown-linux-musl, or choose the other processor"
            )));
        }
        if self.interpreter.is_none() {
            return Ok(());
        }
        if self.needs_musl() && system.glibc.is_some() {
            let message = format!(
                "the executable is linked to musl's shared library, which {} lacks",
                system.name
            );
            return Err(Error::invalid_input(message).with_hint(
                "link it statically, with RUSTFLAGS=\"-C target-feature=+crt-static\"",
            ));
        }
        if let (Some(needed), Some(offered)) = (self.glibc, system.glibc)
            && needed > offered
        {
            let message =
                format!("the executable needs glibc {needed}, but {} has {offered}", system.name);
            return Err(Error::invalid_input(message).with_hint(format!(
                "build it with `cargo zigbuild --target {target}-unknown-linux-gnu.{offered}`, \
                 for {target}-unknown-linux-musl, \
                 with RUSTFLAGS=\"-C target-feature=+crt-static\" and --target {target}-unknown-linux-gnu, \
                 or on an older system"
            )));
        }
        let missing: Vec<&str> =
            self.libraries.iter().map(String::as_str).filter(|name| !is_common(name)).collect();
        if missing.is_empty() || system.glibc.is_none() {
            return Ok(());
        }
        let message =
            format!("the executable needs {}, which {} may lack", missing.join(", "), system.name);
        Err(Error::invalid_input(message).with_hint("link these libraries statically"))
    }

    fn needs_musl(&self) -> bool {
        self.interpreter.as_deref().is_some_and(|path| path.contains("ld-musl"))
    }
}

fn is_common(library: &str) -> bool {
    COMMON.iter().any(|common| library.starts_with(common))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(machine: Machine, glibc: Glibc) -> System {
        System { name: "provided.al2023".into(), machine, glibc: Some(glibc) }
    }

    fn needs(machine: Machine, glibc: Option<Glibc>, libraries: &[&str]) -> Requirements {
        Requirements {
            machine: Some(machine),
            interpreter: glibc.map(|_| "/lib64/ld-linux-x86-64.so.2".into()),
            libraries: libraries.iter().map(|name| (*name).to_owned()).collect(),
            glibc,
        }
    }

    #[test]
    fn an_executable_has_to_fit_the_processor_the_glibc_and_the_libraries() {
        use Machine::{Aarch64, X86_64};
        let al2023 = system(X86_64, Glibc(2, 34));
        let libc = ["libc.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2"];
        for (requirements, complaint) in [
            (needs(X86_64, Some(Glibc(2, 17)), &libc), None),
            (needs(X86_64, Some(Glibc(2, 34)), &libc), None),
            (
                needs(X86_64, Some(Glibc(2, 38)), &libc),
                Some("needs glibc 2.38, but provided.al2023 has 2.34"),
            ),
            (needs(X86_64, None, &[]), None),
            (
                needs(Aarch64, None, &[]),
                Some("built for arm64, but provided.al2023 runs on x86_64"),
            ),
            (needs(Machine::Other(243), None, &[]), Some("built for machine 243")),
            (
                needs(X86_64, Some(Glibc(2, 34)), &["libc.so.6", "libssl.so.3"]),
                Some("needs libssl.so.3"),
            ),
        ] {
            match (requirements.check(&al2023), complaint) {
                (Ok(()), None) => {}
                (Err(error), Some(words)) => {
                    assert!(error.to_string().contains(words), "{error}");
                    assert!(error.hint().is_some(), "{error}");
                }
                (result, complaint) => {
                    panic!("{requirements:?}: {result:?}, expected {complaint:?}")
                }
            }
        }
    }

    #[test]
    fn a_script_needs_nothing_that_can_be_read() {
        let script = Requirements::of(b"#!/bin/sh\n").unwrap();
        script.check(&system(Machine::Aarch64, Glibc(2, 17))).unwrap();
    }
}
