//! Daemons that speak TLS.

use std::path::Path;
use std::sync::Arc;

use falco_core::{ErrorKind, Result};
use falco_docker::{DockerConfig, DockerPlatform};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::fake;

/// An authority with certificates for a daemon and for a client: files as `docker` names them, and the daemon's side.
struct Authority {
    folder: tempfile::TempDir,
    server: (CertificateDer<'static>, PrivateKeyDer<'static>),
    root: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let mut own = CertificateParams::new(Vec::new()).unwrap();
        own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = own.self_signed(&key).unwrap();
        let issuer = Issuer::new(own, key);
        let signed = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let of = CertificateParams::new(vec![name.to_owned()]).unwrap();
            (of.signed_by(&key, &issuer).unwrap(), key)
        };
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
        let (client, client_key) = signed("client");
        write("ca.pem", root.pem());
        write("cert.pem", client.pem());
        write("key.pem", client_key.serialize_pem());
        let (server, server_key) = signed("localhost");
        let key = PrivateKeyDer::try_from(server_key.serialize_der()).unwrap();
        Self { server: (server.der().clone(), key), root: root.der().clone(), folder }
    }

    /// Starts a daemon, which asks for a certificate of the client's or does not.
    async fn daemon(&self, asks: bool) -> String {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let builder = ServerConfig::builder();
        let builder = match asks {
            true => {
                let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
                builder.with_client_cert_verifier(verifier)
            }
            false => builder.with_no_client_auth(),
        };
        let (certificate, key) = (self.server.0.clone(), self.server.1.clone_key());
        let config = builder.with_single_cert(vec![certificate], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        fake::daemon_behind(vec![], async move |stream| acceptor.accept(stream).await.ok()).await
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Connects as the command `docker` does with these certificates.
async fn connect(host: &str, certificates: &Path) -> Result<DockerPlatform> {
    let config = DockerConfig::builder().build_with(&|name| match name {
        "DOCKER_HOST" => Some(host.to_owned()),
        "DOCKER_TLS_VERIFY" => Some("1".to_owned()),
        "DOCKER_CERT_PATH" => Some(certificates.to_str()?.to_owned()),
        _ => None,
    })?;
    DockerPlatform::connect(config).await
}

#[tokio::test]
async fn a_daemon_that_asks_for_a_certificate_gets_that_of_the_folder() {
    let authority = Authority::new();
    let host = authority.daemon(true).await;
    connect(&host, authority.folder()).await.unwrap();
    // Without one it is refused.
    for name in ["cert.pem", "key.pem"] {
        std::fs::remove_file(authority.folder().join(name)).unwrap();
    }
    let error = connect(&host, authority.folder()).await.unwrap_err();
    assert!(error.to_string().contains(&host), "{error}");
}

#[tokio::test]
async fn an_authority_alone_is_enough_for_a_daemon_that_asks_for_nothing() {
    let authority = Authority::new();
    let host = authority.daemon(false).await;
    for name in ["cert.pem", "key.pem"] {
        std::fs::remove_file(authority.folder().join(name)).unwrap();
    }
    connect(&host, authority.folder()).await.unwrap();
}

#[tokio::test]
async fn a_daemon_with_the_certificate_of_another_authority_is_not_talked_to() {
    let (authority, other) = (Authority::new(), Authority::new());
    let host = authority.daemon(false).await;
    let error = connect(&host, other.folder()).await.unwrap_err();
    let text = error.causes().join(": ");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{text}");
    assert!(text.to_lowercase().contains("certificate"), "{text}");
}
