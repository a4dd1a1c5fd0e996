//! The report of `cargo metadata` on the workspace and of everything it builds on.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::shell::cargo;

/// One crate of the workspace or of the registry.
#[derive(Debug)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// Its licence expression.
    pub(crate) licence: Option<String>,
    /// Whether it belongs to this workspace.
    pub(crate) is_member: bool,
    /// Whether a release uploads it.
    pub(crate) is_published: bool,
    /// Where its manifest is.
    pub(crate) folder: PathBuf,
    /// How people write the platform, such as "AWS Lambda", if the crate is one: `platform` in its
    /// `[package.metadata.falco]`.
    pub(crate) platform: Option<String>,
    /// Its features, `default` left out.
    pub(crate) features: Vec<String>,
    /// The dependencies that its manifest names.
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a manifest's dependencies.
#[derive(Debug)]
pub(crate) struct Dependency {
    /// The crate.
    pub(crate) name: String,
    /// Whether only tests need it.
    pub(crate) is_dev: bool,
    /// Whether it is a crate of this repository.
    pub(crate) is_path: bool,
    /// The version wanted; `*` when none is named.
    pub(crate) requirement: String,
}

/// All packages.
#[derive(Debug)]
pub(crate) struct Metadata {
    /// All packages.
    pub(crate) packages: Vec<Package>,
}

impl Metadata {
    /// Asks cargo.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let json = ask(&[])?;
        let members = list(&json, "workspace_members")?;
        let packages = list(&json, "packages")?
            .iter()
            .map(|package| read_package(package, members))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { packages })
    }

    /// The crates of this workspace.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.is_member)
    }

    /// The crates of this workspace that are platforms.
    pub(crate) fn platforms(&self) -> impl Iterator<Item = &Package> {
        self.members().filter(|package| package.platform.is_some())
    }
}

/// Where cargo builds: `target`, unless the user has set another directory.
pub(crate) fn target_directory() -> anyhow::Result<PathBuf> {
    let json = ask(&["--no-deps"])?;
    Ok(PathBuf::from(text(&json, "target_directory")?))
}

/// The report, as cargo prints it.
pub(crate) fn ask(options: &[&str]) -> anyhow::Result<Value> {
    let output =
        cargo(&["metadata", "--format-version", "1", "--locked"]).args(options).output()?;
    ensure!(
        output.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn read_package(package: &Value, members: &[Value]) -> anyhow::Result<Package> {
    let dependencies = list(package, "dependencies")?
        .iter()
        .map(|dependency| {
            Ok(Dependency {
                name: text(dependency, "name")?,
                is_dev: dependency["kind"] == "dev",
                is_path: !dependency["path"].is_null(),
                requirement: text(dependency, "req")?,
            })
        })
        .collect::<anyhow::Result<_>>()?;
    Ok(Package {
        name: text(package, "name")?,
        version: text(package, "version")?,
        licence: package["license"].as_str().map(str::to_owned),
        platform: package["metadata"]["falco"]["platform"].as_str().map(str::to_owned),
        features: package["features"]
            .as_object()
            .map(|features| features.keys().filter(|name| *name != "default").cloned().collect())
            .unwrap_or_default(),
        is_member: members.contains(&package["id"]),
        is_published: package["publish"].as_array().is_none_or(|registries| !registries.is_empty()),
        folder: PathBuf::from(text(package, "manifest_path")?).with_file_name(""),
        dependencies,
    })
}

fn list<'a>(json: &'a Value, key: &str) -> anyhow::Result<&'a Vec<Value>> {
    json[key].as_array().with_context(|| format!("cargo metadata has no list {key:?}"))
}

fn text(json: &Value, key: &str) -> anyhow::Result<String> {
    Ok(json[key]
        .as_str()
        .with_context(|| format!("cargo metadata has no text {key:?}"))?
        .to_owned())
}
