//! `falco invoke` and `falco call`: one call, and all that is known of it.

use std::fmt::Write as _;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Arg, Args};
use falco_cli::{Launch, RunFlags, print, say};
use falco_core::{Activation, Completion, Deployment, Input, Payload, Platform};
use falco_executors::report::Failure;
use falco_executors::session::{Session, StageSpec};
use futures_util::{StreamExt, stream};
use serde_json::{Map, Value, json};

use super::function::FunctionFile;

/// How often a log that is not there yet is asked for, and the pause between.
const LOOKS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(300);

/// Deploys a function, calls it once, shows the result, the log, the times and the cost, and removes it
///
/// The result goes to stdout, everything else to stderr.
///
/// For example:
///
///   falco invoke -f hello.py '{"name": "Ada"}'
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct InvokeFlags {
    #[command(flatten)]
    function: FunctionFile,

    /// The argument, a JSON object; - reads it from stdin.
    #[arg(default_value = "{}")]
    argument: String,

    #[command(flatten)]
    flags: RunFlags,
}

/// Calls a function that is deployed, and shows the result, the log, the times and the cost
///
/// For example:
///
///   falco deploy -f hello.py
///   falco call hello '{"name": "Ada"}'
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, mut_args(without_deployment))]
pub(crate) struct CallFlags {
    /// The function's name, as `falco list` shows it.
    name: String,

    /// The argument, a JSON object; - reads it from stdin.
    #[arg(default_value = "{}")]
    argument: String,

    #[command(flatten)]
    flags: RunFlags,
}

/// Hides the flags of a deployment, which [`call`] refuses.
fn without_deployment(flag: Arg) -> Arg {
    let is_of_deployment = flag.get_help_heading() == Some("Function");
    flag.hide(is_of_deployment)
}

/// Deploys, calls and removes a function; returns whether it succeeded.
pub(crate) async fn invoke(flags: InvokeFlags) -> anyhow::Result<bool> {
    let function = flags.function.load(&flags.flags.function)?;
    let argument = read_argument(&flags.argument)?;
    let launch = Launch::connect(&flags.flags).await?;
    let function = launch.with_packages(function).await?;
    let session = Session::start(launch.options())?;
    let called = match session.deploy(&function).await {
        Ok(deployment) => call_once(&launch, &session, &deployment, argument).await,
        Err(error) => Err(error.into()),
    };
    if flags.flags.function.keep {
        session.add_failed_logs(&mut []).await;
        session.finish();
        let name = session.deployments().first().map(|kept| kept.name.clone());
        say(format_args!("call it again with: falco call {}", name.unwrap_or_default()));
        return show(&flags.flags, &called?);
    }
    let leftovers = session.remove_all().await;
    Ok(show(&flags.flags, &called?)? && leftovers.is_empty())
}

/// Calls a function that is deployed; returns whether it succeeded.
pub(crate) async fn call(flags: CallFlags) -> anyhow::Result<bool> {
    let refused = flags.flags.function.named();
    anyhow::ensure!(
        refused.is_empty(),
        "falco call deploys nothing, so that {} cannot take effect: falco deploy takes such flags",
        refused.join(" and ")
    );
    let argument = read_argument(&flags.argument)?;
    let launch = Launch::connect(&flags.flags).await?;
    let session = Session::start(launch.options().with_kept_deployments(true))?;
    let deployment = Arc::new(session.platform().fetch_deployment(&flags.name).await?);
    let called = call_once(&launch, &session, &deployment, argument).await;
    session.add_failed_logs(&mut []).await;
    session.finish();
    show(&flags.flags, &called?)
}

fn read_argument(argument: &str) -> anyhow::Result<Payload> {
    let mut text = argument.to_owned();
    if argument == "-" {
        text.clear();
        std::io::stdin().read_to_string(&mut text).context("cannot read stdin")?;
    }
    let payload = Payload::from_bytes(text).context("invalid argument")?;
    payload.check_argument(None).context("invalid argument")?;
    Ok(payload)
}

/// The outcome of a call.
struct Called {
    completion: Completion,
    log: Vec<String>,
}

async fn call_once(
    launch: &Launch<'_>,
    session: &Session,
    deployment: &Arc<Deployment>,
    argument: Payload,
) -> anyhow::Result<Called> {
    let inputs = stream::iter([Ok(Input::numbered(0, argument))]);
    let spec = StageSpec::new(deployment.name.as_str());
    let mut running = session.execute(launch.strategy(), spec, deployment, inputs);
    let completion = running.next().await;
    let report = running.finish().await;
    let Some(completion) = completion else {
        return Err(match report.error {
            Some(error) => error.into(),
            None => anyhow::anyhow!("the call has no outcome"),
        });
    };
    let log = match completion.outcome.activation() {
        Some(activation) => read_log(session, deployment, activation).await,
        None => Vec::new(),
    };
    Ok(Called { completion, log })
}

/// The lines of a log, which some platforms store late. One that cannot be read fails nothing.
async fn read_log(session: &Session, deployment: &Deployment, of: &Activation) -> Vec<String> {
    let platform = session.platform();
    if !platform.capabilities().logs {
        return Vec::new();
    }
    for _ in 0..LOOKS {
        match platform.activation_log(deployment, std::slice::from_ref(&of.id)).await {
            Ok(logs) if logs.is_empty() => tokio::time::sleep(PAUSE).await,
            Ok(logs) => {
                return logs.into_iter().flat_map(|log| log.lines).map(|line| line.text).collect();
            }
            Err(error) => {
                say(format_args!("the log cannot be read: {error}"));
                break;
            }
        }
    }
    Vec::new()
}

fn show(flags: &RunFlags, called: &Called) -> anyhow::Result<bool> {
    let Called { completion, log } = called;
    let result = completion.result();
    let failure = Failure::of(completion);
    if flags.output.json {
        let error = failure.as_ref().map(|failure| {
            json!({"kind": failure.kind, "message": failure.reason, "trace": failure.trace})
        });
        let shown = json!({
            "result": result, "error": error, "log": log, "attempts": completion.attempts,
            "times": times(completion), "cost_usd": completion.cost.map(|cost| cost.0),
            "activation": completion.outcome.activation().map(|activation| &activation.id),
        });
        print(format_args!("{shown}\n"))?;
        return Ok(failure.is_none());
    }
    if !flags.output.quiet {
        for line in log {
            say(format_args!("log: {line}"));
        }
    }
    match &failure {
        Some(failure) => say(format_args!("error: {failure}\n{}", failure.details().unwrap_or(""))),
        None if !flags.output.quiet => say(summary(completion)),
        None => {}
    }
    if let (Some(result), false) = (result, flags.output.results_to_stdout()) {
        print(format_args!("{}\n", result.as_str()))?;
    }
    Ok(failure.is_none())
}

/// The times that are known, in milliseconds.
fn times(completion: &Completion) -> Map<String, Value> {
    let activation = completion.outcome.activation();
    let known = [
        ("total_ms", Some(completion.latency)),
        ("wait_ms", activation.and_then(|activation| activation.wait)),
        ("init_ms", activation.and_then(|activation| activation.init)),
        ("execution_ms", activation.and_then(|activation| activation.execution)),
        ("billed_ms", activation.and_then(|activation| activation.billed)),
    ];
    let known = known.into_iter().filter_map(|(name, time)| Some((name, time?)));
    known.map(|(name, time)| (name.to_owned(), json!(time.as_micros() as f64 / 1e3))).collect()
}

fn summary(completion: &Completion) -> String {
    let mut line = String::from("succeeded");
    for (name, time) in times(completion) {
        let name = name.trim_end_matches("_ms");
        // Writing to a string does not fail.
        let _ = write!(line, ", {name} {:.1} ms", time.as_f64().unwrap_or_default());
    }
    if let Some(cost) = completion.cost {
        let _ = write!(line, ", cost {:.9} USD", cost.0);
    }
    line
}
