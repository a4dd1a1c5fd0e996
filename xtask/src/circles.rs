//! No circles: the modules of a crate import each other in one direction.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

use crate::metadata::Metadata;

/// Circles that stay, and those that wait to be opened. A circle of other modules, or one module more, is refused; and so
/// is an entry whose circle is open.
const KNOWN: &[(&str, &[&str])] = &[
    // An event borrows the invocation, and an invocation reports events.
    ("falco-core", &["invocation", "monitor"]),
];

/// A module, by the names on the way to it.
type Module = Vec<String>;

/// Checks the libraries of the workspace.
pub(crate) fn check(metadata: &Metadata) -> anyhow::Result<()> {
    let mut unused: Vec<_> = KNOWN.iter().collect();
    for package in metadata.members() {
        let source = package.folder.join("src");
        if !source.is_dir() {
            continue;
        }
        let package = &package.name;
        for circle in circles(&imports(&source)?) {
            let names: Vec<String> = circle.iter().map(|module| module.join("::")).collect();
            let is_this = |(of, known): &(&str, &[&str])| {
                of == package && names.iter().all(|name| known.contains(&name.as_str()))
            };
            unused.retain(|circle| !is_this(circle));
            if !KNOWN.iter().any(is_this) {
                bail!(
                    "{package}: these modules import each other in a circle: {}. Move what they share into a module of \
                     its own",
                    names.join(", ")
                );
            }
        }
    }
    if let Some((package, modules)) = unused.first() {
        bail!(
            "{package}: there is no circle of {} any more; remove it from KNOWN",
            modules.join(", ")
        );
    }
    Ok(())
}

/// The modules of a crate, each with those that it imports by `crate::` and `super::`.
fn imports(source: &Path) -> anyhow::Result<BTreeMap<Module, BTreeSet<Module>>> {
    let mut texts = BTreeMap::new();
    read(source, &mut Vec::new(), &mut texts)?;
    let modules: BTreeSet<Module> = texts.keys().cloned().collect();
    let imported = |(module, text): (&Module, &String)| {
        let mut imported = paths(module, &code(text));
        imported = imported.into_iter().filter_map(|path| longest(&modules, path)).collect();
        // A folder's module holds its files together; they may use what it defines.
        imported.retain(|other| !module.starts_with(other));
        (module.clone(), imported)
    };
    Ok(texts.iter().map(imported).collect())
}

fn read(
    folder: &Path,
    at: &mut Module,
    texts: &mut BTreeMap<Module, String>,
) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "bin" {
                at.push(name);
                read(&path, at, texts)?;
                at.pop();
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let mut module = at.clone();
            if !["mod", "lib", "main"].contains(&name.as_str()) {
                module.push(name);
            }
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            texts.insert(module, text);
        }
    }
    Ok(())
}

/// The text without comments and without the tests at its end.
pub(crate) fn code(text: &str) -> String {
    let end = text.find("\n#[cfg(test)]\nmod ").unwrap_or(text.len());
    let lines = text[..end].lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The paths that begin with `crate::` or `super::`, from the crate's root; of a group, each.
fn paths(module: &Module, code: &str) -> BTreeSet<Module> {
    let mut paths = BTreeSet::new();
    for keyword in ["crate::", "super::"] {
        for (at, _) in code.match_indices(keyword) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$' || c == ':') {
                continue;
            }
            let mut rest = &code[at..];
            let mut path: Module = match rest.strip_prefix("crate::") {
                Some(after) => {
                    rest = after;
                    Vec::new()
                }
                None => module.clone(),
            };
            while let Some(after) = rest.strip_prefix("super::") {
                path.pop();
                rest = after;
            }
            loop {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
                if name.is_empty() {
                    break;
                }
                path.push(name.to_owned());
                rest = match after.strip_prefix("::") {
                    Some(rest) => rest,
                    None => break,
                };
            }
            match rest.strip_prefix('{') {
                Some(group) => {
                    let end = group.find('}').unwrap_or(group.len());
                    for item in group[..end].split(',') {
                        let name = item.trim().split("::").next().unwrap_or_default();
                        paths.insert(path.iter().cloned().chain([name.to_owned()]).collect());
                    }
                }
                None => {
                    paths.insert(path);
                }
            }
        }
    }
    paths
}

/// The module that a path leads into.
fn longest(modules: &BTreeSet<Module>, mut path: Module) -> Option<Module> {
    while !path.is_empty() {
        if modules.contains(&path) {
            return Some(path);
        }
        path.pop();
    }
    None
}

/// The groups of modules each of which reaches all others of its group.
fn circles(imports: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<BTreeSet<Module>> {
    let reached: BTreeMap<&Module, BTreeSet<&Module>> =
        imports.keys().map(|module| (module, reach(imports, module))).collect();
    let mut circles: Vec<BTreeSet<Module>> = Vec::new();
    for (module, targets) in &reached {
        if !targets.contains(*module) || circles.iter().any(|circle| circle.contains(*module)) {
            continue;
        }
        let back = targets.iter().filter(|other| reached[*other].contains(*module));
        circles.push(back.map(|other| (*other).clone()).collect());
    }
    circles
}

/// Everything that a module imports, directly or not; itself, if it is in a circle.
fn reach<'a>(
    imports: &'a BTreeMap<Module, BTreeSet<Module>>,
    from: &Module,
) -> BTreeSet<&'a Module> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&Module> = imports[from].iter().collect();
    while let Some(module) = next.pop() {
        if reached.insert(module) {
            next.extend(imports.get(module).into_iter().flatten());
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_of_this_workspace_have_no_new_circle() {
        check(&Metadata::read().unwrap()).unwrap();
    }

    fn module(path: &str) -> Module {
        path.split("::").map(str::to_owned).collect()
    }

    fn graph(edges: &[(&str, &[&str])]) -> BTreeMap<Module, BTreeSet<Module>> {
        let targets = |targets: &[&str]| targets.iter().map(|target| module(target)).collect();
        edges.iter().map(|(from, to)| (module(from), targets(to))).collect()
    }

    #[test]
    fn a_circle_is_found_with_its_modules_and_a_diamond_is_not_one() {
        let diamond = graph(&[("a", &["b", "c"]), ("b", &["d"]), ("c", &["d"]), ("d", &[])]);
        assert!(circles(&diamond).is_empty());
        let circle = graph(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])]);
        assert_eq!(circles(&circle), [BTreeSet::from([module("b"), module("c")])]);
    }

    #[test]
    fn paths_are_read_from_imports_groups_and_expressions_and_not_from_comments_and_tests() {
        let text = "use crate::a::{B, c::D};\nuse super::e::F;\n// use crate::g::H;\nfn f() { crate::i::j() }\n\
                    #[cfg(test)]\nmod tests { use crate::k; }\n";
        let found = paths(&module("x::y"), &code(text));
        let expected = ["a::B", "a::c", "x::e::F", "i::j"].map(module);
        assert_eq!(found, BTreeSet::from(expected));
    }
}
