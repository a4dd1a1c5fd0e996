//! `falco deploy`, `list`, `remove` and `logs`: functions that stay on a platform.

use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use clap::Args;
use falco_cli::flags::{PlatformFlags, ShowFlags, count};
use falco_cli::{Launch, RunFlags, interrupted, log, print, say};
use falco_core::{
    ActivationId, ActivationLog, AsyncPlatform, Deployment, ErrorKind, Ownership, Platform, RunId,
};
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

/// Shows what a function has printed
///
/// Without ids it shows the newest activations, on platforms that list them: AWS, Google and OpenWhisk. This machine and
/// Docker keep logs only as long as the process runs that called the function: `falco call` shows them.
///
/// For example:
///
///   falco logs hello --platform aws --last 3
///   falco logs hello 3f0c5f.. --platform aws
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct LogsFlags {
    /// The function's name, as `falco list` shows it.
    name: String,

    /// The activations, as `falco call --json` and the lines of --results name them [default: the newest]
    activations: Vec<String>,

    /// How many of the newest activations are shown.
    #[arg(long, value_name = "N", default_value = "10", value_parser = count::<NonZeroUsize>, conflicts_with = "activations")]
    last: NonZeroUsize,

    /// How far back to look for them, such as 2h.
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = falco_cli::flags::duration, conflicts_with = "activations")]
    since: Duration,

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
    let function = launch.with_packages(function).await?;
    let deployment = tokio::select! {
        deployment = launch.platform().deploy(&function) => deployment?,
        () = interrupted() => {
            // An older function of that name may be there, which is not ours to remove.
            say(format_args!("interrupted; falco remove {} removes what is there", function.name));
            return Ok(false);
        }
    };
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
    let (mut removed, mut left) = (Vec::new(), Vec::new());
    for name in &flags.names {
        if let Err(error) = remove_one(&*platform, name).await {
            say(format_args!("error: {error:#}"));
            left.push(json!({"name": name, "error": format!("{error:#}")}));
        } else {
            if !flags.output.quiet && !flags.output.json {
                say(format_args!("removed {name}"));
            }
            removed.push(name);
        }
    }
    if flags.output.json {
        print(format_args!("{}\n", json!({"removed": removed, "left": left})))?;
    }
    Ok(left.is_empty())
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
    if flags.activations.is_empty() {
        return newest_logs(&flags, &*platform, &deployment).await;
    }
    let ids: Vec<ActivationId> =
        flags.activations.iter().map(|id| ActivationId::from(id.as_str())).collect();
    let logs = platform.activation_log(&deployment, &ids).await?;
    show_logs(&flags, &logs, ids.len() == 1)?;
    let mut all = true;
    for id in ids.iter().filter(|id| logs.iter().all(|log| log.id != **id)) {
        say(format_args!("there is no log of {id}, or not yet"));
        all = false;
    }
    Ok(all)
}

/// Shows the logs of the newest activations. That there are none is not an error.
async fn newest_logs(
    flags: &LogsFlags,
    platform: &dyn AsyncPlatform,
    deployment: &Deployment,
) -> anyhow::Result<bool> {
    let since = SystemTime::now().checked_sub(flags.since).unwrap_or(SystemTime::UNIX_EPOCH);
    let logs = match platform.recent_logs(deployment, since, flags.last.get()).await {
        Err(error) if error.kind() == ErrorKind::Unsupported => bail!(
            "the platform {:?} keeps logs only as long as the process runs that called the function: falco call {} \
             shows them",
            platform.name(),
            flags.name
        ),
        logs => logs?,
    };
    show_logs(flags, &logs, false)?;
    if logs.is_empty() && !flags.output.quiet {
        say(format_args!("nothing was logged in the last {}, or not yet", rounded(flags.since)));
    }
    Ok(true)
}

/// Prints logs: bare lines of a single one that was asked for, else with the activation in front.
fn show_logs(flags: &LogsFlags, logs: &[ActivationLog], bare: bool) -> anyhow::Result<()> {
    for log in logs {
        if flags.output.json {
            print(format_args!("{}\n", json!(log)))?;
            continue;
        }
        for line in &log.lines {
            match bare {
                true => print(format_args!("{}\n", line.text))?,
                false => print(format_args!("{}: {}\n", log.id, line.text))?,
            }
        }
    }
    Ok(())
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
