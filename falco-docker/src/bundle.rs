//! A function as it is in an image: its files, and the command of a container.

use std::fmt::Write;

use bollard::models::{ImageConfig, ImageInspect};
use bytes::Bytes;
use falco_core::{Code, Deployable, Error, Image, Result};
use falco_package::{
    Archive, NATIVE_EXECUTABLE, System, lambda as handlers, native, openwhisk, shim,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::isolation::Mount;
use crate::protocol::Protocol;
use crate::{action, lambda, tarball};

/// Where the files are in the image.
const ROOT: &str = "/falco";

/// The file with the body of `/init`, for every process that uses the deployment.
pub(crate) const INIT_FILE: &str = "/falco/init.json";

/// Where an image of AWS's without a runtime looks for its program.
const RUNTIME_BOOTSTRAP: &str = "/var/runtime/bootstrap";
const STARTS_BOOTSTRAP: &[u8] = b"#!/bin/sh\nexec /var/task/bootstrap \"$@\"\n";

/// A container's streams are stdin, stdout and stderr. Requests come in on stdin and answers go out on stdout, so the
/// function gets neither: its requests are on descriptor 4, its answers on 3, and all that it prints goes to stderr.
const SHIM_STREAMS: &str = "exec \"$@\" 4<&0 0</dev/null 3>&1 1>&2";

/// A native executable reads requests on stdin, as ActionLoop has it.
const NATIVE_STREAMS: &str = "exec \"$@\" 3>&1 1>&2";

/// The execution environment of OpenWhisk's image for executables, where an image names none.
const NATIVE_ENVIRONMENT: &str = "openwhisk/action-golang-v1.20";

/// How Falco talks to the function's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Dialogue {
    /// A shim of `falco-package`, over the attached streams.
    Shim,
    /// An executable that answers requests and says nothing before.
    Native,
    /// An executable that says when it has started.
    NativeAcknowledged,
    /// OpenWhisk's interface, with Falco's transport behind it or without.
    Action { has_shim: bool },
    /// Lambda's emulator, with Falco's handler behind it or without.
    Lambda { has_handler: bool },
}

impl Dialogue {
    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Self::Shim | Self::Native | Self::NativeAcknowledged => Protocol::Pipe,
            Self::Action { .. } => Protocol::Action,
            Self::Lambda { .. } => Protocol::Lambda,
        }
    }
}

/// A function, ready to be put into an image.
pub(crate) struct Bundle {
    pub(crate) dialogue: Dialogue,
    /// A name for exactly these files.
    pub(crate) version: String,
    /// The files, as a tar archive to be unpacked at `/`.
    pub(crate) tar: Bytes,
    /// The entry point; none leaves the image's own.
    pub(crate) entrypoint: Option<Vec<String>>,
    /// The command; none leaves the image's own.
    pub(crate) command: Option<Vec<String>>,
    /// The working directory; none leaves the image's own.
    pub(crate) directory: Option<String>,
    /// Variables, as `NAME=value`.
    pub(crate) environment: Vec<String>,
    /// Folders that its containers see, in Docker's words.
    pub(crate) binds: Vec<String>,
}

impl Bundle {
    /// A name for the settings that stand in the image beside the files.
    pub(crate) fn settings(&self) -> String {
        let lists =
            [&self.entrypoint, &self.command].map(|list| list.as_ref().map(|l| l.join("\0")));
        let [entrypoint, command] = lists.each_ref().map(|list| list.as_deref().unwrap_or("\0"));
        let directory = self.directory.as_deref().unwrap_or_default();
        let environment = self.environment.join("\0");
        let binds = self.binds.join("\0");
        digest(&[entrypoint, command, directory, &environment, &binds].map(str::as_bytes))
    }
}

/// Puts the function's code and what its protocol needs together, for the image `base`.
pub(crate) fn pack(
    function: &Deployable,
    protocol: Protocol,
    base: &ImageInspect,
) -> Result<Bundle> {
    let config = base.config.as_ref();
    let variables = function.env.iter().map(|(name, value)| format!("{name}={value}"));
    let mut bundle = match (protocol, &function.code) {
        (Protocol::Pipe, Code::Image(image)) => image_with_streams(function, image, config)?,
        (Protocol::Pipe, _) => code_with_streams(function)?,
        (Protocol::Action, _) => of_action(function, config)?,
        (Protocol::Lambda, Code::Image(image)) => of_lambda_image(function, image),
        (Protocol::Lambda, _) => of_lambda(function)?,
    };
    if protocol != Protocol::Action {
        // OpenWhisk's runtimes hand on only those variables that they get with the code.
        bundle.environment.extend(variables);
    }
    bundle.binds = function.folders.iter().map(|folder| Mount::of(folder).to_bind()).collect();
    let arguments = function.any_image().map(|image| image.arguments.join("\0"));
    let image = base.id.as_deref().unwrap_or_default();
    let parts: [&[u8]; 3] =
        [&bundle.tar, image.as_bytes(), arguments.as_deref().unwrap_or("").as_bytes()];
    bundle.version = digest(&parts);
    Ok(bundle)
}

impl Bundle {
    /// A bundle without files, which leaves everything to the image.
    fn of(dialogue: Dialogue) -> Self {
        Self {
            dialogue,
            version: String::new(),
            tar: Bytes::new(),
            entrypoint: None,
            command: None,
            directory: None,
            environment: Vec::new(),
            binds: Vec::new(),
        }
    }
}

fn code_with_streams(function: &Deployable) -> Result<Bundle> {
    let files = files(function)?;
    let directory = format!("{ROOT}/{}", shim::FUNCTION);
    let entry_point = function.entry_point_or_main();
    let own = |program: &str, file: &str| {
        let mut command = vec![program.to_owned(), format!("{ROOT}/{file}")];
        command.extend([directory.clone(), entry_point.into()]);
        command.extend(["4", "3", shim::MARK_LOGS].map(str::to_owned));
        command
    };
    let (dialogue, streams, command) = match function.runtime.family() {
        "python" => (Dialogue::Shim, SHIM_STREAMS, own("python3", shim::PYTHON)),
        "nodejs" => (Dialogue::Shim, SHIM_STREAMS, own("node", shim::NODE)),
        _ => {
            let command = vec![format!("{directory}/{NATIVE_EXECUTABLE}")];
            (native_dialogue(function), NATIVE_STREAMS, command)
        }
    };
    Ok(Bundle {
        tar: tarball::of(ROOT, &files)?,
        entrypoint: Some(with_streams(streams)),
        command: Some(command),
        directory: Some(directory),
        environment: acknowledgement(function, dialogue),
        ..Bundle::of(dialogue)
    })
}

/// An image whose program speaks ActionLoop.
fn image_with_streams(
    function: &Deployable,
    image: &Image,
    config: Option<&ImageConfig>,
) -> Result<Bundle> {
    let own = |list: fn(&ImageConfig) -> Option<&Vec<String>>| {
        config.and_then(list).cloned().unwrap_or_default()
    };
    let mut command = own(|config| config.entrypoint.as_ref());
    command.extend(match image.arguments.is_empty() {
        true => own(|config| config.cmd.as_ref()),
        false => image.arguments.clone(),
    });
    if command.is_empty() {
        return Err(Error::invalid_input(format!("the image {image} names no program to start"))
            .with_hint("give it an ENTRYPOINT or a CMD, or the image arguments"));
    }
    let dialogue = native_dialogue(function);
    Ok(Bundle {
        entrypoint: Some(with_streams(NATIVE_STREAMS)),
        command: Some(command),
        environment: acknowledgement(function, dialogue),
        ..Bundle::of(dialogue)
    })
}

fn with_streams(streams: &str) -> Vec<String> {
    ["sh", "-c", streams, "falco"].map(str::to_owned).into()
}

/// One of several functions in an executable acknowledges its start.
fn native_dialogue(function: &Deployable) -> Dialogue {
    match function.entry_point {
        Some(_) => Dialogue::NativeAcknowledged,
        None => Dialogue::Native,
    }
}

fn acknowledgement(function: &Deployable, dialogue: Dialogue) -> Vec<String> {
    if dialogue != Dialogue::NativeAcknowledged {
        return Vec::new();
    }
    let entry_point = function.entry_point_or_main();
    vec![
        format!("{}={entry_point}", native::FUNCTION_VARIABLE),
        format!("{}=1", native::ACKNOWLEDGE_VARIABLE),
        format!("{}=1", native::MARK_LOGS_VARIABLE),
    ]
}

fn files(function: &Deployable) -> Result<Archive> {
    if matches!(function.runtime.family(), "python" | "nodejs") {
        return shim::wrap(function);
    }
    let code = shim::native(function)?;
    code.check_native_on(&System::current())?;
    let mut files = Archive::new();
    for (path, file) in code.files() {
        files.insert(format!("{}/{path}", shim::FUNCTION), file.clone())?;
    }
    Ok(files)
}

/// The archive that `falco-openwhisk` uploads, for the image's runtime to unpack.
fn of_action(function: &Deployable, config: Option<&ImageConfig>) -> Result<Bundle> {
    let has_shim = matches!(function.runtime.family(), "python" | "nodejs");
    let (code, arguments) = match &function.code {
        Code::Image(image) => (None, &image.arguments[..]),
        _ if has_shim => (Some(openwhisk::wrap(function)?), &[][..]),
        _ => {
            let variables = config.and_then(|config| config.env.as_deref()).unwrap_or_default();
            let made_for = variables.iter().find_map(|v| v.strip_prefix("OW_EXECUTION_ENV="));
            let environment = made_for.unwrap_or(NATIVE_ENVIRONMENT);
            (Some(openwhisk::native(function, &System::current(), environment)?), &[][..])
        }
    };
    let init = action::init(function, code.as_ref())?;
    let file = Archive::new().with_file(INIT_FILE.trim_start_matches('/'), init)?;
    Ok(Bundle {
        tar: tarball::of("", &file)?,
        command: (!arguments.is_empty()).then(|| arguments.to_vec()),
        ..Bundle::of(Dialogue::Action { has_shim: has_shim && code.is_some() })
    })
}

/// The archive that `falco-aws` uploads, unpacked as Lambda does it.
fn of_lambda(function: &Deployable) -> Result<Bundle> {
    let (archive, handler) = handlers::wrap(function, &System::current())?;
    let mut builder = tar::Builder::new(Vec::new());
    tarball::add(&mut builder, lambda::TASK_ROOT, &archive)?;
    if function.runtime.family() == "native" {
        let start = Archive::new()
            .with_executable(RUNTIME_BOOTSTRAP.trim_start_matches('/'), STARTS_BOOTSTRAP)?;
        tarball::add(&mut builder, "", &start)?;
    }
    Ok(Bundle {
        tar: tarball::finish(builder)?,
        command: Some(vec![handler]),
        ..Bundle::of(Dialogue::Lambda { has_handler: true })
    })
}

/// An image of AWS's kind takes its handler as its command.
fn of_lambda_image(function: &Deployable, image: &Image) -> Bundle {
    let arguments = match &function.entry_point {
        Some(handler) if image.arguments.is_empty() => vec![handler.clone()],
        _ => image.arguments.clone(),
    };
    Bundle {
        command: (!arguments.is_empty()).then_some(arguments),
        ..Bundle::of(Dialogue::Lambda { has_handler: false })
    }
}

fn digest(parts: &[&[u8]]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.finalize().iter().take(8).fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn packed(function: &Deployable, protocol: Protocol) -> Bundle {
        pack(function, protocol, &ImageInspect::default()).unwrap()
    }

    fn python(source: &str) -> Deployable {
        Deployable::python("f", source)
    }

    fn paths(bundle: &Bundle) -> Vec<(String, u32)> {
        let mut found = Vec::new();
        for entry in tar::Archive::new(&bundle.tar[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            let path = entry.path().unwrap().display().to_string();
            found.push((path, entry.header().mode().unwrap()));
        }
        found
    }

    #[test]
    fn the_same_code_has_the_same_version_and_other_code_another() {
        let version = |source, protocol| packed(&python(source), protocol).version;
        assert_eq!(version("a = 1", Protocol::Pipe), version("a = 1", Protocol::Pipe));
        assert_ne!(version("a = 1", Protocol::Pipe), version("a = 2", Protocol::Pipe));
        assert_ne!(version("a = 1", Protocol::Pipe), version("a = 1", Protocol::Lambda));
        let with = |arguments: [&str; 1]| Image::new("a:1").with_arguments(arguments);
        let image = |arguments| Deployable::from_image("f", with(arguments));
        let version = |arguments| packed(&image(arguments), Protocol::Pipe).version;
        assert_ne!(version(["a"]), version(["b"]));
    }

    #[test]
    fn the_files_are_where_the_protocol_looks_for_them() {
        let function = python("a = 1");
        let pipe = packed(&function, Protocol::Pipe);
        let shim = ("falco/falco_shim.py".to_owned(), 0o644);
        assert_eq!(paths(&pipe), [shim, ("falco/function/main__.py".into(), 0o644)]);
        let action = packed(&function, Protocol::Action);
        assert_eq!(paths(&action), [("falco/init.json".into(), 0o644)]);
        assert_eq!((action.entrypoint, action.command), (None, None));
        let lambda = packed(&function, Protocol::Lambda);
        assert_eq!(paths(&lambda)[0].0, "var/task/falco_handler.py");
        assert_eq!(lambda.command, Some(vec!["falco_handler.main".into()]));
    }

    #[test]
    fn an_image_runs_its_own_program_with_its_own_arguments_or_those_of_the_function() {
        let config = ImageConfig {
            entrypoint: Some(vec!["/serve".into()]),
            cmd: Some(vec!["-a".into()]),
            ..ImageConfig::default()
        };
        let base = ImageInspect { config: Some(config), ..ImageInspect::default() };
        let command = |image: Image, protocol| {
            let function = Deployable::from_image("f", image);
            pack(&function, protocol, &base).unwrap().command.unwrap_or_default()
        };
        assert_eq!(command(Image::new("a"), Protocol::Pipe), ["/serve", "-a"]);
        let other = Image::new("a").with_arguments(["-b"]);
        assert_eq!(command(other.clone(), Protocol::Pipe), ["/serve", "-b"]);
        assert_eq!(command(other, Protocol::Lambda), ["-b"]);
        assert!(command(Image::new("a"), Protocol::Lambda).is_empty());
        let nothing = Deployable::from_image("f", "a");
        let error = pack(&nothing, Protocol::Pipe, &ImageInspect::default()).err().unwrap();
        assert!(error.to_string().contains("names no program"), "{error}");
    }

    #[test]
    fn folders_are_mounted_under_their_own_paths() {
        use falco_core::Folder;

        let function = python("a = 1")
            .with_folder(Folder::read_only("/data/in"))
            .with_folder(Folder::writable("/data/out"));
        let with = packed(&function, Protocol::Pipe);
        assert_eq!(with.binds, ["/data/in:/data/in:ro", "/data/out:/data/out:rw"]);
        assert_ne!(with.settings(), packed(&python("a = 1"), Protocol::Pipe).settings());
    }

    #[test]
    fn variables_stand_in_the_image_or_go_with_the_code() {
        let function = python("a = 1").with_env("KEY", "value");
        for protocol in [Protocol::Pipe, Protocol::Lambda] {
            assert_eq!(packed(&function, protocol).environment, ["KEY=value"]);
        }
        let action = packed(&function, Protocol::Action);
        assert!(action.environment.is_empty());
        assert!(String::from_utf8_lossy(&action.tar).contains(r#""env":{"KEY":"value"}"#));
    }
}
