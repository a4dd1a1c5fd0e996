//! What is looked at, one function for each thing.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use falco_cli::flags::PlatformName;
use falco_core::{
    AsyncPlatform, Bounds, Capabilities, Deployable, Invocation, Ownership, Payload, Platform,
    RunId,
};

use super::{Check, DoctorFlags, State};
use crate::commands::deployed::described;

/// A clock that differs by more makes signatures invalid on AWS and Google.
const SKEW: Duration = Duration::from_secs(60);
/// How many leftovers are named.
const NAMED: usize = 10;

/// Everything, in the order in which it matters.
pub(super) async fn all(flags: &DoctorFlags) -> Vec<Check> {
    let mut checks = Vec::new();
    if flags.platform.platform == PlatformName::Local {
        checks.push(interpreter("python3", "functions in Python need it"));
        checks.push(interpreter("node", "functions in JavaScript need it"));
    }
    let inspected = flags.platform.inspect();
    if let Some(sources) = &inspected.credentials {
        checks.push(match sources.first() {
            Some(first) => ok("credentials", found_in(first, &sources[1..])),
            None => warning(
                "credentials",
                "found nowhere on this machine; the platform may have its own",
            ),
        });
    }
    if let Some(region) = &inspected.region {
        checks.push(ok("region", region));
    }
    if let Some(endpoint) = &inspected.endpoint {
        checks.push(ok("endpoint", endpoint));
        checks.push(clock(flags, endpoint).await);
    }
    let platform = match flags.platform.connect().await {
        Ok(platform) => platform,
        Err(error) => {
            checks.push(failed("connection", format!("{error:#}")));
            return checks;
        }
    };
    checks.push(ok("connection", format!("to {}", platform.name())));
    checks.push(leftovers(&*platform).await);
    if flags.deploy {
        checks.push(deploy(platform.clone()).await);
    }
    let capabilities = platform.capabilities();
    checks.push(ok("runtimes", capabilities.runtimes.join(", ")));
    checks.push(ok("limits", limits(&capabilities)));
    checks.push(cost(flags));
    checks
}

fn ok(name: &'static str, found: impl Into<String>) -> Check {
    Check { name, state: State::Ok, found: found.into() }
}

fn warning(name: &'static str, found: impl Into<String>) -> Check {
    Check { name, state: State::Warning, found: found.into() }
}

fn failed(name: &'static str, found: impl Into<String>) -> Check {
    Check { name, state: State::Error, found: found.into() }
}

fn found_in(first: &str, others: &[String]) -> String {
    match others {
        [] => first.to_owned(),
        others => format!("{first}; not used: {}", others.join(", ")),
    }
}

fn interpreter(program: &'static str, purpose: &str) -> Check {
    match Command::new(program).arg("--version").output() {
        Ok(output) if output.status.success() => {
            ok(program, String::from_utf8_lossy(&output.stdout).trim())
        }
        Ok(output) => warning(program, format!("{program} --version: {}", output.status)),
        Err(error) => warning(program, format!("cannot be started: {error}; {purpose}")),
    }
}

async fn clock(flags: &DoctorFlags, endpoint: &str) -> Check {
    match flags.platform.clock_skew(endpoint).await {
        Ok(skew) if skew > SKEW => {
            let found = format!("differs from the provider's by {} s: set it", skew.as_secs());
            failed("clock", found)
        }
        Ok(skew) => ok("clock", format!("within {} s of the provider's", skew.as_secs() + 1)),
        Err(error) => warning("clock", format!("cannot be compared: {error:#}")),
    }
}

async fn leftovers(platform: &dyn AsyncPlatform) -> Check {
    let mut deployments = match platform.list_deployments().await {
        Ok(deployments) => deployments,
        Err(error) => return failed("permissions", format!("cannot list functions: {error}")),
    };
    if deployments.is_empty() {
        return ok("deployed", "nothing of Falco");
    }
    deployments.sort_by(|one, other| one.name.cmp(&other.name));
    let mut lines: Vec<_> = deployments.iter().take(NAMED).map(described).collect();
    if let Some(more) = deployments.len().checked_sub(NAMED).filter(|more| *more > 0) {
        lines.push(format!("and {more} more; falco list shows all"));
    }
    ok("deployed", lines.join("\n"))
}

/// Deploys, calls and removes a function, and says which step is refused.
async fn deploy(platform: Arc<dyn AsyncPlatform>) -> Check {
    let now = std::time::SystemTime::now();
    let run = RunId::starting_at(now, std::process::id());
    let expires_at = now + Duration::from_secs(3_600);
    let function = Deployable::python("doctor", "def main(args):\n    return {}\n");
    let function = function.with_name(format!("doctor-{run}")).with_ownership(Ownership::new(
        run.clone(),
        falco_executors::owner(),
        expires_at,
    ));
    let deployment = match platform.deploy(&function).await {
        Ok(deployment) => deployment,
        Err(error) => return failed("permissions", format!("cannot deploy: {error}")),
    };
    let invocation = Invocation::new(run, "doctor", "0", Payload::empty());
    let called = platform.invoke(&deployment, &invocation).await;
    let removed = platform.remove(&deployment).await;
    match (called, removed) {
        (_, Err(error)) => {
            failed("permissions", format!("cannot remove {}: {error}", deployment.name))
        }
        (Err(error), _) => failed("permissions", format!("cannot call: {error}")),
        (Ok(activation), _) => match activation.outcome {
            Ok(_) => ok("permissions", "a function was deployed, called and removed"),
            Err(error) => {
                failed("permissions", format!("a function that does nothing fails: {error}"))
            }
        },
    }
}

fn limits(capabilities: &Capabilities) -> String {
    let bytes = |bytes: u64| format!("{:.1} MiB", bytes as f64 / 1024.0 / 1024.0);
    let bounds = |bounds: Bounds<u32>| format!("{} to {} MiB", bounds.min, bounds.max);
    let rate = capabilities
        .rate
        .map(|rate| format!("{} in {}", rate.invocations, humantime::format_duration(rate.window)));
    let known = [
        ("invocations at once", capabilities.concurrency.map(|limit| limit.to_string())),
        ("invocations started", rate),
        ("argument", capabilities.max_payload.map(bytes)),
        ("result", capabilities.max_result.map(bytes)),
        ("code", capabilities.max_code.map(bytes)),
        ("memory", capabilities.memory_mib.map(bounds)),
        (
            "timeout up to",
            capabilities.timeout.map(|it| humantime::format_duration(it.max).to_string()),
        ),
    ];
    let known = known.into_iter().filter_map(|(name, limit)| Some(format!("{name}: {}", limit?)));
    let known: Vec<String> = known.collect();
    if known.is_empty() { "none is known".to_owned() } else { known.join("\n") }
}

fn cost(flags: &DoctorFlags) -> Check {
    let (count, memory) = (flags.invocations.get(), flags.memory.get());
    let run = format!(
        "{count} invocations of {} with {memory} MiB",
        humantime::format_duration(flags.duration)
    );
    ok(
        "cost",
        match flags.platform.price(flags.duration, memory) {
            Some(one) => format!(
                "{run}: at most {:.4} USD, at list prices and without retries",
                one * count as f64
            ),
            None => format!("{run}: the platform charges nothing that Falco knows of"),
        },
    )
}
