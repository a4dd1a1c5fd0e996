//! A function as it is in an image: its files, and the command of a container.

use std::fmt::Write;

use bollard::models::{ImageConfig, ImageInspect};
use bytes::Bytes;
use falco_core::{Code, Deployable, Environment, Error, Image, Result};
use falco_package::{
    Archive, Machine, NATIVE_EXECUTABLE, System, lambda as handlers, native, openwhisk, shim,
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
    /// Variables of the container, as `NAME=value`.
    pub(crate) environment: Vec<String>,
    /// The function's own variables, as `NAME=value`, also where its runtime hands them to it.
    pub(crate) variables: Vec<String>,
    /// Folders that its containers see, in Docker's words.
    pub(crate) binds: Vec<String>,
    /// The body of `/init`, where there is one. It is in the files, too.
    pub(crate) init: Option<Bytes>,
}

impl Bundle {
    /// A name for the settings that stand in the image beside the files. Labels show it to everybody, and so to somebody who
    /// guesses the values of variables: without `key`, which only the image's configuration holds, no guess can be confirmed.
    pub(crate) fn settings(&self, key: &str) -> String {
        let lists =
            [&self.entrypoint, &self.command].map(|list| list.as_ref().map(|l| l.join("\0")));
        let [entrypoint, command] = lists.each_ref().map(|list| list.as_deref().unwrap_or("\0"));
        let directory = self.directory.as_deref().unwrap_or_default();
        let lists = [&self.environment, &self.variables, &self.binds].map(|list| list.join("\0"));
        let [environment, variables, binds] = lists.each_ref().map(String::as_str);
        let parts = [key, entrypoint, command, directory, environment, variables, binds];
        digest(&parts.map(str::as_bytes))
    }
}

/// Puts the function's code and what its protocol needs together, for the image `base`.
pub(crate) fn pack(
    function: &Deployable,
    protocol: Protocol,
    base: &ImageInspect,
) -> Result<Bundle> {
    let config = base.config.as_ref();
    let system = system_of(base);
    let variables = function.env.iter().map(|(name, value)| format!("{name}={value}"));
    let variables: Vec<_> = variables.collect();
    let mut bundle = match (protocol, &function.code) {
        (Protocol::Pipe, Code::Image(image)) => image_with_streams(function, image, config)?,
        (Protocol::Pipe, _) => code_with_streams(function, &system)?,
        (Protocol::Action, _) => of_action(function, &system, config)?,
        (Protocol::Lambda, Code::Image(image)) => of_lambda_image(function, image),
        (Protocol::Lambda, _) => of_lambda(function, &system)?,
    };
    if protocol != Protocol::Action {
        // OpenWhisk's runtimes hand on only those variables that they get with the code.
        bundle.environment.extend(variables.iter().cloned());
    }
    bundle.variables = variables;
    bundle.binds = function.folders.iter().map(|folder| Mount::of(folder).to_bind()).collect();
    let arguments = function.any_image().map(|image| image.arguments.join("\0"));
    let image = base.id.as_deref().unwrap_or_default();
    let files = match protocol {
        Protocol::Action if !function.env.is_empty() => {
            // Reports and traces show the version, and so it says nothing of the variables' values.
            let mut without = function.clone();
            without.env = Environment::default();
            of_action(&without, &system, config)?.tar
        }
        _ => bundle.tar.clone(),
    };
    let parts: [&[u8]; 3] =
        [&files, image.as_bytes(), arguments.as_deref().unwrap_or("").as_bytes()];
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
            variables: Vec::new(),
            binds: Vec::new(),
            init: None,
        }
    }
}

/// The system that executables start on. The daemon may be one of another machine; where its image does not say which
/// processor it is made for, that of this machine is assumed.
fn system_of(base: &ImageInspect) -> System {
    let named = base.architecture.as_deref().and_then(Machine::named);
    System::new("the image", named.unwrap_or_else(Machine::current), None)
}

fn code_with_streams(function: &Deployable, system: &System) -> Result<Bundle> {
    let files = files(function, system)?;
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

fn files(function: &Deployable, system: &System) -> Result<Archive> {
    if matches!(function.runtime.family(), "python" | "nodejs") {
        return shim::wrap(function);
    }
    let code = shim::native(function)?;
    code.check_native_on(system)?;
    let mut files = Archive::new();
    for (path, file) in code.files() {
        files.insert(format!("{}/{path}", shim::FUNCTION), file.clone())?;
    }
    Ok(files)
}

/// The archive that `falco-openwhisk` uploads, for the image's runtime to unpack.
fn of_action(
    function: &Deployable,
    system: &System,
    config: Option<&ImageConfig>,
) -> Result<Bundle> {
    let has_shim = matches!(function.runtime.family(), "python" | "nodejs");
    let (code, arguments) = match &function.code {
        Code::Image(image) => (None, &image.arguments[..]),
        _ if has_shim => (Some(openwhisk::wrap(function)?), &[][..]),
        _ => {
            let variables = config.and_then(|config| config.env.as_deref()).unwrap_or_default();
            let made_for = variables.iter().find_map(|v| v.strip_prefix("OW_EXECUTION_ENV="));
            let environment = made_for.unwrap_or(NATIVE_ENVIRONMENT);
            (Some(openwhisk::native(function, system, environment)?), &[][..])
        }
    };
    let init = action::init(function, code.as_ref())?;
    let init = Bytes::from(init);
    let file = Archive::new().with_file(INIT_FILE.trim_start_matches('/'), init.clone())?;
    Ok(Bundle {
        init: Some(init),
        tar: tarball::of("", &file)?,
        command: (!arguments.is_empty()).then(|| arguments.to_vec()),
        ..Bundle::of(Dialogue::Action { has_shim: has_shim && code.is_some() })
    })
}

/// The archive that `falco-aws` uploads, unpacked as Lambda does it.
fn of_lambda(function: &Deployable, system: &System) -> Result<Bundle> {
    let (archive, handler) = handlers::wrap(function, system)?;
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
mod tests;
