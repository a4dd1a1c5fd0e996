//! `falco completions` and `falco man`: what a shell and its users want to know of the command.

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use falco_cli::print;

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
}

/// Writes the manual page
///
/// For example:
///
///   falco man > ~/.local/share/man/man1/falco.1
///   falco man map | man -l -
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ManFlags {
    /// The command to describe [default: all of them in short]
    command: Option<String>,
}

/// Writes the script.
pub(crate) fn completions(flags: &CompletionsFlags) -> anyhow::Result<bool> {
    let mut script = Vec::new();
    clap_complete::generate(flags.shell, &mut Falco::command(), "falco", &mut script);
    print(String::from_utf8_lossy(&script))?;
    Ok(true)
}

/// Writes the page.
pub(crate) fn man(flags: &ManFlags) -> anyhow::Result<bool> {
    let mut falco = Falco::command();
    falco.build();
    let described = match &flags.command {
        None => falco,
        Some(name) => match falco.find_subcommand(name) {
            Some(command) => command.clone(),
            None => anyhow::bail!("there is no command {name:?}; falco --help lists them"),
        },
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(described).render(&mut page)?;
    print(String::from_utf8_lossy(&page))?;
    Ok(true)
}
