//! Runtimes: Falco's `python:3.12` is Google's `python312`.

use falco_core::{Error, Result, RuntimeName};

use crate::client::Runtime;

/// The runtimes that can be deployed now, newest version last within a family.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runtimes(Vec<Offered>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Offered {
    family: &'static str,
    version: Vec<u32>,
    /// A preview is taken only when it is named.
    is_stable: bool,
    google: String,
}

/// Whether a stage of Google's is one to choose unasked.
fn is_stable(stage: &str) -> bool {
    matches!(stage, "GA" | "DEPRECATED" | "")
}

impl Runtimes {
    pub(crate) fn new(listed: &[Runtime]) -> Self {
        let offered = |runtime: &Runtime| {
            let (family, version) = parse(&runtime.name)?;
            let is_stable = is_stable(&runtime.stage);
            Some(Offered { family, version, is_stable, google: runtime.name.clone() })
        };
        let mut all: Vec<_> = listed.iter().filter_map(offered).collect();
        all.sort();
        all.dedup();
        Self(all)
    }

    /// Google's name of the runtime that `runtime` asks for.
    ///
    /// `python:3` is the newest stable 3, `nodejs` the newest stable one; a native function is started by Python.
    pub(crate) fn resolve(&self, runtime: &RuntimeName) -> Result<&str> {
        let (family, version) = match runtime.family() {
            "native" => ("python", None),
            family => (family, runtime.version()),
        };
        let wanted = match version {
            None | Some("latest" | "default") => Some(Vec::new()),
            Some(version) => numbers(version),
        };
        let matching = |offered: &&Offered| {
            wanted.as_ref().is_some_and(|wanted| {
                offered.family == family
                    && offered.version.starts_with(wanted)
                    && (offered.is_stable || offered.version == *wanted)
            })
        };
        self.0.iter().rev().find(matching).map(|offered| &*offered.google).ok_or_else(|| {
            Error::unsupported(format!("there is no runtime {runtime} here"))
                .with_hint(format!("these are offered: {}", self.names().join(", ")))
        })
    }

    /// The runtimes that capabilities list.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.0.iter().map(Offered::name).collect();
        if self.0.iter().any(|offered| offered.family == "python" && offered.is_stable) {
            names.push("python:3".into());
            names.push("native".into());
        }
        names.sort();
        names
    }
}

impl Offered {
    fn name(&self) -> String {
        let version: Vec<_> = self.version.iter().map(u32::to_string).collect();
        format!("{}:{}", self.family, version.join("."))
    }
}

fn numbers(version: &str) -> Option<Vec<u32>> {
    version.split('.').map(|part| part.parse().ok()).collect()
}

/// Family and version of Google's `python312` and `nodejs22`.
fn parse(google: &str) -> Option<(&'static str, Vec<u32>)> {
    if let Some(version) = google.strip_prefix("python") {
        // All of Python's versions are three-point-something.
        let minor = version.strip_prefix('3')?.parse().ok()?;
        return Some(("python", vec![3, minor]));
    }
    let major = google.strip_prefix("nodejs")?.parse().ok()?;
    Some(("nodejs", vec![major]))
}

/// Falco's name of a runtime of Google's; its own where Falco has none for it.
pub(crate) fn from_google(google: &str) -> Option<String> {
    if google.is_empty() {
        return None;
    }
    let Some((family, version)) = parse(google) else { return Some(google.to_owned()) };
    let version: Vec<_> = version.iter().map(u32::to_string).collect();
    Some(format!("{family}:{}", version.join(".")))
}

#[cfg(test)]
mod tests {
    use falco_core::ErrorKind;

    use super::*;

    fn offered() -> Runtimes {
        let runtime = |(name, stage): &(&str, &str)| Runtime {
            name: (*name).to_owned(),
            stage: (*stage).to_owned(),
            environment: "GEN_2".to_owned(),
        };
        let list = [
            ("python39", "DEPRECATED"),
            ("python313", "GA"),
            ("python312", "GA"),
            ("python315", "BETA"),
            ("nodejs8", "GA"),
            ("nodejs22", "GA"),
            ("go125", "GA"),
        ];
        Runtimes::new(&list.iter().map(runtime).collect::<Vec<_>>())
    }

    #[test]
    fn a_runtime_without_its_whole_version_is_the_newest_stable_one() {
        for (name, google) in [
            ("python:3", "python313"),
            ("python:3.12", "python312"),
            ("python:3.15", "python315"),
            ("python", "python313"),
            ("nodejs:22", "nodejs22"),
            ("nodejs:default", "nodejs22"),
            ("native", "python313"),
        ] {
            assert_eq!(offered().resolve(&name.parse().unwrap()).unwrap(), google, "{name}");
        }
    }

    #[test]
    fn what_is_not_offered_is_unsupported_with_the_list_of_what_is() {
        for name in ["python:2", "python:3.99", "ruby:3", "nodejs:x", "go:1.25"] {
            let error = offered().resolve(&name.parse().unwrap()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{name}");
            assert!(
                error.to_string().contains("python:3.13") && error.to_string().contains("native"),
                "{error}"
            );
        }
    }

    #[test]
    fn googles_names_read_as_falcos() {
        assert_eq!(from_google("python312").as_deref(), Some("python:3.12"));
        assert_eq!(from_google("nodejs22").as_deref(), Some("nodejs:22"));
        assert_eq!(from_google("go125").as_deref(), Some("go125"));
        assert_eq!(from_google(""), None);
    }
}
