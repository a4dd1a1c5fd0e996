//! `falco completions` and `falco man`: what a shell and its users want to know of the command.

use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use falco_cli::flags::ShowFlags;
use falco_cli::print;
use serde_json::{Value, json};

use super::Falco;

/// Writes a script that completes commands and flags in a shell
///
/// For example:
///
///   falco completions bash > ~/.local/share/bash-completion/completions/falco
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct CompletionsFlags {
    /// The shell.
    shell: Shell,

    #[command(flatten)]
    output: ShowFlags,
}

/// Writes the manual page
///
/// For example:
///
///   falco man > ~/.local/share/man/man1/falco.1
///   falco man map | man -l -
///   falco man runs show --json
///
/// With --json it writes the names, the flags and the commands instead, for other tools.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ManFlags {
    /// The command to describe, such as map or runs show [default: all of them in short]
    command: Vec<String>,

    #[command(flatten)]
    output: ShowFlags,
}

/// Writes the script.
pub(crate) fn completions(flags: &CompletionsFlags) -> anyhow::Result<bool> {
    let mut script = Vec::new();
    clap_complete::generate(flags.shell, &mut Falco::command(), "falco", &mut script);
    let script = String::from_utf8_lossy(&script);
    match flags.output.json {
        true => {
            let shell = flags.shell.to_string();
            print(format_args!("{}\n", json!({"shell": shell, "script": script})))?;
        }
        false => print(script)?,
    }
    Ok(true)
}

/// Writes the page.
pub(crate) fn man(flags: &ManFlags) -> anyhow::Result<bool> {
    let mut falco = Falco::command();
    falco.build();
    let mut described = &falco;
    for name in &flags.command {
        let found = described.find_subcommand(name);
        described = found.with_context(|| {
            let of = described.get_bin_name().unwrap_or("falco");
            format!("there is no command {name:?}; {of} --help lists them")
        })?;
    }
    if flags.output.json {
        print(format_args!("{}\n", outline(described)))?;
        return Ok(true);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(described.clone()).render(&mut page)?;
    print(String::from_utf8_lossy(&page))?;
    Ok(true)
}

/// The name of a command, its flags, and the commands below it.
fn outline(command: &clap::Command) -> Value {
    let text = |text: Option<&clap::builder::StyledStr>| text.map(ToString::to_string);
    let flags = command.get_arguments().filter(|flag| !flag.is_hide_set()).map(|flag| {
        json!({
            "name": flag.get_id().as_str(), "long": flag.get_long(), "short": flag.get_short(),
            "takes_value": flag.get_action().takes_values(), "required": flag.is_required_set(),
            "about": text(flag.get_help()),
        })
    });
    let below = command.get_subcommands().filter(|below| below.get_name() != "help").map(outline);
    json!({
        "name": command.get_name(), "about": text(command.get_about()),
        "flags": flags.collect::<Vec<_>>(), "commands": below.collect::<Vec<_>>(),
    })
}
