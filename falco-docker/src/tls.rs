//! TLS to a daemon on another machine.

use std::path::PathBuf;

use bollard::Docker;
use falco_core::{Error, Result};

use crate::NAME;

/// The files of certificates in a folder, as the command `docker` names them.
const FILES: [&str; 3] = ["ca.pem", "cert.pem", "key.pem"];

/// The certificates for a daemon that speaks TLS, in files in PEM.
///
/// # Examples
///
/// ```
/// use falco_docker::{DockerConfig, Tls};
///
/// let config = DockerConfig::builder()
///     .host("tcp://build.example.org:2376")
///     .tls(Tls::in_folder("/home/ada/.docker"))
///     .build()?;
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tls {
    /// The certificates of the authorities that the daemon's is checked with.
    pub ca: PathBuf,
    /// The client's own certificate and its key, for daemons that ask for them.
    pub client: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    /// Checks the daemon's certificate with those in `ca`, and shows none of its own.
    pub fn new(ca: impl Into<PathBuf>) -> Self {
        Self { ca: ca.into(), client: None }
    }

    /// Shows the daemon this certificate, with its key.
    #[must_use]
    pub fn with_client(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.client = Some((certificate.into(), key.into()));
        self
    }

    /// The files `ca.pem`, `cert.pem` and `key.pem` of a folder, the last two where they are there.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        let [ca, certificate, key] = FILES.map(|name| folder.join(name));
        let tls = Self::new(ca);
        if certificate.exists() || key.exists() { tls.with_client(certificate, key) } else { tls }
    }

    /// Connects to `host`. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a file that is not there or holds no certificate.
    #[cfg(feature = "tls")]
    pub(crate) fn connect(&self, host: &str) -> Result<Docker> {
        const TIMEOUT_S: u64 = 120;
        self.check()?;
        // Without one for the process, rustls takes that of its features, and panics where a program has several.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Another thread may have been faster, which is as good.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        let host = host.replacen("http://", "tcp://", 1);
        // A certificate that cannot be read is not shown: so a name without a file stands for none.
        let none = || self.ca.with_file_name("falco-no-client-certificate");
        let (certificate, key) = self.client.clone().unwrap_or_else(|| (none(), none()));
        Docker::connect_with_ssl(
            &host,
            &key,
            &certificate,
            &self.ca,
            TIMEOUT_S,
            bollard::API_DEFAULT_VERSION,
        )
        .map_err(|error| {
            unusable(format!("the certificates in {} cannot be used", self.ca.display()))
                .with_source(&error)
        })
    }

    #[cfg(not(feature = "tls"))]
    pub(crate) fn connect(&self, host: &str) -> Result<Docker> {
        let message =
            format!("the daemon at {host} asks for TLS, and the program was built without");
        Err(Error::unsupported(message)
            .with_platform(NAME)
            .with_hint("build falco-docker with the feature tls"))
    }

    /// Checks that the files are there, before the daemon says so in its own words.
    #[cfg(feature = "tls")]
    fn check(&self) -> Result<()> {
        let client = self.client.iter().flat_map(|(certificate, key)| [certificate, key]);
        for file in std::iter::once(&self.ca).chain(client) {
            if let Err(error) = std::fs::File::open(file) {
                return Err(
                    unusable(format!("{} cannot be read", file.display())).with_source(&error)
                );
            }
        }
        Ok(())
    }
}

#[cfg(feature = "tls")]
fn unusable(message: String) -> Error {
    Error::invalid_input(message).with_platform(NAME).with_hint(
        "set DOCKER_CERT_PATH to a folder with ca.pem, and cert.pem and key.pem if the daemon asks for them",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_a_certificate_of_the_client_shows_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        std::fs::write(path.join("ca.pem"), "").unwrap();
        assert_eq!(Tls::in_folder(path), Tls::new(path.join("ca.pem")));
        std::fs::write(path.join("cert.pem"), "").unwrap();
        let whole = Tls::new(path.join("ca.pem"));
        let whole = whole.with_client(path.join("cert.pem"), path.join("key.pem"));
        assert_eq!(Tls::in_folder(path), whole);
    }

    #[test]
    #[cfg(feature = "tls")]
    fn a_file_that_is_not_there_is_named_with_the_variable() {
        let error = Tls::in_folder("/nowhere").connect("tcp://localhost:2376").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("/nowhere/ca.pem") && text.contains("DOCKER_CERT_PATH"), "{text}");
    }

    #[test]
    #[cfg(not(feature = "tls"))]
    fn without_the_feature_the_error_names_it() {
        let error = Tls::in_folder("/nowhere").connect("tcp://localhost:2376").unwrap_err();
        assert!(error.to_string().contains("feature tls"), "{error}");
    }
}
