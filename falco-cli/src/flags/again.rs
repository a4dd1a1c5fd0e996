//! The command line that goes on with a run: that of the process before, without what says which run it is and without
//! secrets.

use std::path::PathBuf;

use falco_journal::RunCommand;

/// Flags with a value that were chosen for one process.
const OF_THE_PROCESS: [&str; 3] = ["--resume", "--rerun", "--on-stop"];
/// Flags whose value others must not read, in a log or in a journal.
const SECRET: [&str; 2] = ["--auth", "--token"];

/// The command that started this process, to be recorded. Secrets are left out, so that they have to come from the
/// environment the next time. `None` where it cannot be given again as text.
pub(crate) fn this_command() -> Option<RunCommand> {
    let arguments: Option<Vec<String>> =
        std::env::args_os().skip(1).map(|argument| argument.into_string().ok()).collect();
    let mut command = RunCommand::new(std::env::current_exe().ok()?, std::env::current_dir().ok()?);
    for argument in again(arguments?.into_iter(), None) {
        // The journal is found by its directory, which may be named otherwise.
        if !argument.starts_with("--journal=") {
            command = command.with_argument(argument);
        }
    }
    Some(command)
}

/// The command line that goes on with `run`, as a shell takes it. Secrets are shown as `***`.
pub(crate) fn resuming(mut arguments: impl Iterator<Item = String>, run: &str) -> String {
    let program = arguments.next().unwrap_or_default();
    let again = again(arguments, Some("***"));
    let last = ["--resume".to_owned(), run.to_owned()];
    let words: Vec<_> =
        std::iter::once(program).chain(again).chain(last).map(|word| quoted(&word)).collect();
    words.join(" ")
}

/// The arguments without those that say which run it is; `mask` stands for secrets, or they are left out.
fn again(mut arguments: impl Iterator<Item = String>, mask: Option<&str>) -> Vec<String> {
    let mut words = Vec::new();
    while let Some(argument) = arguments.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (argument.as_str(), None),
        };
        if name == "--take-over" || argument == "--journal" {
            continue;
        }
        if OF_THE_PROCESS.contains(&name) {
            if value.is_none() {
                drop(arguments.next());
            }
        } else if SECRET.contains(&name) {
            if value.is_none() {
                drop(arguments.next());
            }
            words.extend(mask.map(|mask| format!("{name}={mask}")));
        } else if name == "--env" {
            let variable = match value {
                Some(_) => argument.split_once('=').map(|(_, variable)| variable.to_owned()),
                None => arguments.next(),
            };
            // Without its value it is taken from the environment.
            let name = variable.map(|variable| match variable.split_once('=') {
                Some((name, _)) => name.to_owned(),
                None => variable,
            });
            words.extend(name.map(|name| format!("--env={name}")));
        } else {
            words.push(argument);
        }
    }
    words
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:@,+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The name of this program, by which its runs are listed.
pub(crate) fn program() -> String {
    let path = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> impl Iterator<Item = String> {
        line.split(' ').map(str::to_owned)
    }

    #[test]
    fn the_command_to_go_on_is_the_same_one_with_the_run_in_it() {
        for (line, expected) in [
            ("hello --journal Ada", "hello Ada --resume 6553f100-0000beef"),
            ("hello --journal=/x Ada", "hello --journal=/x Ada --resume 6553f100-0000beef"),
            (
                "hello --resume last --rerun failed --memory 512",
                "hello --memory 512 --resume 6553f100-0000beef",
            ),
            ("hello --on-stop=remove --take-over", "hello --resume 6553f100-0000beef"),
            ("hello --journal it's", r"hello 'it'\''s' --resume 6553f100-0000beef"),
        ] {
            assert_eq!(resuming(words(line), "6553f100-0000beef"), expected);
        }
    }

    #[test]
    fn secrets_are_neither_shown_nor_recorded() {
        for line in [
            "f --auth marked:secret x",
            "f --auth=marked:secret x",
            "f --token marked:secret x",
            "f --env KEY=marked:secret x",
            "f --env=KEY=marked:secret x",
        ] {
            let shown = resuming(words(line), "6553f100-0000beef");
            assert!(!shown.contains("marked") && shown.contains(" x "), "{shown}");
            let recorded = again(words(line).skip(1), None);
            assert!(!format!("{recorded:?}").contains("marked"), "{recorded:?}");
            assert_eq!(recorded.last().map(String::as_str), Some("x"));
            assert_eq!(recorded.len(), if line.contains("KEY") { 2 } else { 1 });
        }
    }
}
