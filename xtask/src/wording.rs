//! Plain English: words that the lint refuses, and what to write instead, from `xtask/wording.txt`.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};

/// The rules.
const RULES: &str = "xtask/wording.txt";

/// Texts that are not ours, history that stays as it was written, and the examples of what not to write.
const FOREIGN: &[&str] = &[
    "falco-examples/data/",
    "/testdata/",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "xtask/src/wording.rs",
];

/// Checks every document and every Rust file that git tracks.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    let text = fs::read_to_string(root.join(RULES)).context(RULES)?;
    let rules = rules(&text)?;
    let mut found = Vec::new();
    for file in tracked(root)? {
        // A tracked file may be deleted in the working tree.
        let Ok(text) = fs::read_to_string(root.join(&file)) else { continue };
        for (number, line) in text.lines().enumerate() {
            let prose = if file.ends_with(".rs") {
                prose_of_code(line) + "\n" + &sentence(line)
            } else {
                line.to_owned()
            };
            for rule in rules.iter().filter(|rule| rule.is_broken_by(&prose)) {
                let (words, instead) = (&rule.words, &rule.instead);
                found.push(format!("{file}:{}: {words:?}: write {instead}", number + 1));
            }
        }
    }
    ensure!(found.is_empty(), "{} places:\n  {}", found.len(), found.join("\n  "));
    Ok(())
}

fn tracked(root: &Path) -> anyhow::Result<Vec<String>> {
    let list = ["ls-files", "*.md", "*.rs"];
    let output = Command::new("git").args(list).current_dir(root).output()?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let files = String::from_utf8(output.stdout)?;
    let is_ours = |file: &&str| !FOREIGN.iter().any(|foreign| file.contains(foreign));
    Ok(files.lines().filter(is_ours).map(str::to_owned).collect())
}

/// Words that must not stand in a line.
#[derive(Debug)]
struct Rule {
    words: String,
    instead: String,
    except: Vec<String>,
    /// Whether they are refused only where a doc comment's line begins with them.
    at_start: bool,
}

impl Rule {
    fn is_broken_by(&self, line: &str) -> bool {
        if self.at_start && !begins_a_sentence(line) {
            return false;
        }
        let mut line = line.to_lowercase();
        for phrase in &self.except {
            line = line.replace(phrase, " ");
        }
        let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
        if self.at_start {
            let after = line.get(DOC_MARK..).and_then(|text| text.strip_prefix(&self.words));
            return after.is_some_and(|after| !after.starts_with(is_word));
        }
        line.match_indices(&self.words).any(|(at, words)| {
            let (before, after) = (&line[..at], &line[at + words.len()..]);
            !before.ends_with(is_word) && !after.starts_with(is_word)
        })
    }
}

/// The length of the rest of the mark of a doc comment, without its first slash.
const DOC_MARK: usize = 3;

/// Whether a line of prose is one of a doc comment that begins with a capital letter.
fn begins_a_sentence(line: &str) -> bool {
    let doc = ["// ", "/! "].iter().find_map(|mark| line.strip_prefix(mark));
    doc.is_some_and(|text| text.starts_with(char::is_uppercase))
}

fn rules(text: &str) -> anyhow::Result<Vec<Rule>> {
    let is_rule = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
    let read = |line: &str| {
        let mut parts = line.split('|').map(str::trim);
        let (Some(words), Some(instead), Some(except), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            bail!("{RULES}: expected `words | instead | except`, got {line:?}");
        };
        let at_start = words.starts_with('^');
        let words = words.trim_start_matches('^');
        let except = except.split(',').map(|phrase| phrase.trim().to_lowercase());
        Ok(Rule {
            words: words.to_lowercase(),
            instead: instead.to_owned(),
            except: except.filter(|phrase| !phrase.is_empty()).collect(),
            at_start,
        })
    };
    text.lines().filter(is_rule).map(read).collect()
}

/// The comment and the texts of a line of Rust: names are code.
fn prose_of_code(line: &str) -> String {
    let mut prose = String::new();
    let mut rest = line;
    let mut in_text = false;
    while let Some(at) = rest.find(['"', '/', '\\']) {
        if in_text {
            prose.push_str(&rest[..at]);
        }
        let (mark, after) = rest[at..].split_at(1);
        match (mark, in_text) {
            ("\"", _) => {
                in_text = !in_text;
                prose.push('\n');
                rest = after;
            }
            // What is escaped ends no text.
            ("\\", true) => rest = after.get(1..).unwrap_or_default(),
            ("/", false) if after.starts_with('/') => return prose + after,
            (mark, true) => {
                prose.push_str(mark);
                rest = after;
            }
            _ => rest = after,
        }
    }
    if in_text { prose + rest } else { prose }
}

/// The words of a function's name that is a sentence, as those of tests are.
fn sentence(line: &str) -> String {
    const SHORTEST: usize = 4;
    let line = line.trim_start();
    let line = line.strip_prefix("async ").unwrap_or(line);
    let name = line.strip_prefix("fn ").and_then(|rest| rest.split(['(', '<']).next());
    let words: Vec<&str> = name.unwrap_or_default().split('_').collect();
    if words.len() < SHORTEST { String::new() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(line: &str) -> Vec<String> {
        let rules = rules(&fs::read_to_string(crate::shell::root().join(RULES)).unwrap()).unwrap();
        rules.into_iter().filter(|rule| rule.is_broken_by(line)).map(|rule| rule.words).collect()
    }

    #[test]
    fn words_are_found_whole_and_exceptions_may_stand() {
        assert_eq!(broken("this is no name"), ["is no"]);
        assert!(broken("There is no name, and it is no longer one; this is not").is_empty());
        assert_eq!(broken("A Time-out"), ["time-out"]);
        assert!(broken("504 Gateway Time-out").is_empty());
        assert_eq!(broken("It tells."), ["tells"]);
        assert!(broken("an intellect, a foretells").is_empty());
    }

    #[test]
    fn a_doc_line_does_not_begin_with_what_or_who() {
        for line in ["/// What it costs.", "    //! Who calls.", "/// Whose it is."] {
            assert_eq!(broken(&prose_of_code(line)).len(), 1, "{line}");
        }
        for line in [
            "/// The cost: what it takes.",
            "// What is free is taken.",
            "/// Whatever",
            "/// what goes on.",
        ] {
            assert!(broken(&prose_of_code(line)).is_empty(), "{line}");
        }
    }

    #[test]
    fn names_of_tests_are_sentences() {
        let name = "the_name_of_it";
        let line = format!("    async fn {name}_is_no_name() {{");
        assert_eq!(broken(&sentence(&line)), ["is no"]);
        assert_eq!(sentence("fn tell_it(it: u8) {"), "");
        assert_eq!(sentence("let it = a_call_that_tells();"), "");
    }

    #[test]
    fn names_in_code_are_not_prose() {
        assert_eq!(prose_of_code("let told = tell(1);"), "");
        assert_eq!(
            prose_of_code("let url = \"http://host\"; // it tells"),
            "\nhttp://host\n/ it tells"
        );
        assert_eq!(prose_of_code(r#"f("a \" tells"); tell()"#), "\na  tells\n");
    }
}
