//! From a function's source to the specification that the gateway gets.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use falco_core::{Bounds, Deployable, Deployment, Error, ErrorKind, Result, Scaling};
use falco_package::{marks, shim};
use sha2::{Digest, Sha256};

use crate::client::{LONGEST_RUN, MARGIN};
use crate::wire::{FunctionDeployment, FunctionStatus, Resources};

/// The runtimes that there are.
pub(crate) const RUNTIMES: [&str; 1] = ["python:3"];

/// The timeouts that a function may have.
pub(crate) const TIMEOUTS: Bounds<Duration> =
    Bounds { min: Duration::from_millis(1), max: LONGEST_RUN };

/// The longest archive, in bytes. It travels as one environment variable in base64, and Linux takes 128 KiB for a
/// variable with its name (`MAX_ARG_STRLEN`).
pub(crate) const MAX_CODE: u64 = 96 * 1024 - 64;

/// The watchdog splits its command at blanks and knows no quotes (`handler.go` in openfaas/classic-watchdog), so the
/// shim, which has blanks, comes by a variable.
const PROCESS: &str = "python3 -c exec(__import__('os').environ['FALCO_SHIM'])";
const SHIM: &str = include_str!("shim.py");

/// Variables with a meaning for the watchdog (`readconfig.go` in classic-watchdog) or the shim; a function that sets one
/// would change how it is run.
const RESERVED: [&str; 21] = [
    "fprocess",
    "exec_timeout",
    "read_timeout",
    "write_timeout",
    "healthcheck_interval",
    "combine_output",
    "cgi_headers",
    "content_type",
    "marshal_request",
    "max_inflight",
    "port",
    "suppress_lock",
    "write_debug",
    "debug_headers",
    "jwt_auth",
    "jwt_auth_debug",
    "jwt_auth_local",
    "FALCO_CODE",
    "FALCO_ENTRY_POINT",
    "FALCO_SHIM",
    "FALCO_VERSION",
];

/// A function as the gateway takes it, checked, and the version that will answer.
pub(crate) fn package(function: &Deployable, image: &str) -> Result<(FunctionDeployment, String)> {
    check(function)?;
    let zip = shim::wrap(function)?.to_zip()?;
    if zip.len() as u64 > MAX_CODE {
        let message = format!("the archive has {} bytes, and {MAX_CODE} are allowed", zip.len());
        return Err(Error::new(ErrorKind::PayloadTooLarge, message)
            .with_hint("put libraries and data into the image"));
    }
    let mut env: BTreeMap<String, String> =
        function.env.iter().map(|(name, value)| (name.into(), value.into())).collect();
    let mut set = |name: &str, value: String| env.insert(name.to_owned(), value);
    set("FALCO_CODE", BASE64.encode(&zip));
    set("FALCO_ENTRY_POINT", function.entry_point_or_main().to_owned());
    set("FALCO_SHIM", SHIM.to_owned());
    // By default the watchdog puts stderr into the answer.
    set("combine_output", "false".to_owned());
    // By default it hands the request's headers to the function, the gateway's password among them.
    set("cgi_headers", "false".to_owned());
    let timeout = function.scaling.timeout.unwrap_or(LONGEST_RUN);
    // Zero would switch it off.
    set("exec_timeout", format!("{}ms", timeout.as_millis().max(1)));
    // Else it cuts the connection after 30 seconds, whatever the function may.
    let whole = format!("{}ms", (timeout + MARGIN).as_millis());
    set("read_timeout", whole.clone());
    set("write_timeout", whole);
    let version = version(&env);
    env.insert("FALCO_VERSION".to_owned(), version.clone());
    let memory = function.scaling.memory_mib;
    let deployment = FunctionDeployment {
        service: function.name.clone(),
        image: image.to_owned(),
        env_process: PROCESS,
        env_vars: env,
        // Labels of Kubernetes take 63 characters of a small alphabet, and annotations take anything.
        annotations: marks::of(function),
        limits: memory.map(|mib| Resources { memory: format!("{mib}Mi") }),
    };
    Ok((deployment, version))
}

/// Refuses what the gateway would refuse, before anything is sent.
fn check(function: &Deployable) -> Result<()> {
    function.validate()?;
    function.refuse_image()?;
    if function.runtime.family() != "python" || !["3", ""].contains(&major(function)) {
        return Err(Error::unsupported(format!("there is no runtime {}", function.runtime))
            .with_hint(format!("there are {}", RUNTIMES.join(", "))));
    }
    // A service of Kubernetes: `validate.go` in openfaas/faas-netes.
    let dns = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !function.name.chars().all(dns) || function.name.ends_with('-') {
        return Err(Error::invalid_input("OpenFaaS takes lower-case letters, digits and '-' only")
            .with_hint("rename the function"));
    }
    let names = function.env.names();
    if let Some(name) = names.into_iter().find(|name| RESERVED.contains(name)) {
        return Err(Error::invalid_input(format!("{name} is a variable of the watchdog"))
            .with_hint("rename the variable"));
    }
    let Scaling {
        memory_mib: _, timeout: _, cpus, min_instances, max_instances, concurrency, ..
    } = &function.scaling;
    let others = [min_instances, max_instances, concurrency];
    if cpus.is_some() || others.into_iter().any(Option::is_some) {
        return Err(Error::unsupported("of all sizes, this crate sets memory and timeout only")
            .with_hint("leave the others out"));
    }
    if let Some(timeout) = function.scaling.timeout.filter(|timeout| *timeout > TIMEOUTS.max) {
        let message = format!("a timeout of {timeout:?} is over the longest, {:?}", TIMEOUTS.max);
        return Err(Error::invalid_input(message).with_hint("divide the work into shorter calls"));
    }
    Ok(())
}

fn major(function: &Deployable) -> &str {
    function.runtime.version().map_or("", |v| v.split('.').next().unwrap_or(v))
}

/// The version of everything that decides how the function behaves.
fn version(env: &BTreeMap<String, String>) -> String {
    let mut hash = Sha256::new();
    for (name, value) in env {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update((value.len() as u64).to_le_bytes());
        hash.update(value);
    }
    hash.finalize().iter().take(8).fold(String::new(), |mut text, byte| {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The deployment that a function's annotations describe; `None` for a function that is not Falco's.
pub(crate) fn deployment(status: &FunctionStatus) -> Option<Deployment> {
    let deployment = marks::deployment(&status.name, status.annotations.as_ref()?)?;
    Some(deployment.with_platform(crate::NAME))
}

#[cfg(test)]
mod tests {
    use falco_package::Archive;

    use super::*;

    /// A function with so many bytes of data, which cannot be packed shorter.
    fn with_data(bytes: u64) -> Deployable {
        let mut random = fastrand::Rng::with_seed(1);
        let data: Vec<u8> = (0..bytes).map(|_| random.u8(..)).collect();
        let archive = Archive::new().with_file("__main__.py", "def main(args): return args");
        let archive = archive.unwrap().with_file("data", data).unwrap();
        Deployable::from_archive("f", "python:3".parse().unwrap(), archive.to_zip().unwrap())
    }

    #[test]
    fn the_longest_archive_is_taken_and_fits_a_variable_and_one_byte_more_is_refused() {
        let length = |bytes| {
            let archive = shim::wrap(&with_data(bytes)).unwrap();
            archive.to_zip().unwrap().len() as u64
        };
        let mut bytes = MAX_CODE / 2;
        for _ in 0..3 {
            bytes = bytes + MAX_CODE - length(bytes);
        }
        assert_eq!(length(bytes), MAX_CODE);
        let (taken, _) = package(&with_data(bytes), "image").unwrap();
        // As it stands in the environment of a process, with the zero byte at its end.
        let variable = format!("FALCO_CODE={}\0", taken.env_vars["FALCO_CODE"]);
        assert!(variable.len() <= 128 * 1024, "{}", variable.len());
        assert_eq!(length(bytes + 1), MAX_CODE + 1);
        let refused = package(&with_data(bytes + 1), "image").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::PayloadTooLarge, "{refused}");
        assert!(refused.message().contains("98241 bytes, and 98240"), "{refused}");
    }
}
