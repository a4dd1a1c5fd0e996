//! From a function to what the provider stores, and back.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use falco_core::{Deployable, Deployment, Error, Result};
use falco_package::{marks, shim};

use crate::client::LONGEST_RUN;
use crate::wire::Function;

/// The runtimes that there are.
pub(crate) const RUNTIMES: [&str; 1] = ["python:3"];

/// The variable by which the transport knows the function in the user's file.
const ENTRY_POINT: &str = "FALCO_ENTRY_POINT";

/// The variable by which the transport knows the version that it answers with.
const VERSION: &str = "FALCO_VERSION";

/// A function as the gateway takes it, and the version that answers then. What the gateway would refuse is refused here,
/// before anything is sent.
pub(crate) fn package(function: &Deployable) -> Result<(Function, String)> {
    function.validate()?;
    function.refuse_image()?;
    let major = function.runtime.version().map_or("3", |version| version.split('.').next().unwrap_or(version));
    if function.runtime.family() != "python" || major != "3" {
        return Err(Error::unsupported(format!("there is no runtime {}", function.runtime))
            .with_hint(format!("there are {}", RUNTIMES.join(", "))));
    }
    let timeout = function.scaling.timeout.unwrap_or(LONGEST_RUN);
    if timeout > LONGEST_RUN {
        return Err(Error::invalid_input(format!("a timeout of {timeout:?} is over {LONGEST_RUN:?}"))
            .with_hint("divide the work into shorter calls"));
    }
    // The user's files, Falco's shim for their language, and the transport between the shim and the provider.
    let archive = shim::wrap(function)?.with_file("transport.py", include_str!("transport.py"))?;
    let mut env: BTreeMap<String, String> =
        function.env.iter().map(|(name, value)| (name.into(), value.into())).collect();
    env.insert(ENTRY_POINT.to_owned(), function.entry_point_or_main().to_owned());
    // Variables and sizes are part of it: the same code with others is another version.
    let version = shim::content_hash(function, &[&format!("{env:?} {:?}", function.scaling)]);
    env.insert(VERSION.to_owned(), version.clone());
    let function = Function {
        name: function.name.clone(),
        code: BASE64.encode(archive.to_zip()?),
        env,
        // By them another process finds the function, its owner and its sizes.
        labels: marks::of(function),
        timeout_ms: u64::try_from(timeout.as_millis().max(1)).unwrap_or(u64::MAX),
    };
    Ok((function, version))
}

/// The deployment that a function's labels describe; none for a function that is not Falco's.
pub(crate) fn deployment(function: &Function) -> Option<Deployment> {
    Some(marks::deployment(&function.name, &function.labels)?.with_platform(crate::NAME))
}
