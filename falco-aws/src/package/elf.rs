//! Whether an executable can run on a processor at all: found out here, or from a cryptic error of every activation.

use falco_core::{Error, Result};

use crate::architecture::Architecture;

/// Where the header of an ELF file states the machine, and the machines' numbers.
const MACHINE: std::ops::Range<usize> = 18..20;
const X86_64: u16 = 62;
const AARCH64: u16 = 183;

/// Checks that `executable` is a script, or made for 64-bit Linux on `architecture`.
///
/// # Errors
///
/// `InvalidInput` with what it is made for.
pub(super) fn check(executable: &[u8], architecture: Architecture) -> Result<()> {
    if executable.starts_with(b"#!") {
        return Ok(());
    }
    let bits = executable.get(4).copied();
    let machine = executable.get(MACHINE).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
    let (wanted, triple) = match architecture {
        Architecture::X86_64 => (X86_64, "x86_64-unknown-linux-musl"),
        Architecture::Arm64 => (AARCH64, "aarch64-unknown-linux-musl"),
    };
    if bits == Some(2) && machine == Some(wanted) {
        return Ok(());
    }
    let made_for = match (bits, machine) {
        (Some(1), _) => "a 32-bit processor".to_owned(),
        (_, Some(X86_64)) => "x86_64".to_owned(),
        (_, Some(AARCH64)) => "arm64".to_owned(),
        (_, Some(other)) => format!("machine {other}"),
        (_, None) => "nothing: its header is cut off".to_owned(),
    };
    Err(Error::invalid_input(format!(
        "the executable is made for {made_for}, and the function runs on {}",
        architecture.as_str()
    ))
    .with_hint(format!("build it with --target {triple}, or set the other architecture")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(bits: u8, machine: u16) -> Vec<u8> {
        let mut header = vec![0; 64];
        header[..5].copy_from_slice(&[0x7f, b'E', b'L', b'F', bits]);
        header[MACHINE].copy_from_slice(&machine.to_le_bytes());
        header
    }

    #[test]
    fn an_executable_has_to_be_made_for_the_functions_architecture() {
        use Architecture::{Arm64, X86_64 as X86};
        for (header, architecture, complaint) in [
            (header(2, X86_64), X86, None),
            (header(2, AARCH64), Arm64, None),
            (b"#!/bin/bash\n".to_vec(), Arm64, None),
            (header(2, AARCH64), X86, Some("made for arm64")),
            (header(2, X86_64), Arm64, Some("made for x86_64")),
            (header(1, 3), X86, Some("32-bit")),
            (header(2, 243), X86, Some("machine 243")),
            (b"\x7fELF".to_vec(), X86, Some("cut off")),
        ] {
            let result = check(&header, architecture);
            match complaint {
                None => result.unwrap(),
                Some(words) => {
                    let error = result.unwrap_err();
                    assert!(error.to_string().contains(words), "{error}");
                }
            }
        }
    }
}
