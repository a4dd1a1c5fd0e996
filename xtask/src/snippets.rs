//! The code in the documents is code of the crates: each block names its file, and has to be found there.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail, ensure};

/// The documents, from the workspace's root.
const DOCUMENTS: &[&str] = &["docs/add-a-platform.md", "docs/architecture.md", "CONTRIBUTING.md"];

/// The languages whose blocks have to be found in a file; other blocks are commands, tables and output.
const LANGUAGES: &[&str] = &["rust", "python", "toml"];

/// Checks every document.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    for document in DOCUMENTS {
        let path = root.join(document);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let folder = path.parent().unwrap_or(root);
        for snippet in snippets(&text).with_context(|| (*document).to_owned())? {
            let source = folder.join(&snippet.file);
            let code = fs::read_to_string(&source).with_context(|| source.display().to_string())?;
            ensure!(
                snippet.stands_in(&code),
                "{document}: line {}: this code does not stand in {}:\n{}",
                snippet.line,
                snippet.file,
                snippet.code.join("\n"),
            );
        }
    }
    Ok(())
}

/// A block of code in a document.
#[derive(Debug)]
struct Snippet<'a> {
    /// Where it begins, from 1.
    line: usize,
    /// The file that it is taken from, from the document's folder.
    file: String,
    code: Vec<&'a str>,
}

impl Snippet<'_> {
    /// Whether the lines follow each other in `source`, whatever their indentation.
    fn stands_in(&self, source: &str) -> bool {
        let wanted: Vec<_> = self.code.iter().map(|line| line.trim()).collect();
        let lines: Vec<_> = source.lines().map(str::trim).collect();
        lines.windows(wanted.len().max(1)).any(|window| window == wanted)
    }
}

fn snippets(document: &str) -> anyhow::Result<Vec<Snippet<'_>>> {
    let mut found = Vec::new();
    let mut file = None;
    let mut lines = document.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let code = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```");
            let code: Vec<_> = code.collect();
            match (LANGUAGES.contains(&language), file.take()) {
                (true, Some(file)) => found.push(Snippet { line: at + 1, file, code }),
                (true, None) => bail!("line {}: this {language} names no file", at + 1),
                (false, _) => {}
            }
        } else if let Some(name) = line.strip_prefix("<!-- ") {
            file = name.strip_suffix(" -->").map(str::to_owned);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "Text.\n\n<!-- src/a.rs -->\n```rust\nlet a = 1;\nlet b = 2;\n```\n\n\
                            ```text\nanything\n```\n";

    #[test]
    fn a_block_is_looked_for_in_its_file_whatever_its_indentation() {
        let found = snippets(DOCUMENT).unwrap();
        assert_eq!((found.len(), found[0].file.as_str(), found[0].line), (1, "src/a.rs", 4));
        assert!(found[0].stands_in("fn f() {\n    let a = 1;\n    let b = 2;\n}\n"));
        assert!(!found[0].stands_in("let a = 1;\nlet c = 0;\nlet b = 2;\n"));
        assert!(!found[0].stands_in("let a = 1;\n"));
    }

    #[test]
    fn code_that_names_no_file_is_refused() {
        let error = snippets("Text.\n```rust\nlet a = 1;\n```\n").unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }

    #[test]
    fn the_documents_of_this_workspace_show_code_that_is_there() {
        check(&crate::shell::root()).unwrap();
        let walk = fs::read_to_string(crate::shell::root().join(DOCUMENTS[0])).unwrap();
        assert!(snippets(&walk).unwrap().len() > 8, "the walk shows its code");
    }
}
