//! A platform's settings, without connecting to it.

use std::path::PathBuf;
use std::time::Duration;

/// Where a platform's settings were found. It never holds a secret.
#[derive(Clone, Debug, Default)]
pub struct Inspected {
    /// Where there are credentials: those that are used first. None for a platform that needs none.
    pub credentials: Option<Vec<String>>,
    /// The region or location, and where it was found.
    pub region: Option<String>,
    /// The address that is called.
    pub endpoint: Option<String>,
}

/// The value of a variable that is set to something.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A file beneath the user's home, if it is there.
pub(super) fn at_home(path: &str) -> Option<PathBuf> {
    let file = PathBuf::from(variable("HOME")?).join(path);
    file.is_file().then_some(file)
}

/// The sources that are there, by their names.
pub(super) fn sources<const N: usize>(candidates: [Option<String>; N]) -> Vec<String> {
    candidates.into_iter().flatten().collect()
}

/// A variable as a source: its name, if it is set.
pub(super) fn by_variable(name: &str) -> Option<String> {
    variable(name).map(|_| format!("the variable {name}"))
}

/// A setting and where it comes from.
pub(super) fn setting(flag: Option<&String>, name: &str, variables: &[&str]) -> Option<String> {
    if let Some(value) = flag {
        return Some(format!("{value}, by {name}"));
    }
    variables.iter().find_map(|name| Some(format!("{}, by the variable {name}", variable(name)?)))
}

/// How far this machine's clock is from that of the server at `endpoint`.
#[cfg(feature = "remote")]
pub(super) async fn clock_skew(endpoint: &str, insecure: bool) -> anyhow::Result<Duration> {
    use anyhow::Context;
    use falco_http::ClientConfig;

    let client = ClientConfig::new(concat!("falco-cli/", env!("CARGO_PKG_VERSION")))
        .with_insecure(insecure)
        .with_timeout(Duration::from_secs(10))
        .build()?;
    let request = client.request(falco_http::reqwest::Method::GET, endpoint.parse()?);
    // Whatever it answers, the answer has a date.
    let reply = client.send(request, 1024 * 1024).await?;
    let theirs = reply.date().context("the answer has no date")?;
    let ours = std::time::SystemTime::now();
    Ok(ours.duration_since(theirs).unwrap_or_else(|error| error.duration()))
}

/// Without any remote platform nobody's clock matters.
#[cfg(not(feature = "remote"))]
pub(super) async fn clock_skew(_: &str, _: bool) -> anyhow::Result<Duration> {
    anyhow::bail!("this program was built without a remote platform")
}
