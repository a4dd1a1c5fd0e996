//! Where OpenWhisk is, and how it is spoken to.

use std::path::{Path, PathBuf};

use falco_core::{Error, Result};
use falco_http::reqwest::Url;
use falco_http::{Client, ClientConfig, Secret};
use falco_package::Machine;

use crate::name::is_entity_name;
use crate::waits::OpenWhiskWaits;
use crate::wskprops::WskProps;

const USER_AGENT: &str = concat!("falco-openwhisk/", env!("CARGO_PKG_VERSION"));

/// The API host of OpenWhisk, the key, and how requests are made.
///
/// # Examples
///
/// A server of one's own, with everything named here:
///
/// ```
/// use falco_openwhisk::OpenWhiskConfig;
///
/// let config = OpenWhiskConfig::builder()
///     .apihost("http://localhost:3233")
///     .auth("23bc46b1-71f6-4ed5-8c54-816aa4f8c502:123zO3xZCLrMN6v2BKK1dXYFpXlPkccOFqm12CdAsMgRU4VrNZ9lyGVCGuMDGIwP")
///     .build()?;
/// assert!(!format!("{config:?}").contains("123zO3xZ"));
/// # Ok::<(), falco_core::Error>(())
/// ```
///
/// The configuration of the `wsk` command line, with another host:
///
/// ```no_run
/// # use falco_openwhisk::OpenWhiskConfig;
/// let config = OpenWhiskConfig::builder().apihost("openwhisk.example.org").build_with_env()?;
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct OpenWhiskConfig {
    /// Scheme, host, port and a path if there is one.
    pub(crate) host: Url,
    pub(crate) api_version: String,
    pub(crate) auth: Secret,
    /// The file that the key came from, if it came from one.
    pub(crate) auth_file: Option<PathBuf>,
    pub(crate) namespace: String,
    pub(crate) log_limit_mib: Option<u32>,
    pub(crate) plain_code: bool,
    pub(crate) machine: Machine,
    pub(crate) waits: OpenWhiskWaits,
    http: ClientConfig,
}

impl OpenWhiskConfig {
    /// Begins a configuration in which nothing is set.
    pub fn builder() -> OpenWhiskConfigBuilder {
        OpenWhiskConfigBuilder::new()
    }

    /// The configuration of the `wsk` command line: `WHISK_APIHOST`, `WHISK_AUTH` and `WHISK_APIVERSION`, then the file
    /// that `WSK_CONFIG_FILE` names, or `~/.wskprops`.
    ///
    /// The file is read again when the server refuses the key, so that a key that is replaced in mid-run is found.
    ///
    /// Unlike `wsk`, it uses the file's `NAMESPACE`. Unlike Go Falco, it verifies TLS.
    ///
    /// # Errors
    ///
    /// `InvalidInput` that names the setting which is missing or wrong, or the file that cannot be read.
    pub fn from_env() -> Result<Self> {
        Self::builder().build_with_env()
    }

    /// The namespace and its server. The default namespace is that of the key, whose first half is the name of its user.
    pub(crate) fn account(&self) -> String {
        let namespace = match self.namespace.as_str() {
            "_" => self.auth.expose().split_once(':').map_or("_", |(user, _)| user),
            named => named,
        };
        format!("namespace {namespace} at {}", self.host)
    }

    pub(crate) fn client(&self) -> Result<Client> {
        self.http.clone().with_plain_http_only(self.host.scheme() == "http").build()
    }
}

/// Builds an [`OpenWhiskConfig`].
#[derive(Clone, Debug)]
#[must_use]
pub struct OpenWhiskConfigBuilder {
    apihost: Option<String>,
    api_version: Option<String>,
    auth: Option<Secret>,
    auth_file: Option<PathBuf>,
    namespace: Option<String>,
    log_limit_mib: Option<u32>,
    plain_code: bool,
    machine: Machine,
    waits: OpenWhiskWaits,
    http: ClientConfig,
}

impl OpenWhiskConfigBuilder {
    fn new() -> Self {
        Self {
            apihost: None,
            api_version: None,
            auth: None,
            auth_file: None,
            namespace: None,
            log_limit_mib: None,
            plain_code: false,
            machine: Machine::X86_64,
            waits: OpenWhiskWaits::default(),
            http: ClientConfig::new(USER_AGENT),
        }
    }

    /// The API host, such as `openwhisk.example.org` or `http://localhost:3233`; `https://` unless it says otherwise.
    pub fn apihost(mut self, apihost: impl Into<String>) -> Self {
        self.apihost = Some(apihost.into());
        self
    }

    /// The key, as `UUID:KEY`. Keep it in a file or in the environment: command lines can be seen by others.
    pub fn auth(mut self, auth: impl Into<Secret>) -> Self {
        self.auth = Some(auth.into());
        self
    }

    /// The namespace; by default the one of the key.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// The version of the API; `v1` unless set.
    pub fn api_version(mut self, version: impl Into<String>) -> Self {
        self.api_version = Some(version.into());
        self
    }

    /// How much log an activation may write, in MiB; the server's default (10) unless set.
    ///
    /// With 0 the server collects no logs, and frees an activation's place under the concurrency limit sooner.
    pub fn log_limit_mib(mut self, mib: u32) -> Self {
        self.log_limit_mib = Some(mib);
        self
    }

    /// Sends code as it is, without Falco's shim: source text stays text, and archives are not opened.
    ///
    /// Errors then have the form in which OpenWhisk's own runtimes report them: without the class of an exception and
    /// without its traceback in Python, and with another message in Node.js.
    pub fn plain_code(mut self, plain: bool) -> Self {
        self.plain_code = plain;
        self
    }

    /// The processor of the server's invokers, which native functions have to be built for; `X86_64` unless set. The API
    /// does not report it.
    pub fn machine(mut self, machine: Machine) -> Self {
        self.machine = machine;
        self
    }

    /// Sets how long to wait, and how often to look; see [`OpenWhiskWaits`].
    pub fn waits(mut self, waits: OpenWhiskWaits) -> Self {
        self.waits = waits;
        self
    }

    /// How HTTP requests are made: timeouts, proxy, TLS.
    ///
    /// Blocking invocations are held open for up to 75 seconds: leave the read timeout above that. `CERT` and `KEY` of
    /// `~/.wskprops` are used where this has no client certificate.
    ///
    /// # Examples
    ///
    /// A server with a self-signed certificate, which is trusted:
    ///
    /// ```no_run
    /// use falco_openwhisk::{ClientConfig, OpenWhiskConfig};
    ///
    /// let http = ClientConfig::new("my-program/1.0").with_ca_certificates(std::fs::read("ca.pem")?);
    /// let config = OpenWhiskConfig::builder().http(http).build_with_env()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn http(mut self, http: ClientConfig) -> Self {
        self.http = http;
        self
    }

    /// The configuration, from what was set here alone.
    ///
    /// # Errors
    ///
    /// `InvalidInput` that names the setting which is missing or wrong.
    pub fn build(self) -> Result<OpenWhiskConfig> {
        let apihost = self.apihost.as_deref().ok_or_else(|| {
            Error::invalid_input("no API host is set")
                .with_hint("set WHISK_APIHOST, or APIHOST in ~/.wskprops")
        })?;
        let auth = self.auth.ok_or_else(|| {
            Error::invalid_input("no key is set").with_hint(
                "set WHISK_AUTH, or AUTH in ~/.wskprops (`wsk property get --auth` shows it)",
            )
        })?;
        check_auth(&auth)?;
        let namespace = self.namespace.unwrap_or_else(|| "_".into());
        if !is_entity_name(&namespace) {
            return Err(Error::invalid_input(format!("invalid NAMESPACE {namespace:?}")));
        }
        let api_version = self.api_version.unwrap_or_else(|| "v1".into());
        if !api_version.chars().all(|c| c.is_ascii_alphanumeric() || c == '.') {
            return Err(Error::invalid_input(format!("invalid APIVERSION {api_version:?}")));
        }
        Ok(OpenWhiskConfig {
            host: parse_apihost(apihost)?,
            api_version,
            auth,
            auth_file: self.auth_file,
            namespace,
            log_limit_mib: self.log_limit_mib,
            plain_code: self.plain_code,
            machine: self.machine,
            waits: self.waits,
            http: self.http,
        })
    }

    /// The configuration; what was not set here comes from the environment, as in [`OpenWhiskConfig::from_env`].
    ///
    /// # Errors
    ///
    /// As [`OpenWhiskConfig::from_env`].
    pub fn build_with_env(self) -> Result<OpenWhiskConfig> {
        self.build_with(&|name| std::env::var(name).ok())
    }

    /// As [`build_with_env`](Self::build_with_env), with an environment of the caller's; for tests, mostly.
    ///
    /// # Errors
    ///
    /// As [`OpenWhiskConfig::from_env`].
    pub fn build_with(mut self, var: &dyn Fn(&str) -> Option<String>) -> Result<OpenWhiskConfig> {
        let file = WskProps::find(var)?;
        let setting = |variable: &str, key: &str| {
            let value = var(variable).filter(|value| !value.is_empty()).map(Secret::from);
            value.or_else(|| file.get(key))
        };
        let text = |secret: Secret| secret.expose().to_owned();
        self.apihost = self.apihost.or_else(|| setting("WHISK_APIHOST", "APIHOST").map(text));
        if self.auth.is_none() {
            self.auth = setting("WHISK_AUTH", "AUTH");
            let is_in_the_file = var("WHISK_AUTH").is_none_or(|value| value.is_empty());
            self.auth_file = file.path().filter(|_| is_in_the_file).map(Path::to_owned);
        }
        self.api_version =
            self.api_version.or_else(|| setting("WHISK_APIVERSION", "APIVERSION").map(text));
        self.namespace = self.namespace.or_else(|| file.get("NAMESPACE").map(text));
        if !self.http.has_client_certificate()
            && let Some(pem) = file.client_certificate()?
        {
            self.http = self.http.with_client_certificate(pem);
        }
        self.build()
    }
}

fn parse_apihost(apihost: &str) -> Result<Url> {
    let bad = |why: &str| {
        Error::invalid_input(format!("invalid APIHOST: {why}"))
            .with_hint("write a host such as openwhisk.example.org, or http://localhost:3233")
    };
    let trimmed = apihost.trim().trim_end_matches('/');
    let absolute =
        if trimmed.starts_with("http") { trimmed.to_owned() } else { format!("https://{trimmed}") };
    // Checked on the text, so that no error shows what may be a password.
    if trimmed.contains('@') {
        return Err(bad("it contains a user or a password; the key is the setting AUTH"));
    }
    let url: Url = absolute.parse().map_err(|_| bad(&format!("{trimmed:?} is not a host")))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() || url.query().is_some() {
        return Err(bad(&format!("{trimmed:?} is not a host")));
    }
    Ok(url)
}

/// The server answers any malformed key with a plain 401, so that it is worth looking before.
pub(crate) fn check_auth(auth: &Secret) -> Result<()> {
    let well_formed = auth.expose().split_once(':').is_some_and(|(uuid, key)| {
        let plain = |part: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_graphic() && c != '"' && c != '\'')
        };
        plain(uuid) && plain(key)
    });
    if well_formed {
        return Ok(());
    }
    Err(Error::invalid_input("invalid AUTH: the key is malformed").with_hint(
        "it has the form UUID:KEY, without quotes, blanks or line breaks; `wsk property get --auth` shows it",
    ))
}
