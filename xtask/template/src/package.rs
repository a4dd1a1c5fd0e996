//! From a function to what the provider stores, and back.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use falco_core::{Deployable, Deployment, Error, Ownership, Result, Scaling};
use falco_package::shim;

use crate::wire::Function;

/// The runtimes that there are.
pub(crate) const RUNTIMES: [&str; 1] = ["python:3"];

/// The variable by which the transport knows the function in the user's file.
const ENTRY_POINT: &str = "FALCO_ENTRY_POINT";

/// A function as the gateway takes it. What the gateway would refuse is refused here, before anything is sent.
pub(crate) fn package(function: &Deployable) -> Result<Function> {
    function.validate()?;
    function.refuse_image()?;
    let major = function.runtime.version().map_or("3", |version| version.split('.').next().unwrap_or(version));
    if function.runtime.family() != "python" || major != "3" {
        return Err(Error::unsupported(format!("there is no runtime {}", function.runtime))
            .with_hint(format!("there are {}", RUNTIMES.join(", "))));
    }
    // The user's files, Falco's shim for their language, and the transport between the shim and the provider.
    let archive = shim::wrap(function)?.with_file("transport.py", include_str!("transport.py"))?;
    let mut env: BTreeMap<String, String> =
        function.env.iter().map(|(name, value)| (name.into(), value.into())).collect();
    env.insert(ENTRY_POINT.to_owned(), function.entry_point_or_main().to_owned());
    let timeout = function.scaling.timeout.map(|timeout| timeout.as_millis().max(1));
    Ok(Function {
        name: function.name.clone(),
        code: BASE64.encode(archive.to_zip()?),
        env,
        labels: labels(function),
        timeout_ms: timeout.and_then(|timeout| u64::try_from(timeout).ok()),
    })
}

/// The marks by which another process finds the function, its owner and its sizes.
fn labels(function: &Deployable) -> BTreeMap<String, String> {
    let ownership = function.ownership.as_ref();
    let expiry = ownership.map(|o| o.expires_at.duration_since(UNIX_EPOCH).unwrap_or_default());
    [
        ("falco.runtime", Some(function.runtime.to_string())),
        ("falco.memory-mib", function.scaling.memory_mib.map(|mib| mib.to_string())),
        ("falco.run", ownership.map(|o| o.run.to_string())),
        ("falco.owner", ownership.map(|o| o.owner.clone())),
        (
            "falco.epoch",
            ownership.map(|o| o.epoch).filter(|epoch| *epoch > 0).map(|epoch| epoch.to_string()),
        ),
        ("falco.expires", expiry.map(|expiry| expiry.as_secs().to_string())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect()
}

/// The deployment that a function's labels describe; none for a function that is not Falco's.
pub(crate) fn deployment(function: &Function) -> Option<Deployment> {
    let label = |name: &str| function.labels.get(name).map(String::as_str);
    let ownership = || {
        let expires = Duration::from_secs(label("falco.expires")?.parse().ok()?);
        let expires = UNIX_EPOCH.checked_add(expires)?;
        let epoch = label("falco.epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or_default();
        let ownership = Ownership::new(label("falco.run")?, label("falco.owner")?, expires);
        Some(ownership.with_epoch(epoch))
    };
    let scaling = Scaling::default()
        .with_memory_mib(label("falco.memory-mib").and_then(|mib| mib.parse().ok()))
        .with_timeout(function.timeout_ms.map(Duration::from_millis));
    let deployment = Deployment::new(&function.name, label("falco.runtime")?.parse().ok()?);
    Some(deployment.with_platform(crate::NAME).with_scaling(scaling).with_ownership(ownership()))
}
