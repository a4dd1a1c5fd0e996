//! Types of other crates in public signatures: a major version of theirs is one of Falco's, so each crate is a decision.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

use crate::circles::code;
use crate::metadata::Metadata;

/// The crates whose types may stand in the public signatures of a library; `docs/versioning.md` says why. Falco's own
/// crates and the standard library may everywhere.
const ALLOWED: &[(&str, &[&str])] = &[
    ("falco", &["serde"]),
    ("falco-aws", &["aws_credential_types"]),
    ("falco-core", &["async_trait", "bytes", "futures_core", "serde"]),
    ("falco-data", &["async_trait", "bytes", "object_store", "serde"]),
    ("falco-executors", &["futures_core", "serde"]),
    ("falco-fakes", &["axum", "bytes", "serde_json", "tokio"]),
    ("falco-function", &["serde"]),
    ("falco-http", &["bytes", "reqwest", "serde"]),
    ("falco-package", &["bytes"]),
    ("falco-testkit", &["fastrand", "serde_json"]),
    ("falco-workers", &["tokio"]),
];

/// Crates of programs: their libraries are clap's arguments, or nobody builds on them.
const PROGRAMS: [&str; 2] = ["falco-cli", "falco-examples"];

/// The page whose table says why.
const PAGE: &str = "docs/versioning.md";

/// Checks the libraries that are released, and the table of the page.
pub(crate) fn check(metadata: &Metadata, root: &Path) -> anyhow::Result<()> {
    let page = fs::read_to_string(root.join(PAGE)).context(PAGE)?;
    let missing = missing_rows(&page);
    if !missing.is_empty() {
        bail!("the table in {PAGE} leaves out:\n  {}", missing.join("\n  "));
    }
    let mut violations = BTreeSet::new();
    let libraries =
        metadata.members().filter(|it| it.is_published && !PROGRAMS.contains(&it.name.as_str()));
    for package in libraries {
        let dependencies = package.dependencies.iter().filter(|on| !on.is_dev && !on.is_path);
        let foreign: BTreeSet<String> = dependencies.map(|on| on.name.replace('-', "_")).collect();
        let allowed = ALLOWED.iter().find(|(name, _)| *name == package.name);
        let allowed = allowed.map_or(&[][..], |(_, allowed)| allowed);
        let mut files = Vec::new();
        rust_files(&package.folder.join("src"), &mut files)?;
        for text in files {
            for (of, signature) in foreign_types(&code(&text), &foreign) {
                if !allowed.contains(&of.as_str()) {
                    violations.insert(format!("{}: {of} in `{signature}`", package.name));
                }
            }
        }
    }
    if violations.is_empty() {
        return Ok(());
    }
    bail!(
        "types of crates that docs/versioning.md does not allow in public signatures:\n  {}",
        Vec::from_iter(violations).join("\n  ")
    );
}

/// Crates that may show types of another crate, and that the row of that crate does not name.
fn missing_rows(page: &str) -> Vec<String> {
    let rows = page.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        Some((cells.next()?.replace('-', "_"), cells.next()?))
    });
    let rows: Vec<(String, &str)> = rows.collect();
    let named = |of: &str, name: &str| {
        rows.iter().any(|(crates, places)| {
            crates.split(", ").any(|one| one == of) && places.split(", ").any(|place| place == name)
        })
    };
    let pairs = ALLOWED.iter().flat_map(|(name, allowed)| allowed.iter().map(move |of| (of, name)));
    let missing = pairs.filter(|(of, name)| !named(of, name));
    missing.map(|(of, name)| format!("{of} in {name}")).collect()
}

/// The texts of the Rust files of a library.
pub(crate) fn rust_files(folder: &Path, texts: &mut Vec<String>) -> anyhow::Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "bin") {
                rust_files(&path, texts)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            texts.push(fs::read_to_string(&path).with_context(|| path.display().to_string())?);
        }
    }
    Ok(())
}

/// The foreign crates in the public items of a file, each with the first line of an item that names it.
fn foreign_types(code: &str, foreign: &BTreeSet<String>) -> Vec<(String, String)> {
    let imported = imports(code, foreign);
    let mut found = Vec::new();
    for item in public_items(code) {
        for word in words(&item) {
            let of = match imported.get(word) {
                // A module that is imported stands in front of a type.
                Some(of) if word.starts_with(char::is_uppercase) || names_path(&item, word) => of,
                Some(_) => continue,
                None if foreign.contains(word) && names_path(&item, word) => word,
                None => continue,
            };
            found.push((of.to_owned(), item.lines().next().unwrap_or_default().trim().to_owned()));
        }
    }
    found
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

fn names_path(item: &str, krate: &str) -> bool {
    let path = format!("{krate}::");
    let is_whole =
        |at: usize| !item[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':'));
    item.match_indices(&path).any(|(at, _)| is_whole(at))
        || item.trim() == format!("pub use {krate};")
}

/// The types that a file imports from foreign crates.
fn imports<'a>(code: &'a str, foreign: &BTreeSet<String>) -> BTreeMap<&'a str, &'a str> {
    let mut imported = BTreeMap::new();
    for (at, _) in code.match_indices("use ") {
        if !matches!(code[..at].chars().next_back(), None | Some('\n' | ' ')) {
            continue;
        }
        let statement = code[at + 4..].split(';').next().unwrap_or_default();
        let mut names = words(statement);
        if let Some(of) = names.next()
            && foreign.contains(of)
        {
            let is_path = |name: &str| {
                statement
                    .match_indices(name)
                    .all(|(at, _)| statement[at + name.len()..].starts_with("::"))
            };
            imported.extend(names.filter(|name| !is_path(name)).map(|name| (name, of)));
        }
    }
    imported
}

/// The signatures of public functions, fields and types, re-exports, and whole traits and enums.
fn public_items(code: &str) -> Vec<String> {
    let mut items = Vec::new();
    let mut lines = code.lines().peekable();
    let mut is_hidden = false;
    while let Some(line) = lines.next() {
        let start = line.trim_start();
        // What the documentation hides promises nothing, as docs/versioning.md says.
        is_hidden |= start == "#[doc(hidden)]";
        if !start.starts_with("pub ") {
            is_hidden &= start.starts_with("#[");
            continue;
        }
        if std::mem::take(&mut is_hidden) {
            continue;
        }
        let mut item = line.to_owned();
        // All variants of an enum are as public as it is.
        let has_members = line.starts_with("pub trait ") || line.starts_with("pub enum ");
        if has_members && line.ends_with('{') {
            while let Some(line) = lines.next_if(|line| *line != "}") {
                item = item + "\n" + line;
            }
            items.push(item);
            continue;
        }
        while !is_whole(&item)
            && let Some(line) = lines.next()
        {
            item = item + "\n" + line;
        }
        let hides_its_fields =
            item.trim_start().starts_with("pub struct") && !item.contains("(pub ");
        let end = if hides_its_fields { item.find(['{', '(']) } else { item.find('{') };
        let is_use = item.trim_start().starts_with("pub use");
        items.push(if is_use { item } else { item[..end.unwrap_or(item.len())].to_owned() });
    }
    items
}

/// Whether the text of an item has come to its body or its end.
fn is_whole(item: &str) -> bool {
    let last = item.trim_end();
    let closed = item.matches('(').count() <= item.matches(')').count();
    closed && (last.ends_with([';', ',']) || item.contains('{'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_of_this_workspace_show_allowed_types_only() {
        check(&Metadata::read().unwrap(), &crate::shell::root()).unwrap();
    }

    #[test]
    fn a_crate_that_the_table_leaves_out_is_found() {
        let mut places = BTreeMap::<&str, Vec<&str>>::new();
        for (name, allowed) in ALLOWED.iter().copied() {
            for of in allowed.iter().copied() {
                places.entry(of).or_default().push(name);
            }
        }
        let row = |(of, places): (&&str, &Vec<&str>)| -> String {
            format!("| {} | {} | types |\n", of.replace('_', "-"), places.join(", "))
        };
        let page: String = places.iter().map(row).collect();
        assert_eq!(missing_rows(&page), [""; 0]);
        let without = page.replace("| reqwest | falco-http |", "| reqwest | falco-core |");
        assert_eq!(missing_rows(&without), ["reqwest in falco-http"]);
    }

    fn found(code: &str) -> Vec<String> {
        let foreign = BTreeSet::from(["backon".to_owned(), "tokio".to_owned()]);
        foreign_types(code, &foreign).into_iter().map(|(of, _)| of).collect()
    }

    #[test]
    fn foreign_types_are_found_in_functions_fields_traits_and_re_exports() {
        for code in [
            "pub use backon;\n",
            "pub use backon::Backoff;\n",
            "use backon::{Backoff, Other};\npub fn f(\n    of: Backoff,\n) -> u32 {\n}\n",
            "use backon::Backoff;\npub struct S {\n    pub field: Option<Backoff>,\n}\n",
            "use backon::Backoff;\npub trait T {\n    fn f(&self) -> Backoff;\n}\n",
            "pub fn f() -> backon::Backoff {\n}\n",
            "use backon::Backoff;\npub enum E {\n    A(Backoff),\n}\n",
            "use backon::{retry, sleep};\npub fn f(\n    of: retry::Backoff,\n) {\n}\n",
        ] {
            assert!(found(code).contains(&"backon".to_owned()), "{code}");
        }
    }

    #[test]
    fn bodies_private_items_and_names_of_arguments_are_left_alone() {
        for code in [
            "use backon::Backoff;\npub fn f() {\n    Backoff::new();\n}\n",
            "use backon::Backoff;\npub struct S(Backoff);\n",
            "use backon::Backoff;\npub(crate) fn f(of: Backoff) {\n}\nfn g(of: Backoff) {\n}\n",
            "use tokio::time;\npub fn f(time: Duration) {\n}\n",
            "use tokio::sync::Notify;\npub fn f(of: std::sync::Arc<u8>) {\n}\n",
            "use backon::Backoff;\n#[doc(hidden)]\n#[must_use]\npub fn f(of: Backoff) {\n}\n",
        ] {
            assert_eq!(found(code), [""; 0], "{code}");
        }
    }

    #[test]
    fn what_follows_a_hidden_item_is_looked_at() {
        let hidden = "#[doc(hidden)]\npub fn f(of: u8) {\n}\n";
        let code = format!("use backon::Backoff;\n{hidden}pub fn g(of: Backoff) {{\n}}\n");
        assert_eq!(found(&code), ["backon"]);
    }
}
