//! Reads ELF headers, with the crate `object`.

use falco_core::{Error, Result};
use object::Endianness;
use object::elf::{self, FileHeader64};
use object::read::ReadRef;
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _, SectionTable};

use super::{Glibc, Machine, Requirements};

type Header = FileHeader64<Endianness>;

/// Where an ELF header says how wide its addresses are, and the value for 32 bits.
const CLASS: usize = 4;
const CLASS_32: u8 = 1;

/// The length of what says that a file is an ELF file, and how wide its addresses are.
const IDENTIFICATION: u64 = 5;

pub(super) fn read<'data, R: ReadRef<'data>>(executable: R) -> Result<Requirements> {
    let identification = executable.read_bytes_at(0, IDENTIFICATION).unwrap_or_default();
    if identification.get(CLASS) == Some(&CLASS_32) && identification.starts_with(b"\x7fELF") {
        return Err(Error::invalid_input("the executable is built for a 32-bit processor")
            .with_hint("build it for x86_64 or arm64"));
    }
    parse(executable).map_err(|error| {
        Error::invalid_input("the executable's ELF headers cannot be read")
            .with_source(&error)
            .with_hint("build the function for 64-bit Linux, and check that the file is whole")
    })
}

fn parse<'data, R: ReadRef<'data>>(data: R) -> object::read::Result<Requirements> {
    let header = Header::parse(data)?;
    let endian = header.endian()?;
    let machine = match header.e_machine(endian) {
        elf::EM_X86_64 => Machine::X86_64,
        elf::EM_AARCH64 => Machine::Aarch64,
        other => Machine::Other(other.0),
    };
    let mut interpreter = None;
    for segment in header.program_headers(endian, data)? {
        if let Some(path) = segment.interpreter(endian, data)? {
            interpreter = Some(text(path));
        }
    }
    let sections = header.sections(endian, data)?;
    let libraries = libraries(&sections, endian, data)?;
    let glibc = newest_glibc(&sections, endian, data)?;
    Ok(Requirements { machine: Some(machine), interpreter, libraries, glibc })
}

fn libraries<'data, R: ReadRef<'data>>(
    sections: &SectionTable<'data, Header, R>,
    endian: Endianness,
    data: R,
) -> object::read::Result<Vec<String>> {
    let Some((entries, link)) = sections.dynamic(endian, data)? else { return Ok(Vec::new()) };
    let strings = sections.strings(endian, data, link)?;
    let needed = entries.iter().filter(|entry| entry.d_tag(endian) == elf::DT_NEEDED);
    needed.map(|entry| entry.string(endian, strings).map(text)).collect()
}

fn newest_glibc<'data, R: ReadRef<'data>>(
    sections: &SectionTable<'data, Header, R>,
    endian: Endianness,
    data: R,
) -> object::read::Result<Option<Glibc>> {
    let Some((mut libraries, link)) = sections.gnu_verneed(endian, data)? else { return Ok(None) };
    let strings = sections.strings(endian, data, link)?;
    let mut newest = None;
    while let Some((_, mut versions)) = libraries.next()? {
        while let Some(version) = versions.next()? {
            newest = newest.max(glibc(&text(version.name(endian, strings)?)));
        }
    }
    Ok(newest)
}

/// The version in a symbol version such as `GLIBC_2.34` or `GLIBC_2.2.5`.
fn glibc(version: &str) -> Option<Glibc> {
    let mut numbers = version.strip_prefix("GLIBC_")?.split('.');
    let mut number = || numbers.next()?.parse().ok();
    Some(Glibc(number()?, number()?))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_test_needs_a_glibc_and_its_library() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let requirements = read(own.as_slice()).unwrap();
        assert_eq!(requirements.machine, Some(Machine::current()));
        assert!(requirements.interpreter.unwrap().contains("ld-linux"));
        assert!(requirements.libraries.contains(&"libc.so.6".to_owned()));
        assert!(requirements.glibc.unwrap() >= Glibc(2, 17));
    }

    #[test]
    fn versions_of_symbols_are_compared_as_numbers() {
        assert!(glibc("GLIBC_2.34") > glibc("GLIBC_2.4"));
        assert_eq!(glibc("GLIBC_2.2.5"), Some(Glibc(2, 2)));
        assert_eq!(glibc("GCC_3.0"), None);
        assert_eq!(glibc("GLIBC_PRIVATE"), None);
    }

    #[test]
    fn damaged_headers_are_an_error_that_says_what_to_do() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        for length in [0, 4, 20, 63, 64, 100, 1_000] {
            let error = read(&own[..length]).unwrap_err();
            assert!(error.hint().is_some(), "{length}: {error}");
        }
        let mut narrow = own[..64].to_vec();
        narrow[CLASS] = CLASS_32;
        assert!(read(narrow.as_slice()).unwrap_err().to_string().contains("32-bit"));
    }
}
