//! The checks, one function for each.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use falco_cli::flags::PlatformName;
use falco_cli::interrupted;
use falco_core::{
    AsyncPlatform, Bounds, Capabilities, Deployable, Deployment, Invocation, Ownership, Payload,
    Permission, Platform, RunId,
};
use falco_executors::Which;

use super::{Check, DoctorFlags, State};
use crate::commands::deployed::described;

/// A clock that differs by more makes signatures invalid on AWS and Google.
const SKEW: Duration = Duration::from_secs(60);
/// How many leftovers are named.
const NAMED: usize = 10;
/// The function that is tried, and for which permissions are asked.
const FUNCTION: &str = "doctor";

/// Everything, in the order in which it matters.
pub(super) async fn all(flags: &DoctorFlags) -> Vec<Check> {
    let mut checks = Vec::new();
    let name = flags.platform.name();
    if name == PlatformName::Local {
        checks.push(interpreter("python3", "functions in Python need it"));
        checks.push(interpreter("node", "functions in JavaScript need it"));
    }
    let inspected = flags.platform.inspect().await;
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
        if name != PlatformName::Docker {
            checks.push(clock(flags, endpoint).await);
        }
    }
    let platform = match flags.platform.connect().await {
        Ok(platform) => platform,
        Err(error) => {
            checks.push(failed("connection", format!("{error:#}")));
            return checks;
        }
    };
    checks.push(ok("connection", format!("to {}", platform.name())));
    checks.push(permissions(flags).await);
    if flags.deploy {
        checks.push(deploy(platform.clone()).await);
    }
    checks.push(leftovers(&*platform).await);
    let capabilities = platform.capabilities();
    checks.push(ok("runtimes", capabilities.runtimes.join(", ")));
    checks.push(ok("limits", limits(&capabilities)));
    checks.push(cost(flags));
    checks
}

fn check(name: &'static str, state: State, found: impl Into<String>) -> Check {
    Check { name, state, found: found.into(), permissions: Vec::new() }
}

fn ok(name: &'static str, found: impl Into<String>) -> Check {
    check(name, State::Ok, found)
}

fn warning(name: &'static str, found: impl Into<String>) -> Check {
    check(name, State::Warning, found)
}

fn failed(name: &'static str, found: impl Into<String>) -> Check {
    check(name, State::Error, found)
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

/// The permissions that are needed, and those that the provider says are missing.
async fn permissions(flags: &DoctorFlags) -> Check {
    let name = "permissions";
    match flags.platform.permissions(FUNCTION).await {
        Ok(Some(permissions)) => {
            let (state, found) = judged(&permissions);
            Check { permissions, ..check(name, state, found) }
        }
        Ok(None) => {
            let platform = flags.platform.name();
            ok(
                name,
                match platform {
                    PlatformName::Local => "none are needed on this machine",
                    PlatformName::Docker => "the daemon lets this user in, which is all",
                    PlatformName::Openfaas => {
                        "the gateway accepts the password, which permits everything"
                    }
                    PlatformName::Openwhisk => {
                        "the key is accepted, and opens everything in its namespace"
                    }
                    _ => "the platform accepts the credentials, and reports no permissions",
                },
            )
        }
        Err(error) => warning(name, format!("cannot be asked for: {error:#}")),
    }
}

/// The permissions that a run needs, with the names of those that are missing.
fn judged(permissions: &[Permission]) -> (State, String) {
    let named = |which: &dyn Fn(&Permission) -> bool| {
        let mut lines: Vec<String> = Vec::new();
        let mut last = "";
        for permission in permissions.iter().filter(|permission| which(permission)) {
            match lines.last_mut() {
                Some(line) if last == permission.purpose => {
                    line.push_str(", ");
                    line.push_str(&permission.name);
                }
                _ => lines.push(format!("to {}: {}", permission.purpose, permission.name)),
            }
            last = &permission.purpose;
        }
        lines
    };
    let required = permissions.iter().filter(|permission| permission.required).count();
    if permissions.iter().all(|permission| permission.granted.is_none()) {
        let mut lines = vec![
            "the provider does not say which are granted; --deploy tries them; a run needs:"
                .to_owned(),
        ];
        lines.extend(named(&|permission| permission.required));
        return (State::Warning, lines.join("\n"));
    }
    let missing = named(&|permission| permission.required && permission.is_missing());
    let optional = named(&|permission| !permission.required && permission.is_missing());
    let state = if missing.is_empty() { State::Ok } else { State::Error };
    let mut lines = match missing.is_empty() {
        true => vec![format!("all {required} that a run needs are granted")],
        false => vec!["missing, and needed by every run:".to_owned()],
    };
    lines.extend(missing);
    if !optional.is_empty() {
        lines.push("missing, and needed by some runs only:".to_owned());
        lines.extend(optional);
    }
    (state, lines.join("\n"))
}

async fn leftovers(platform: &dyn AsyncPlatform) -> Check {
    let mut deployments = match platform.list_deployments().await {
        Ok(deployments) => deployments,
        Err(error) => return failed("deployed", format!("cannot list functions: {error}")),
    };
    if deployments.is_empty() {
        return ok("deployed", "nothing of Falco");
    }
    deployments.sort_by(|one, other| one.name.cmp(&other.name));
    let mut lines: Vec<_> = deployments.iter().take(NAMED).map(described).collect();
    if let Some(more) = deployments.len().checked_sub(NAMED).filter(|more| *more > 0) {
        lines.push(format!("and {more} more; falco list shows all"));
    }
    match deployments.iter().filter(|deployment| Which::Orphaned.takes(deployment)).count() {
        0 => ok("deployed", lines.join("\n")),
        orphaned => {
            lines.push(format!(
                "of these, {orphaned} left behind, expired or by a process that has ended: falco cleanup removes them"
            ));
            warning("deployed", lines.join("\n"))
        }
    }
}

/// Deploys, calls and removes a function, and says which step is refused.
async fn deploy(platform: Arc<dyn AsyncPlatform>) -> Check {
    let now = SystemTime::now();
    let run = RunId::starting_at(now, std::process::id());
    let expires_at = now + Duration::from_secs(3_600);
    let function = Deployable::python(FUNCTION, "def main(args):\n    return {}\n");
    let function = function.with_name(format!("{FUNCTION}-{run}")).with_ownership(Ownership::new(
        run.clone(),
        falco_executors::owner(),
        expires_at,
    ));
    let attempt = async {
        let deployment = match platform.deploy(&function).await {
            Ok(deployment) => deployment,
            Err(error) => return Err(failed("trial", format!("cannot deploy: {error}"))),
        };
        let invocation = Invocation::new(run, FUNCTION, "0", Payload::empty());
        let called = platform.invoke(&deployment, &invocation).await;
        Ok((deployment, called))
    };
    let attempted = tokio::select! {
        attempted = attempt => attempted,
        () = interrupted() => Err(failed("trial", "interrupted")),
    };
    let (deployment, called) = match attempted {
        Ok((deployment, called)) => (deployment, Some(called)),
        Err(check) => match platform.fetch_deployment(&function.name).await {
            // What came of it is not left behind.
            Ok(partial) => return removed(&*platform, &partial).await.err().unwrap_or(check),
            Err(_) => return check,
        },
    };
    if let Err(check) = removed(&*platform, &deployment).await {
        return check;
    }
    match called {
        Some(Err(error)) => failed("trial", format!("cannot call: {error}")),
        Some(Ok(activation)) if activation.outcome.is_err() => {
            let error = activation.outcome.err().map(|error| error.to_string()).unwrap_or_default();
            failed("trial", format!("a function that does nothing fails: {error}"))
        }
        _ => ok("trial", "a function was deployed, called and removed"),
    }
}

async fn removed(platform: &dyn AsyncPlatform, deployment: &Deployment) -> Result<(), Check> {
    platform
        .remove(deployment)
        .await
        .map_err(|error| failed("trial", format!("cannot remove {}: {error}", deployment.name)))
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
        ("argument, submitted", capabilities.max_submit_payload.map(bytes)),
        ("result", capabilities.max_result.map(bytes)),
        ("code", capabilities.max_code.map(bytes)),
        ("memory", capabilities.memory_mib.map(bounds)),
        (
            "timeout up to",
            capabilities.timeout.map(|it| humantime::format_duration(it.max).to_string()),
        ),
        ("processor", capabilities.architecture.clone()),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn permission(name: &str, required: bool, granted: Option<bool>) -> Permission {
        Permission::new(name, "deploy").with_required(required).with_granted(granted)
    }

    #[test]
    fn a_required_permission_that_is_missing_keeps_a_run_from_starting() {
        let (state, found) = judged(&[
            permission("a", true, Some(true)),
            permission("b", true, Some(false)),
            permission("c", true, Some(false)),
            permission("d", false, Some(false)),
        ]);
        assert_eq!(state, State::Error);
        let lines: Vec<&str> = found.lines().collect();
        assert_eq!(lines[1], "to deploy: b, c");
        assert_eq!(lines[3], "to deploy: d");
    }

    #[test]
    fn permissions_that_cannot_be_checked_are_listed_as_needed() {
        let (state, found) = judged(&[permission("a", true, None), permission("b", false, None)]);
        assert_eq!(state, State::Warning);
        assert!(found.ends_with("a run needs:\nto deploy: a"), "{found}");
    }
}
