//! The changelog: each line stands once and belongs to an entry. Merges have doubled lines and cut them off.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};

const FILE: &str = "CHANGELOG.md";

/// Shorter lines, such as the last one of an entry, may be the same by chance.
const LONG_ENOUGH: usize = 30;

/// Checks the changelog of the workspace.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    let text = fs::read_to_string(root.join(FILE)).context(FILE)?;
    let wrong = wrong(&text);
    ensure!(wrong.is_empty(), "{FILE}:\n  {}", wrong.join("\n  "));
    Ok(())
}

fn wrong(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    // A line that goes on with a small letter follows one whose sentence has not ended.
    let mut ended = true;
    for (number, line) in text.lines().enumerate() {
        let number = number + 1;
        if line.len() >= LONG_ENOUGH && !seen.insert(line) {
            wrong.push(format!("line {number} repeats an earlier line: {line:?}"));
        }
        let begins_small = |rest: &str| rest.starts_with(char::is_lowercase);
        if line.strip_prefix("  ").is_some_and(begins_small) && ended {
            wrong.push(format!("line {number} continues a sentence that has ended: {line:?}"));
        }
        ended = line.ends_with('.') || line.is_empty();
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "# Changelog\n\n- One entry that says something, and\n  goes on. It has two sentences.\n- Another.\n";

    #[test]
    fn the_changelog_of_this_workspace_is_sound() {
        check(&crate::shell::root()).unwrap();
    }

    #[test]
    fn repeated_lines_and_lines_without_an_entry_are_found() {
        assert_eq!(wrong(SOUND), [""; 0]);
        let twice = format!("{SOUND}- One entry that says something, and\n  goes on otherwise.\n");
        assert_eq!(wrong(&twice).len(), 1, "{:?}", wrong(&twice));
        let cut = format!("{SOUND}  attribute of an entry that is elsewhere.\n");
        assert_eq!(wrong(&cut).len(), 1, "{:?}", wrong(&cut));
    }
}
