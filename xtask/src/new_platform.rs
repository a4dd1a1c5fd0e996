//! `cargo xtask new-platform NAME`: a crate for another platform, in the shape of this workspace.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use crate::metadata::Metadata;
use crate::platforms::{self, Names, capital};
use crate::shell::{cargo, root, step};

/// The template's files: where each goes, and its text.
const FILES: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("../template/Cargo.toml.txt")),
    ("README.md", include_str!("../template/README.md")),
    ("src/lib.rs", include_str!("../template/src/lib.rs")),
    ("src/config.rs", include_str!("../template/src/config.rs")),
    ("src/client.rs", include_str!("../template/src/client.rs")),
    ("src/wire.rs", include_str!("../template/src/wire.rs")),
    ("src/answer.rs", include_str!("../template/src/answer.rs")),
    ("src/package.rs", include_str!("../template/src/package.rs")),
    ("src/transport.py", include_str!("../template/src/transport.py")),
    ("src/refusal.rs", include_str!("../template/src/refusal.rs")),
    ("src/platform.rs", include_str!("../template/src/platform.rs")),
    ("tests/it/main.rs", include_str!("../template/tests/it/main.rs")),
    ("tests/it/conformance.rs", include_str!("../template/tests/it/conformance.rs")),
    ("tests/it/fake.rs", include_str!("../template/tests/it/fake.rs")),
    ("tests/it/faults.rs", include_str!("../template/tests/it/faults.rs")),
];

/// Files of a crate of its own; a member of the workspace inherits it.
const OUTSIDE: &[(&str, &str)] = &[
    ("LICENSE", include_str!("../../LICENSE")),
    ("rustfmt.toml", include_str!("../../rustfmt.toml")),
    (".gitignore", "/target\n"),
];

const DEPENDENCIES: &[&str] = &["falco-core", "falco-http", "falco-package"];
const DEV_DEPENDENCIES: &[&str] = &["falco-fakes", "falco-testkit"];
/// Crates that are not Falco's, with the versions and features of the workspace.
const OTHERS: &[&str] = &["base64", "serde", "serde_json"];
const DEV_OTHERS: &[&str] = &["tempfile"];
const TOKIO: &str = r#"["time"]"#;
const DEV_TOKIO: &str = r#"["io-util", "macros", "process", "rt-multi-thread", "time"]"#;
const USAGE: &str = "usage: cargo xtask new-platform NAME [--path DIR]

Makes the crate falco-NAME, whose tests say what to write next (docs/add-a-platform.md).

  NAME         the platform, in lower-case letters and digits, such as fission
  --path DIR   make a crate of its own in DIR/falco-NAME; without it, a member of this workspace";

/// Makes `falco-NAME` a member of this workspace, or with `--path` a crate of its own.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let (name, outside) = match arguments {
        [help] if matches!(help.as_str(), "help" | "--help" | "-h") => {
            println!("{USAGE}");
            return Ok(());
        }
        [flag, ..] if flag.starts_with('-') => bail!("name the platform first\n{USAGE}"),
        [name] => (name, None),
        [name, flag, folder] if flag == "--path" => (name, Some(PathBuf::from(folder))),
        _ => bail!("{USAGE}"),
    };
    // A crate of its own never meets those of the workspace.
    let metadata = if outside.is_some() { None } else { Some(Metadata::read()?) };
    check_name(name, &members(metadata.as_ref()))?;
    let folder = match &outside {
        Some(folder) => std::path::absolute(folder)?.join(format!("falco-{name}")),
        None => root().join(format!("falco-{name}")),
    };
    ensure!(!folder.exists(), "{} is there already", folder.display());
    write(&folder, name, outside.is_some())?;
    let title = capital(name);
    if let Some(metadata) = &metadata {
        let version = version_of(&fs::read_to_string(root().join("Cargo.toml"))?, "falco-core")?;
        let others = metadata.platforms().map(|one| one.name.trim_start_matches("falco-"));
        let others: Vec<String> = others.map(str::to_owned).collect();
        let names = Names::new(name, &title, &version);
        platforms::enter(&names, &others, &root())?;
        let licence = folder.join("LICENSE");
        #[cfg(unix)]
        std::os::unix::fs::symlink("../LICENSE", licence)?;
        #[cfg(not(unix))]
        fs::copy(root().join("LICENSE"), licence)?;
        // What is locked stays, and the new member is added: the lint asks for a lock file that is true.
        step("Cargo.lock", &mut cargo(&["update", "--workspace", "--quiet"]))?;
    }
    let manifest = folder.join("Cargo.toml");
    let manifest = manifest.to_str().context("the folder's name is not UTF-8")?;
    let mut format = cargo(&["fmt", "--manifest-path", manifest]);
    if metadata.is_some() {
        format.args(["-p", &format!("falco-{name}"), "-p", "falco", "-p", "falco-cli"]);
    }
    step("format", &mut format)?;
    println!("made {}; now run its tests, and do what they say:", folder.display());
    match outside {
        Some(_) => println!("  cd {} && cargo test", folder.display()),
        None => println!("  cargo test -p falco-{name}"),
    }
    Ok(())
}

/// Refuses what makes no crate and no type, and what is there already.
fn check_name(name: &str, members: &[String]) -> anyhow::Result<()> {
    if let Some(rest) = name.strip_prefix("falco-") {
        bail!("name the platform, not the crate: {rest:?} makes falco-{rest}");
    }
    let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    ensure!(
        plain && name.starts_with(|c: char| c.is_ascii_lowercase()),
        "invalid platform name {name:?}: use lower-case letters and digits, starting with a letter"
    );
    let member = format!("falco-{name}");
    ensure!(!members.contains(&member), "the workspace has {member} already; take another name");
    Ok(())
}

fn members(metadata: Option<&Metadata>) -> Vec<String> {
    metadata.into_iter().flat_map(Metadata::members).map(|package| package.name.clone()).collect()
}

/// The crates that a platform depends on, its tests included.
pub(crate) fn dependencies() -> impl Iterator<Item = &'static str> {
    let listed = [DEPENDENCIES, DEV_DEPENDENCIES, OTHERS, DEV_OTHERS].into_iter().flatten();
    listed.copied().chain(["tokio"])
}

/// Writes the files of a platform; those of the workspace stay as they are.
pub(crate) fn write(folder: &Path, name: &str, outside: bool) -> anyhow::Result<()> {
    let more = if outside { OUTSIDE } else { &[] };
    for (path, text) in FILES.iter().chain(more) {
        let text = fill(text, name, outside)?;
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn fill(text: &str, name: &str, outside: bool) -> anyhow::Result<String> {
    let manifest = if outside { outside_manifest()? } else { member_manifest() };
    Ok([
        ("{{package}}", manifest.package.as_str()),
        ("{{lints}}", &manifest.lints),
        ("{{dependencies}}", &manifest.dependencies),
        ("{{dev-dependencies}}", &manifest.dev_dependencies),
        ("{{name}}", name),
        ("{{Name}}", &capital(name)),
        ("{{NAME}}", &name.to_ascii_uppercase()),
    ]
    .into_iter()
    .fold(text.to_owned(), |text, (key, value)| text.replace(key, value)))
}

/// The parts of a manifest that differ inside and outside of the workspace.
struct Manifest {
    package: String,
    lints: String,
    dependencies: String,
    dev_dependencies: String,
}

fn member_manifest() -> Manifest {
    let inherited = [
        "version",
        "edition",
        "rust-version",
        "license",
        "repository",
        "authors",
        "keywords",
        "categories",
    ];
    Manifest {
        package: inherited.map(|key| format!("{key}.workspace = true")).join("\n"),
        // By this table the lint knows that the crate is a platform; the name is for documents.
        lints: "[package.metadata.falco]\nplatform = \"{{Name}}\"\n\n[lints]\nworkspace = true\n\n"
            .to_owned(),
        dependencies: format!(
            "{}\ntokio = {{ workspace = true, features = {TOKIO} }}",
            lines(&[DEPENDENCIES, OTHERS].concat(), |name| format!("{name}.workspace = true")),
        ),
        dev_dependencies: format!(
            "{}\n{}\ntokio = {{ workspace = true, features = {DEV_TOKIO} }}",
            lines(DEV_DEPENDENCIES, |name| format!("{name} = {{ path = \"../{name}\" }}")),
            lines(DEV_OTHERS, |name| format!("{name}.workspace = true")),
        ),
    }
}

fn outside_manifest() -> anyhow::Result<Manifest> {
    let root = fs::read_to_string(root().join("Cargo.toml"))?;
    let version = |name: &str| version_of(&root, name);
    let workspace_key = |key: &str| {
        let line = root.lines().find(|line| line.starts_with(&format!("{key} = ")));
        Ok::<_, anyhow::Error>(line.with_context(|| format!("no {key} in Cargo.toml"))?.to_owned())
    };
    let (release, repository) = (version("falco-core")?, workspace_key("repository")?);
    let url = repository.trim_start_matches("repository = ");
    let of_falco = |name: &str| format!("{name} = {{ version = {release:?}, git = {url} }}");
    let patched = |name: &str| {
        format!(
            "# {name} = {{ path = {:?} }}",
            crate::shell::root().join(name).display().to_string()
        )
    };
    let all: Vec<&str> = DEPENDENCIES.iter().chain(DEV_DEPENDENCIES).copied().collect();
    let rust = workspace_key("rust-version")?;
    let lints = root.split_once("[workspace.lints.rust]\n").and_then(|(_, rest)| {
        let end = rest.find("\n[profile")?;
        Some(format!("[lints.rust]\n{}", rest[..end].replace("[workspace.lints", "[lints")))
    });
    Ok(Manifest {
        package: format!(
            "version = \"0.1.0\"\nedition = \"2024\"\n{rust}\nlicense = \"MIT\"\n\n[workspace]\n\n\
             # With a checkout of Falco beside it, its crates come from there:\n# [patch.{url}]\n{}",
            lines(&all, patched),
        ),
        lints: lints.context("no lints in Cargo.toml")? + "\n",
        dependencies: format!(
            "{}\n{}\ntokio = {{ version = {:?}, features = {TOKIO} }}",
            lines(DEPENDENCIES, of_falco),
            as_in(&root, OTHERS)?,
            version("tokio")?,
        ),
        dev_dependencies: format!(
            "{}\n{}\ntokio = {{ version = {:?}, features = {DEV_TOKIO} }}",
            lines(DEV_DEPENDENCIES, of_falco),
            as_in(&root, DEV_OTHERS)?,
            version("tokio")?,
        ),
    })
}

fn lines(names: &[&str], line: impl Fn(&str) -> String) -> String {
    names.iter().map(|name| line(name)).collect::<Vec<_>>().join("\n")
}

/// The lines of the workspace's manifest for these crates.
fn as_in(manifest: &str, names: &[&str]) -> anyhow::Result<String> {
    let line = |name: &&str| {
        let line = manifest.lines().find(|line| line.starts_with(&format!("{name} = ")));
        line.with_context(|| format!("the workspace does not depend on {name}"))
    };
    Ok(names.iter().map(line).collect::<anyhow::Result<Vec<_>>>()?.join("\n"))
}

/// The version that the workspace asks for.
fn version_of(manifest: &str, name: &str) -> anyhow::Result<String> {
    let line = manifest.lines().find(|line| line.starts_with(&format!("{name} = ")));
    let line = line.with_context(|| format!("the workspace does not depend on {name}"))?;
    let quoted = line.split_once("version = ").map_or(line, |(_, rest)| rest);
    let version = quoted.split('"').nth(1);
    Ok(version.with_context(|| format!("no version of {name} in {line:?}"))?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_to_fill_in_inside_or_outside_of_the_workspace() {
        for outside in [false, true] {
            for (path, text) in FILES {
                let filled = fill(text, "fission", outside).unwrap();
                assert!(!filled.contains("{{"), "{path}: {filled}");
            }
        }
    }

    #[test]
    fn names_that_make_no_crate_and_no_type_are_refused() {
        for name in ["", "Fission", "my-platform", "my_platform", "1st", "a b", "falco-fission"] {
            assert!(check_name(name, &[]).is_err(), "{name}");
        }
        check_name("openfaas2", &[]).unwrap();
        let error = check_name("falco-fission", &[]).unwrap_err();
        assert!(error.to_string().contains("\"fission\""), "{error}");
    }

    #[test]
    fn a_crate_that_the_workspace_has_is_refused_as_a_member() {
        let members = members(Some(&Metadata::read().unwrap()));
        for name in ["aws", "openfaas"] {
            let error = check_name(name, &members).unwrap_err();
            assert!(error.to_string().contains(&format!("falco-{name} already")), "{error}");
        }
        check_name("fission", &members).unwrap();
    }

    #[test]
    fn a_crate_of_its_own_is_made_whole_and_a_second_time_refused() {
        let place = tempfile::tempdir().unwrap();
        let arguments = ["fission", "--path", place.path().to_str().unwrap()].map(str::to_owned);
        run(&arguments).unwrap();
        let crate_of_its_own = place.path().join("falco-fission");
        for (path, _) in FILES.iter().chain(OUTSIDE) {
            assert!(crate_of_its_own.join(path).is_file(), "{path}");
        }
        let manifest = crate_of_its_own.join("Cargo.toml");
        let metadata = ["metadata", "--no-deps", "--format-version", "1", "--manifest-path"];
        let output = cargo(&metadata).arg(manifest).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut format = cargo(&["fmt", "--check"]);
        let output = format.current_dir(&crate_of_its_own).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let error = run(&arguments).unwrap_err();
        assert!(error.to_string().contains("there already"), "{error}");
    }

    #[test]
    fn help_is_not_taken_for_a_name_and_names_of_the_workspace_are_free_outside() {
        run(&["--help".to_owned()]).unwrap();
        assert!(run(&["--path".to_owned(), "x".to_owned()]).is_err());
        let place = tempfile::tempdir().unwrap();
        run(&["aws", "--path", place.path().to_str().unwrap()].map(str::to_owned)).unwrap();
    }

    #[test]
    fn versions_are_those_of_the_workspace() {
        let manifest = "a = \"1.2\"\nb = { version = \"3\", features = [] }\n";
        assert_eq!(version_of(manifest, "a").unwrap(), "1.2");
        assert_eq!(version_of(manifest, "b").unwrap(), "3");
        assert!(version_of(manifest, "c").is_err());
    }
}
