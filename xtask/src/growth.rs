//! Structs that can grow: another field must not break the programs that build one.

use anyhow::ensure;

use crate::circles::code;
use crate::metadata::Metadata;
use crate::public_types::rust_files;

/// Structs that will never have another field; `docs/versioning.md` says so.
const COMPLETE: &[(&str, &[&str])] =
    &[("falco-core", &["Bounds"]), ("falco-executors", &["Both", "List", "Pairs", "Partition"])];

/// Libraries of programs, and those that only tests use: their settings are written with `..Default::default()`.
const LEFT_OUT: [&str; 4] = ["falco-cli", "falco-examples", "falco-fakes", "falco-testkit"];

/// Checks the libraries that are released.
pub(crate) fn check(metadata: &Metadata) -> anyhow::Result<()> {
    let mut complete: Vec<(&str, &str)> =
        COMPLETE.iter().flat_map(|(of, all)| all.iter().map(|name| (*of, *name))).collect();
    let mut wrong = Vec::new();
    let libraries =
        metadata.members().filter(|it| it.is_published && !LEFT_OUT.contains(&it.name.as_str()));
    for package in libraries {
        let mut texts = Vec::new();
        rust_files(&package.folder.join("src"), &mut texts)?;
        for name in texts.iter().flat_map(|text| closed(&code(text))) {
            match complete.iter().position(|one| *one == (package.name.as_str(), name.as_str())) {
                Some(at) => {
                    complete.swap_remove(at);
                }
                None => wrong.push(format!("{}: {name}", package.name)),
            }
        }
    }
    ensure!(
        wrong.is_empty(),
        "a new field would break programs that build these:\n  {}",
        wrong.join("\n  ")
    );
    ensure!(complete.is_empty(), "take these out of the list: {complete:?}");
    Ok(())
}

/// The public structs of a file that programs can build field by field: no field is private, and they are not
/// `#[non_exhaustive]`.
fn closed(code: &str) -> Vec<String> {
    let mut closed = Vec::new();
    let mut attributes = String::new();
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let Some(rest) = line.strip_prefix("pub struct ") else {
            let goes_on = !attributes.is_empty() && !attributes.ends_with(']');
            if line.starts_with("#[") || goes_on {
                attributes.push_str(line);
            } else {
                attributes.clear();
            }
            continue;
        };
        let can_grow = std::mem::take(&mut attributes).contains("non_exhaustive");
        if can_grow || !rest.ends_with('{') {
            continue;
        }
        let body = lines.by_ref().take_while(|line| *line != "}");
        let fields: Vec<&str> = body.filter(|line| is_field(line)).collect();
        if !fields.is_empty() && fields.iter().all(|line| line.starts_with("    pub ")) {
            closed.push(rest.chars().take_while(|c| c.is_alphanumeric()).collect());
        }
    }
    closed
}

fn is_field(line: &str) -> bool {
    let indented = line.strip_prefix("    ").is_some_and(|text| !text.starts_with([' ', '#', ')']));
    indented && line.contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structs_of_this_workspace_can_grow() {
        check(&Metadata::read().unwrap()).unwrap();
    }

    #[test]
    fn a_struct_that_programs_can_build_is_found() {
        let fields = "    pub one: u8,\n    #[serde(default)]\n    pub two: u8,\n}\n";
        assert_eq!(closed(&format!("#[derive(Debug)]\npub struct Of<T> {{\n{fields}")), ["Of"]);
        for open in [
            format!("#[derive(Debug)]\n#[non_exhaustive]\npub struct Of {{\n{fields}"),
            format!("#[non_exhaustive]\n#[derive(\n    Debug,\n)]\npub struct Of {{\n{fields}"),
            format!("pub struct Of {{\n    private: u8,\n{fields}"),
            format!("pub(crate) struct Of {{\n{fields}"),
            "pub struct Of(pub u8);\npub struct Other;\n".to_owned(),
        ] {
            assert_eq!(closed(&open), [""; 0], "{open}");
        }
    }
}
