//! `falco deploy`, `list`, `remove` and `logs`: functions that stay on a platform.

use std::time::{Duration, SystemTime};

use anyhow::{Context, bail, ensure};
use clap::Args;
use falco_cli::flags::{PlatformFlags, ShowFlags};
use falco_cli::{Launch, RunFlags, log, print, say};
use falco_core::{ActivationId, AsyncPlatform, Deployment, Ownership, Platform, RunId};
use serde_json::json;

use super::function::FunctionFile;

/// Deploys a function that stays until it is removed or expires
///
/// A function of the same name is updated.
///
/// For example:
///
///   falco deploy -f hello.py --expires-after 7d
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct DeployFlags {
    #[command(flatten)]
    function: FunctionFile,

    /// Its name on the platform [default: that of the file]
    #[arg(long, value_name = "NAME", help_heading = "Function")]
    name: Option<String>,

    /// How long it is needed; then `falco cleanup` removes it.
    #[arg(long, value_name = "TIME", value_parser = falco_cli::flags::duration, default_value = "30d", help_heading = "Function")]
    expires_after: Duration,

    #[command(flatten)]
    flags: RunFlags,
}

/// Lists the functions of Falco on a platform
///
/// For example:
///
///   falco list --platform aws
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ListFlags {
    #[command(flatten)]
    platform: PlatformFlags,

    #[command(flatten)]
    output: ShowFlags,
}

/// Removes functions by their names
///
/// For example:
///
///   falco remove hello
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct RemoveFlags {
    /// The functions' names, as `falco list` shows them.
    #[arg(required = true)]
    names: Vec<String>,

    #[command(flatten)]
    platform: PlatformFlags,

    #[command(flatten)]
    output: ShowFlags,
}

/// Shows what activations of a function have printed
///
/// For example:
///
///   falco logs hello 3f0c5f..
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct LogsFlags {
    /// The function's name, as `falco list` shows it.
    name: String,

    /// The activations, as `falco call --json` and the lines of --results name them.
    #[arg(required = true)]
    activations: Vec<String>,

    #[command(flatten)]
    platform: PlatformFlags,

    #[command(flatten)]
    output: ShowFlags,
}

/// Deploys a function under its own name.
pub(crate) async fn deploy(flags: DeployFlags) -> anyhow::Result<bool> {
    let function = flags.function.load(&flags.flags.function)?;
    let function = match &flags.name {
        Some(name) => function.with_name(name),
        None => function,
    };
    let now = SystemTime::now();
    let expires_at = now.checked_add(flags.expires_after);
    let expires_at = expires_at.context("--expires-after is beyond what a clock shows")?;
    let run = RunId::starting_at(now, std::process::id());
    let owner = falco_executors::owner();
    let function = function.with_ownership(Ownership::new(run, owner, expires_at));
    function.validate()?;
    let launch = Launch::connect(&flags.flags).await?;
    let function = flags.function.with_packages(function, &launch).await?;
    let deployment = launch.platform().deploy(&function).await?;
    match flags.flags.output.json {
        true => print(format_args!("{}\n", json!(deployment)))?,
        false => print(format_args!("{}\n", deployment.name))?,
    }
    Ok(true)
}

/// Lists what is deployed.
pub(crate) async fn list(flags: ListFlags) -> anyhow::Result<bool> {
    log::start(flags.output.log.as_ref())?;
    let platform = flags.platform.connect().await?;
    let mut deployments = platform.list_deployments().await?;
    deployments.sort_by(|one, other| one.name.cmp(&other.name));
    if flags.output.json {
        print(format_args!("{}\n", json!(deployments)))?;
        return Ok(true);
    }
    if deployments.is_empty() && !flags.output.quiet {
        say(format_args!("nothing of Falco is deployed on {}", platform.name()));
    }
    let lines: String = deployments.iter().map(|it| format!("{}\n", described(it))).collect();
    print(lines)?;
    Ok(true)
}

/// Removes functions; the others go on when one cannot be removed.
pub(crate) async fn remove(flags: RemoveFlags) -> anyhow::Result<bool> {
    log::start(flags.output.log.as_ref())?;
    let platform = flags.platform.connect().await?;
    let mut all = true;
    for name in &flags.names {
        if let Err(error) = remove_one(&*platform, name).await {
            say(format_args!("error: {error:#}"));
            all = false;
        } else if !flags.output.quiet {
            say(format_args!("removed {name}"));
        }
    }
    Ok(all)
}

async fn remove_one(platform: &dyn AsyncPlatform, name: &str) -> falco_core::Result<()> {
    let deployment = platform.fetch_deployment(name).await?;
    platform.remove(&deployment).await
}

/// Shows logs.
pub(crate) async fn logs(flags: LogsFlags) -> anyhow::Result<bool> {
    log::start(flags.output.log.as_ref())?;
    let platform = flags.platform.connect().await?;
    if !platform.capabilities().logs {
        bail!("the platform {:?} keeps no logs", platform.name());
    }
    let deployment = platform.fetch_deployment(&flags.name).await?;
    let ids: Vec<ActivationId> =
        flags.activations.iter().map(|id| ActivationId::from(id.as_str())).collect();
    let logs = platform.activation_log(&deployment, &ids).await?;
    for log in &logs {
        if flags.output.json {
            print(format_args!("{}\n", json!(log)))?;
            continue;
        }
        for line in &log.lines {
            match ids.len() {
                1 => print(format_args!("{}\n", line.text))?,
                _ => print(format_args!("{}: {}\n", log.id, line.text))?,
            }
        }
    }
    let missing = ids.iter().find(|id| logs.iter().all(|log| log.id != **id));
    if let Some(id) = missing {
        ensure!(ids.len() > 1 || !logs.is_empty(), "there is no log of {id}, or not yet");
        say(format_args!("there is no log of {id}, or not yet"));
    }
    Ok(missing.is_none())
}

/// A deployment in one line: name, runtime, size, owner, age and expiry.
pub(crate) fn described(deployment: &Deployment) -> String {
    let mut line = format!("{}  {}", deployment.name, deployment.runtime);
    if let Some(memory) = deployment.scaling.memory_mib {
        line += &format!("  {memory} MiB");
    }
    if let Some(Ownership { run, owner, expires_at, .. }) = &deployment.ownership {
        line += &format!("  {owner}  run {run}");
        let now = SystemTime::now();
        if let Some(age) = run.started_at().and_then(|start| now.duration_since(start).ok()) {
            line += &format!("  {} old", rounded(age));
        }
        line += &match expires_at.duration_since(now) {
            Ok(left) => format!("  expires in {}", rounded(left)),
            Err(_) => "  expired".to_owned(),
        };
    }
    line
}

/// A span of time in its two largest units.
fn rounded(time: Duration) -> String {
    let text = humantime::format_duration(Duration::from_secs(time.as_secs())).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}
