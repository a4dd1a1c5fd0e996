//! The server's runtimes and limits.

use std::time::Duration;

use falco_core::{Bounds, Capabilities, ErrorKind, RateLimit, Result, RuntimeName};
use falco_http::reqwest::Method;
use serde::Deserialize;
use std::collections::BTreeMap;

use crate::call::Call;
use crate::client::{Api, SMALL, parse};

/// The timeout of an action for which nothing else is known.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// How long after its timeout an activation may still be answered and recorded: the invoker first asks for seconds
/// whether the container ran out of memory. Neither duration nor end show it.
pub(crate) const ANSWERED_LATE: Duration = Duration::from_secs(15);

/// One MiB: the server's limit of arguments and results, and of stored parameters, unless the namespace's limits say
/// otherwise.
const DEFAULT_SIZE: u64 = 1 << 20;

/// The server's limit of a request's body: more is refused below the API, perhaps by a reset while it is still sent.
pub(crate) const MAX_BODY: u64 = 50 << 20;

/// The server's limit of code, counted on the text that is sent: for an archive that is its base64.
pub(crate) const MAX_CODE: u64 = 48 << 20;

/// The limits of the namespace. Each may be absent; those that are, are not checked before sending.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Limits {
    invocations_per_minute: Option<u32>,
    concurrent_invocations: Option<u32>,
    min_action_memory: Option<u32>,
    max_action_memory: Option<u32>,
    min_action_timeout: Option<u64>,
    max_action_timeout: Option<u64>,
    pub(crate) max_action_concurrency: Option<u32>,
    #[serde(deserialize_with = "size")]
    max_parameter_size: Option<u64>,
    #[serde(deserialize_with = "size")]
    max_payload_size: Option<u64>,
}

impl Limits {
    /// The limit of arguments and of results, in bytes. The server shows it only where the namespace has its own.
    pub(crate) fn max_payload(&self) -> u64 {
        self.max_payload_size.unwrap_or(DEFAULT_SIZE)
    }

    /// The limit of the parameters that are stored with an action, in bytes.
    pub(crate) fn max_parameters(&self) -> u64 {
        self.max_parameter_size.unwrap_or(DEFAULT_SIZE)
    }

    pub(crate) fn memory_mib(&self) -> Option<Bounds<u32>> {
        Some(Bounds { min: self.min_action_memory?, max: self.max_action_memory? })
    }

    pub(crate) fn timeout(&self) -> Option<Bounds<Duration>> {
        let millis = Duration::from_millis;
        Some(Bounds {
            min: millis(self.min_action_timeout?),
            max: millis(self.max_action_timeout?),
        })
    }
}

/// A size in bytes, from a number or from the server's text. One that makes no sense is unknown.
fn size<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::Number(number) => number.as_u64(),
        serde_json::Value::String(text) => parse_size(&text),
        _ => None,
    })
}

/// A size as the server writes it: a number and a unit, `1 MB` being 2²⁰ bytes.
fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit: u64 = match text[digits..].trim().to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "K" | "KB" => 1 << 10,
        "M" | "MB" => 1 << 20,
        "G" | "GB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// A kind of action that the server offers.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Kind {
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) image: Option<String>,
    #[serde(default)]
    pub(crate) deprecated: bool,
    #[serde(default)]
    pub(crate) default: bool,
}

/// The server's description of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Server {
    pub(crate) limits: Limits,
    /// The kinds by family; `None` where the server does not list them, as behind some gateways.
    pub(crate) kinds: Option<BTreeMap<String, Vec<Kind>>>,
}

#[derive(Deserialize)]
struct Description {
    runtimes: BTreeMap<String, Vec<Kind>>,
}

impl Server {
    /// Asks the server. A namespace's limits are not there on old servers, and a gateway may hide the manifest: what
    /// is not there stays unknown. A refused key, or no answer at all, is an error.
    pub(crate) async fn ask(api: &Api) -> Result<Self> {
        let call = Call::new("connect");
        let limits = match api.find(&call, api.own(Method::GET, ["limits"]), SMALL).await {
            Ok(Some(reply)) => parse(&call, &reply)?,
            Ok(None) => Limits::default(),
            Err(e) if e.kind() == ErrorKind::Unsupported => Limits::default(),
            Err(e) => return Err(e),
        };
        let kinds = match api.send(&call, api.root(), SMALL).await {
            Ok(reply) if reply.status.is_success() => {
                reply.json::<Description>().map(|description| description.runtimes).ok()
            }
            Ok(_) => None,
            Err(e) => return Err(e),
        };
        if kinds.is_none() {
            tracing::debug!("the server does not list its runtimes");
        }
        Ok(Self { limits, kinds })
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        let limits = &self.limits;
        Capabilities::default()
            .with_submit(true)
            .with_resubmit(false)
            .with_adopt(true)
            .with_logs(true)
            .with_scaling(true)
            .with_images(true)
            .with_max_payload(limits.max_payload())
            .with_max_submit_payload(limits.max_payload())
            .with_max_result(limits.max_payload())
            .with_max_code(MAX_CODE)
            .with_concurrency(limits.concurrent_invocations)
            .with_rate(
                limits
                    .invocations_per_minute
                    .map(|invocations| RateLimit::new(invocations, Duration::from_secs(60))),
            )
            .with_memory_mib(limits.memory_mib())
            .with_timeout(limits.timeout())
            .with_wants_layers(true)
            .with_shim(true)
            .with_runtimes(self.runtimes())
    }

    /// The runtimes by the names that users give them: family with major version, and each kind.
    fn runtimes(&self) -> Vec<String> {
        let Some(kinds) = &self.kinds else {
            return ["python:3", "nodejs", "native"].map(String::from).to_vec();
        };
        let mut names = Vec::new();
        for kind in kinds.values().flatten().filter(|kind| !kind.deprecated) {
            let Ok(name) = kind.kind.parse::<RuntimeName>() else { continue };
            let major = name.version().and_then(|version| version.split('.').next());
            let general = major.map(|major| format!("{}:{major}", name.family()));
            for name in general.into_iter().chain([kind.kind.clone()]) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        if kinds.contains_key("go") {
            names.push("native".into());
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_the_server_writes_them() {
        for (text, bytes) in [
            ("1 MB", Some(1 << 20)),
            ("1048576 B", Some(1 << 20)),
            ("5 KB", Some(5120)),
            ("7", Some(7)),
            ("x MB", None),
            ("1 XB", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
        assert_eq!(parse_size("99999999999999 GB"), None);
    }

    #[test]
    fn the_limit_of_stored_parameters_is_not_the_limit_of_payloads() {
        let limits: Limits = serde_json::from_str("{\"maxParameterSize\":\"5 KB\"}").unwrap();
        assert_eq!((limits.max_parameters(), limits.max_payload()), (5120, 1 << 20));
        let own = r#"{"maxParameterSize":2048,"maxPayloadSize":"3 MB"}"#;
        let limits: Limits = serde_json::from_str(own).unwrap();
        assert_eq!((limits.max_parameters(), limits.max_payload()), (2048, 3 << 20));
    }

    #[test]
    fn limits_that_are_absent_are_unknown() {
        let limits: Limits = serde_json::from_str("{\"maxActionMemory\":512}").unwrap();
        let server = Server { limits, kinds: None };
        let capabilities = server.capabilities();
        assert_eq!((capabilities.memory_mib, capabilities.rate), (None, None));
        assert_eq!(capabilities.max_payload, Some(1 << 20));
    }
}
