//! How the server is reached: TLS is verified unless somebody says otherwise, and a proxy is gone through.

use std::sync::Arc;

use falco_core::{ErrorKind, Result};
use falco_openwhisk::{ClientConfig, OpenWhisk, OpenWhiskConfigBuilder};
use falco_testkit::{RawPeer, Script};
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::support::config;

fn http() -> ClientConfig {
    ClientConfig::new("test")
}

/// A server with a certificate of its own making, of which no more is known than that it is there.
struct TlsServer {
    url: String,
    identity: CertifiedKey<KeyPair>,
    serving: JoinHandle<()>,
}

impl TlsServer {
    async fn start(wants_client_certificate: bool) -> Self {
        let identity = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(identity.signing_key.serialize_der());
        let builder = ServerConfig::builder();
        let builder = if wants_client_certificate {
            let mut roots = RootCertStore::empty();
            roots.add(identity.cert.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let tls = builder.with_single_cert(vec![identity.cert.der().clone()], key.into()).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(acceptor.clone(), stream));
            }
        });
        Self { url, identity, serving }
    }

    /// As a client certificate is given: the chain, then the key.
    fn client_certificate(&self) -> String {
        format!("{}{}", self.identity.cert.pem(), self.identity.signing_key.serialize_pem())
    }

    async fn connect(
        &self,
        set: impl FnOnce(OpenWhiskConfigBuilder) -> OpenWhiskConfigBuilder,
    ) -> Result<OpenWhisk> {
        OpenWhisk::connect(set(config(&self.url)).build().unwrap()).await
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// An empty object to every request. A client that does not like the certificate has gone before.
async fn answer(acceptor: TlsAcceptor, stream: TcpStream) -> std::io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await?);
    }
    let reply = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\
                 connection: close\r\n\r\n{}";
    stream.write_all(reply.as_bytes()).await?;
    stream.shutdown().await
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused_unless_it_is_trusted_or_tls_is_not_verified()
 {
    let server = TlsServer::start(false).await;
    let error = server.connect(|config| config).await.unwrap_err();
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Unavailable, false), "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");

    let pem = server.identity.cert.pem();
    server.connect(|config| config.http(http().with_ca_certificates(pem))).await.unwrap();
    server.connect(|config| config.http(http().with_insecure(true))).await.unwrap();
}

#[tokio::test]
async fn a_server_that_wants_a_client_certificate_gets_it() {
    let server = TlsServer::start(true).await;
    let trusting = http().with_ca_certificates(server.identity.cert.pem());
    assert!(server.connect(|config| config.http(trusting.clone())).await.is_err());
    let presented = trusting.clone().with_client_certificate(server.client_certificate());
    server.connect(|config| config.http(presented)).await.unwrap();
}

#[tokio::test]
async fn requests_go_through_the_proxy_with_its_password() {
    let proxy = RawPeer::start([Script::json("200 OK", "{}")]).await.unwrap();
    let through = proxy.url().replace("http://", "http://user:word@");
    let config =
        config("http://openwhisk.invalid").http(http().with_proxy(through)).build().unwrap();
    OpenWhisk::connect(config).await.unwrap();
    let requests = proxy.requests();
    let request = requests.iter().find(|request| request.contains("/limits")).unwrap();
    let line = "GET http://openwhisk.invalid/api/v1/namespaces/_/limits HTTP/1.1\r\n";
    assert!(request.starts_with(line), "{request}");
    // user:word
    assert!(
        request.to_lowercase().contains("proxy-authorization: basic dxnlcjp3b3jk"),
        "{request}"
    );
}
