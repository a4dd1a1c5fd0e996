//! From a function to what OpenWhisk starts.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use falco_core::{Code, Deployable, Error, ErrorKind, Image, Result, RuntimeName};
use falco_package::native::SMALLER;
use falco_package::{Archive, Glibc, Machine, System, openwhisk};

use crate::limits::{Kind, MAX_CODE, Server};

/// The kind whose proxy starts executables: an ActionLoop without an interpreter of its own.
const NATIVE_FAMILY: &str = "go";

/// The code as the API takes it.
#[derive(Debug)]
pub(crate) struct Exec<'a> {
    pub(crate) kind: String,
    /// The image of a `blackbox`.
    pub(crate) image: Option<&'a str>,
    /// Text, or the base64 of an archive; none where the image is the function.
    pub(crate) code: Option<Cow<'a, str>>,
    /// The function that the runtime calls.
    pub(crate) main: &'a str,
}

/// The kind of an action that brings its image. The image implements OpenWhisk's action interface, and takes code as the
/// image of its language does from which it was made.
const BLACKBOX: &str = "blackbox";

/// Makes of a function what the server's runtime starts. Python and Node.js get Falco's shim, unless `plain`; a native
/// executable has to fit `machine`.
///
/// # Errors
///
/// `Unsupported` with the runtimes that are there; `InvalidInput` or `NotFound` for an archive that the runtime could
/// not start, and for an image that the server would run otherwise than asked; `PayloadTooLarge`.
pub(crate) fn prepare<'a>(
    function: &'a Deployable,
    server: &Server,
    plain: bool,
    machine: Machine,
) -> Result<Exec<'a>> {
    let image = function.any_image().map(image_name).transpose()?;
    if matches!(function.code, Code::Image(_)) {
        let main = function.entry_point_or_main();
        return Ok(Exec { kind: BLACKBOX.to_owned(), image, code: None, main });
    }
    let kind = match image {
        Some(_) => {
            Kind { kind: BLACKBOX.to_owned(), image: None, deprecated: false, default: false }
        }
        None => resolve(&function.runtime, server)?,
    };
    let mut main = function.entry_point_or_main();
    let code = match (function.runtime.family(), &function.code) {
        ("native", _) => Cow::Owned(BASE64.encode(native(function, &kind, machine)?.to_zip()?)),
        ("python" | "nodejs", _) if !plain => {
            main = openwhisk::MAIN;
            Cow::Owned(BASE64.encode(openwhisk::wrap(function)?.to_zip()?))
        }
        (family, Code::Source(source)) => text_that_stays_text(family, source),
        (family, Code::Archive(zip)) => {
            check_archive(family, &Archive::from_zip(zip)?)?;
            Cow::Owned(BASE64.encode(zip))
        }
        _ => return Err(Error::unsupported("this form of code is unknown to falco-openwhisk")),
    };
    if code.len() as u64 > MAX_CODE {
        let is_native = function.runtime.family() == "native";
        let smaller =
            if is_native { SMALLER } else { "leave out files that the function does not need" };
        return Err(Error::new(
            ErrorKind::PayloadTooLarge,
            format!("the code has {} bytes as it is sent, and {MAX_CODE} are allowed", code.len()),
        )
        .with_hint(format!("{smaller}; base64 adds a third to an archive")));
    }
    Ok(Exec { kind: kind.kind, image, code: Some(code), main })
}

/// A hash of all that an action is made of.
pub(crate) fn content_hash(
    function: &Deployable,
    kind: &str,
    plain: bool,
    logs_mib: Option<u32>,
) -> String {
    openwhisk::content_hash(function, &[kind, &format!("{plain} {logs_mib:?}")])
}

/// The image as the server takes it.
fn image_name(image: &Image) -> Result<&str> {
    if image.digest().is_some() {
        return Err(Error::invalid_input(format!(
            "OpenWhisk drops the digest of the image {image}, and would run whatever its tag names"
        ))
        .with_hint("name the image by a tag that does not move"));
    }
    if !image.arguments.is_empty() {
        return Err(Error::unsupported("OpenWhisk hands no arguments to an image")
            .with_hint("set them in the image, as its CMD"));
    }
    Ok(&image.reference)
}

/// The kind for a runtime: the kind itself where the server has it, else the newest version or the default that the
/// name covers. So `python:3`, which current servers have dropped, means their default Python.
fn resolve(runtime: &RuntimeName, server: &Server) -> Result<Kind> {
    let (family, version) = match runtime.family() {
        "native" => (NATIVE_FAMILY, None),
        family => (family, runtime.version()),
    };
    let Some(kinds) = &server.kinds else {
        return Ok(unknown_server_kind(family, version));
    };
    let offered = || kinds.get(family).into_iter().flatten().filter(|kind| !kind.deprecated);
    let covered = offered().filter(|kind| covers(version, &kind.kind));
    let best = covered.max_by_key(|kind| {
        (Some(version_of(&kind.kind)) == version, kind.default, numbers(version_of(&kind.kind)))
    });
    best.cloned().ok_or_else(|| {
        Error::unsupported(format!("the server has no runtime {runtime}"))
            .with_hint(format!("it has {}", server.capabilities().runtimes.join(", ")))
    })
}

/// The kind to ask for where the server does not list its own: a version that is named in full, or else the default.
fn unknown_server_kind(family: &str, version: Option<&str>) -> Kind {
    let version = version.filter(|version| version.contains('.') || family != "python");
    let kind = format!("{family}:{}", version.unwrap_or("default"));
    Kind { kind, image: None, deprecated: false, default: false }
}

fn version_of(kind: &str) -> &str {
    kind.split_once(':').map_or("", |(_, version)| version)
}

/// Whether `wanted` names the kind's version or the beginning of it: `3` covers `3.10`, `3.1` does not.
fn covers(wanted: Option<&str>, kind: &str) -> bool {
    wanted.is_none_or(|wanted| {
        version_of(kind)
            .strip_prefix(wanted)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

/// Source text that the server cannot mistake for an archive or for an executable.
///
/// It takes for base64 what consists of nothing else, and the proxy starts as it is what begins with `#!`. A byte order
/// mark does not pass the check of Python's runtime.
fn text_that_stays_text<'a>(family: &str, source: &'a str) -> Cow<'a, str> {
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let trimmed = source.trim();
    let looks_like_base64 = trimmed.len().is_multiple_of(4)
        && trimmed.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='));
    if looks_like_base64 {
        let comment = if family == "nodejs" { "// source" } else { "# source" };
        return Cow::Owned(format!("{source}\n{comment}\n"));
    }
    match source.strip_prefix("#!") {
        // Still a comment, and the lines keep their numbers.
        Some(rest) if family == "python" => Cow::Owned(format!("# !{rest}")),
        _ => Cow::Borrowed(source),
    }
}

/// Finds out before the upload what would else be known at the first activation.
fn check_archive(family: &str, archive: &Archive) -> Result<()> {
    match family {
        "python" => archive.require("__main__.py").map(drop),
        "nodejs" if archive.get("package.json").is_none() => archive.require("index.js").map(drop),
        _ => Ok(()),
    }
}

/// The system of the kind's image. Those of Go 1.22 and later are made from Debian 12, as
/// <https://github.com/apache/openwhisk-runtime-go> shows; what older ones and an operator's own have is not known.
fn system(kind: &Kind, machine: Machine) -> System {
    let is_known = numbers(version_of(&kind.kind)) >= vec![1, 22];
    System::new(kind.kind.clone(), machine, is_known.then_some(Glibc(2, 36)))
}

/// A native function, as the proxy of the kind starts it.
fn native(function: &Deployable, kind: &Kind, machine: Machine) -> Result<Archive> {
    openwhisk::native(function, &system(kind, machine), &execution_environment(kind))
}

/// The value of `OW_EXECUTION_ENV` in the kind's image, which by convention is the image's name.
fn execution_environment(kind: &Kind) -> String {
    match &kind.image {
        Some(image) => {
            let name = image.rsplit_once('/').map_or(image.as_str(), |(_, name)| name);
            format!("openwhisk/{}", name.split(':').next().unwrap_or(name))
        }
        None => "openwhisk/action-golang-v1.20".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(kinds: &[(&str, bool, bool)]) -> Server {
        let mut server = Server { kinds: Some(Default::default()), ..Server::default() };
        for (kind, default, deprecated) in kinds {
            let family = kind.split(':').next().unwrap();
            let image = Some(format!("openwhisk/action-{family}:1.2"));
            server.kinds.as_mut().unwrap().entry(family.into()).or_default().push(Kind {
                kind: (*kind).into(),
                image,
                default: *default,
                deprecated: *deprecated,
            });
        }
        server
    }

    fn resolved(runtime: &str, server: &Server) -> String {
        match resolve(&runtime.parse().unwrap(), server) {
            Ok(kind) => kind.kind,
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn a_runtime_becomes_the_kind_that_the_server_has() {
        let server = server(&[
            ("python:3.9", false, true),
            ("python:3.10", true, false),
            ("python:3.11", false, false),
            ("nodejs:18", false, false),
            ("nodejs:20", false, false),
            ("go:1.20", true, false),
        ]);
        for (runtime, kind) in [
            ("python:3", "python:3.10"),
            ("python:3.11", "python:3.11"),
            ("python", "python:3.10"),
            ("nodejs", "nodejs:20"),
            ("nodejs:18", "nodejs:18"),
            ("native", "go:1.20"),
        ] {
            assert_eq!(resolved(runtime, &server), kind);
        }
        for runtime in ["python:3.1", "python:3.9", "nodejs:22", "ruby:2.5"] {
            let refused = resolved(runtime, &server);
            assert!(
                refused.contains("unsupported") && refused.contains("python:3.11"),
                "{refused}"
            );
        }
    }

    #[test]
    fn the_kind_itself_goes_before_the_default() {
        let server = server(&[("python:3", false, false), ("python:3.11", true, false)]);
        assert_eq!(resolved("python:3", &server), "python:3");
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        let server = server(&[("nodejs:9", false, false), ("nodejs:18", false, false)]);
        assert_eq!(resolved("nodejs", &server), "nodejs:18");
        let glibc =
            |kind: &str| system(&unknown_server_kind("go", Some(kind)), Machine::X86_64).glibc;
        assert_eq!(["1.9", "1.21"].map(glibc), [None, None]);
        assert_eq!(["1.22", "1.100", "2.0"].map(glibc), [Some(Glibc(2, 36)); 3]);
    }

    #[test]
    fn code_of_the_allowed_length_is_taken_and_a_byte_more_is_refused() {
        let code = |length| {
            let source = Deployable::python("f", "#".repeat(length));
            prepare(&source, &Server::default(), true, Machine::X86_64).map(drop)
        };
        let most = usize::try_from(MAX_CODE).unwrap();
        assert!(code(most).is_ok());
        assert_eq!(code(most + 1).unwrap_err().kind(), ErrorKind::PayloadTooLarge);
    }

    #[test]
    fn a_server_that_does_not_state_its_limit_is_asked_for_its_default() {
        let server = Server::default();
        for (runtime, kind) in [
            ("python:3", "python:default"),
            ("python:3.11", "python:3.11"),
            ("nodejs:20", "nodejs:20"),
            ("native", "go:default"),
        ] {
            assert_eq!(resolved(runtime, &server), kind);
        }
    }

    #[test]
    fn source_is_never_taken_for_base64_or_for_an_executable() {
        assert_eq!(text_that_stays_text("python", "main"), "main\n# source\n");
        assert_eq!(text_that_stays_text("nodejs", "main"), "main\n// source\n");
        assert_eq!(
            text_that_stays_text("python", "#!/usr/bin/python\nx = 1"),
            "# !/usr/bin/python\nx = 1"
        );
        assert_eq!(text_that_stays_text("python", "\u{feff}x = 1"), "x = 1");
    }

    #[test]
    fn the_shim_gets_the_entry_point_and_the_runtime_the_requirements() {
        let source = Deployable::from_source("f", "nodejs:20".parse().unwrap(), "x = 1");
        let source = source.with_entry_point("start$1");
        let exec = prepare(&source, &Server::default(), false, Machine::X86_64).unwrap();
        assert_eq!((exec.main, exec.image), ("main", None));
        let archive = openwhisk::wrap(&source).unwrap();
        let transport = String::from_utf8_lossy(&archive.get("index.js").unwrap().content);
        assert!(transport.contains("ENTRY_POINT = \"start$1\";"), "{transport}");

        let files = |more: &str| {
            let archive = Archive::new().with_file("__main__.py", "x").unwrap();
            let archive = archive.with_file("requirements.txt", "six\n").unwrap();
            let zip = archive.with_file(more, "x").unwrap().to_zip().unwrap();
            let function = Deployable::from_archive("f", "python:3".parse().unwrap(), zip);
            openwhisk::wrap(&function).unwrap()
        };
        assert!(files("other.py").get("requirements.txt").is_some());
        assert!(files("virtualenv/bin/activate_this.py").get("requirements.txt").is_none());
    }

    #[test]
    fn an_image_makes_a_blackbox_with_the_code_beside_it_or_without_code() {
        // The image decides on the runtime: which kinds the server has does not matter.
        let server = server(&[]);
        let source = Deployable::python("f", "def main(args): return args").with_image("me/a:1");
        let beside = prepare(&source, &server, false, Machine::X86_64).unwrap();
        assert_eq!((&*beside.kind, beside.image), (BLACKBOX, Some("me/a:1")));
        assert!(beside.code.is_some());
        let image = Deployable::from_image("f", "me/a:1");
        let alone = prepare(&image, &server, false, Machine::X86_64).unwrap();
        assert_eq!((&*alone.kind, alone.image), (BLACKBOX, Some("me/a:1")));
        assert!(alone.code.is_none());
    }

    #[test]
    fn an_image_that_would_run_otherwise_than_asked_is_refused() {
        for (image, says) in [
            (Image::new("me/a@sha256:01"), "digest"),
            (Image::new("me/a:1").with_arguments(["x"]), "arguments"),
        ] {
            let function = Deployable::from_image("f", image);
            let error = prepare(&function, &Server::default(), false, Machine::X86_64).unwrap_err();
            assert!(error.message().contains(says) && error.hint().is_some(), "{error}");
        }
    }

    #[test]
    fn an_archive_that_could_not_start_is_refused_by_what_it_lacks() {
        let lacks = |family: &str, file: &str| {
            let zip = Archive::new().with_file("other.txt", "x").unwrap().to_zip().unwrap();
            let function = Deployable::from_archive("f", family.parse().unwrap(), zip);
            for plain in [false, true] {
                let error =
                    prepare(&function, &Server::default(), plain, Machine::X86_64).unwrap_err();
                assert!(error.to_string().contains(file), "{error}");
            }
        };
        lacks("python:3", "__main__.py");
        lacks("nodejs:20", "index.js");
        lacks("native", "exec");
    }

    #[test]
    fn the_execution_environment_is_the_name_of_the_image() {
        let kind = |image: &str| Kind {
            kind: "go:1.20".into(),
            image: Some(image.into()),
            deprecated: false,
            default: true,
        };
        for image in
            ["openwhisk/action-golang-v1.20:nightly", "registry:5000/mirror/action-golang-v1.20"]
        {
            assert_eq!(execution_environment(&kind(image)), "openwhisk/action-golang-v1.20");
        }
    }

    #[test]
    fn an_executable_for_another_processor_is_refused_before_it_is_uploaded() {
        let archive = Archive::native(std::env::current_exe().unwrap()).unwrap();
        let zip = archive.to_zip().unwrap();
        let function = Deployable::from_archive("f", "native".parse().unwrap(), zip);
        let other = match Machine::current() {
            Machine::X86_64 => Machine::Aarch64,
            _ => Machine::X86_64,
        };
        let error = prepare(&function, &Server::default(), false, other).unwrap_err();
        let complaint = format!("built for {}, but go:default runs on {other}", Machine::current());
        assert!(error.to_string().contains(&complaint), "{error}");
        prepare(&function, &Server::default(), false, Machine::current()).unwrap();
    }
}
