//! How a platform's HTTP client is made.

use std::fmt;
use std::time::Duration;

use falco_core::{Error, Result};
use reqwest::header::{HeaderValue, USER_AGENT};
use reqwest::{Method, RequestBuilder, redirect};

use crate::finish::finish;
use crate::transport::{in_time, no_answer};
use crate::{Reply, Secret, transport_error};

/// A connection on which nothing arrives is probed after this time, so many times at this interval: one that a firewall
/// forgot, or whose peer is gone, fails after half a minute and not after the read timeout.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;

/// The slowest sending of a long body that is waited for, in bytes per second: half a megabit.
const SLOWEST: usize = 64 << 10;

/// How an HTTP client is made.
///
/// The defaults: ten seconds to connect, ninety without a byte (and one more for each 64 KiB that a request sends), TCP
/// keepalive probes after fifteen, connections idle for fifty seconds are closed before
/// the usual server does so (reusing one that the server is closing leaves open whether a request was taken),
/// TLS is verified, redirects are not followed (credentials go to no host that was not named), and the proxy is
/// what `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` say.
///
/// # Examples
///
/// ```
/// use falco_http::ClientConfig;
/// use std::time::Duration;
///
/// let client = ClientConfig::new("falco-mine/0.1.0")
///     .with_connect_timeout(Duration::from_secs(3))
///     .with_plain_http_only(true)
///     .build()?;
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClientConfig {
    user_agent: String,
    connect_timeout: Duration,
    read_timeout: Duration,
    timeout: Option<Duration>,
    pool_idle_timeout: Duration,
    proxy: Option<Secret>,
    client_certificate: Option<Secret>,
    ca_certificates: Vec<Vec<u8>>,
    insecure: bool,
    plain_http_only: bool,
    http1_only: bool,
    injected: Option<reqwest::Client>,
}

impl ClientConfig {
    /// The defaults, with a user agent such as `falco-openwhisk/0.1.0`.
    pub fn new(user_agent: impl Into<String>) -> Self {
        Self {
            user_agent: user_agent.into(),
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(90),
            timeout: None,
            pool_idle_timeout: Duration::from_secs(50),
            proxy: None,
            client_certificate: None,
            ca_certificates: Vec::new(),
            insecure: false,
            plain_http_only: false,
            http1_only: false,
            injected: None,
        }
    }

    /// Limits the time until a connection is made.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Limits the time in which nothing at all arrives. It has to be longer than the longest call that is held open.
    ///
    /// Nothing arrives while a request is sent: a request has one second more for each 64 KiB of its body.
    #[must_use]
    pub fn with_read_timeout(mut self, timeout: Duration) -> Self {
        self.read_timeout = timeout;
        self
    }

    /// Limits a whole exchange, from connecting to the last byte; a request's own timeout overrides it, and is extended by
    /// one second for each 64 KiB of its body.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Closes connections that were idle for so long.
    #[must_use]
    pub fn with_pool_idle_timeout(mut self, timeout: Duration) -> Self {
        self.pool_idle_timeout = timeout;
        self
    }

    /// Goes through a proxy, such as `http://user:password@proxy:3128`.
    #[must_use]
    pub fn with_proxy(mut self, url: impl Into<Secret>) -> Self {
        self.proxy = Some(url.into());
        self
    }

    /// Presents a client certificate: its chain and its private key, both in PEM, one after the other.
    #[must_use]
    pub fn with_client_certificate(mut self, pem: impl Into<Secret>) -> Self {
        self.client_certificate = Some(pem.into());
        self
    }

    /// Whether a client certificate is presented.
    pub fn has_client_certificate(&self) -> bool {
        self.client_certificate.is_some()
    }

    /// Trusts the CA certificates in `pem` besides those of the system.
    #[must_use]
    pub fn with_ca_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca_certificates.push(pem.into());
        self
    }

    /// Skips the verification of TLS certificates. A machine in between can then read the credentials.
    #[must_use]
    pub fn with_insecure(mut self, insecure: bool) -> Self {
        self.insecure = insecure;
        self
    }

    /// Promises that only `http://` will be spoken: no CA certificates are loaded, so that a client can be made in a
    /// container that has none.
    #[must_use]
    pub fn with_plain_http_only(mut self, plain: bool) -> Self {
        self.plain_http_only = plain;
        self
    }

    /// Speaks HTTP/1.1 only. An HTTP/2 client holds all calls to one host on one connection, whose server allows about
    /// a hundred at a time; a program that holds open more of them to one host needs a connection for each.
    #[must_use]
    pub fn with_http1_only(mut self, only: bool) -> Self {
        self.http1_only = only;
        self
    }

    /// Uses a client made elsewhere. Of the other settings only the user agent then has a meaning.
    #[must_use]
    pub fn with_client(mut self, client: reqwest::Client) -> Self {
        self.injected = Some(client);
        self
    }

    /// Makes the client.
    ///
    /// # Errors
    ///
    /// `InvalidInput` that names the setting which is wrong: proxy, client certificate, CA certificates, user agent;
    /// `Unsupported` for a TLS setting when the crate was built without TLS.
    pub fn build(self) -> Result<Client> {
        let user_agent = HeaderValue::from_str(&self.user_agent).map_err(|e| {
            Error::invalid_input("the user agent is not a valid header").with_source(&e)
        })?;
        // The settings of an injected client are its own.
        let read_timeout = self.injected.is_none().then_some(self.read_timeout);
        let inner = match self.injected {
            Some(client) => client,
            None => self.build_reqwest()?,
        };
        Ok(Client { inner, read_timeout, user_agent })
    }

    fn build_reqwest(self) -> Result<reqwest::Client> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(self.connect_timeout)
            .pool_idle_timeout(self.pool_idle_timeout)
            .tcp_keepalive(KEEPALIVE_IDLE)
            .tcp_keepalive_interval(KEEPALIVE_INTERVAL)
            .tcp_keepalive_retries(KEEPALIVE_PROBES)
            .redirect(redirect::Policy::none());
        if let Some(timeout) = self.timeout {
            builder = builder.timeout(timeout);
        }
        if self.http1_only {
            builder = builder.http1_only();
        }
        if let Some(proxy) = &self.proxy {
            let proxy = reqwest::Proxy::all(proxy.expose())
                .map_err(|_| Error::invalid_input("the proxy is not a valid URL"))?;
            builder = builder.proxy(proxy);
        }
        self.with_tls(builder)?.build().map_err(|e| {
            Error::invalid_input("no HTTP client can be made").with_source(&e).with_hint(
                "install the system's CA certificates (ca-certificates), name some, or pass your own client",
            )
        })
    }

    #[cfg(feature = "rustls")]
    fn with_tls(&self, mut builder: reqwest::ClientBuilder) -> Result<reqwest::ClientBuilder> {
        if let Some(pem) = &self.client_certificate {
            // The library's own error could quote the key.
            let identity = reqwest::Identity::from_pem(pem.expose().as_bytes()).map_err(|_| {
                Error::invalid_input(
                    "the client certificate is not a PEM file with a chain and its private key",
                )
            })?;
            builder = builder.identity(identity);
        }
        let mut trusted = Vec::new();
        for pem in &self.ca_certificates {
            let invalid = || Error::invalid_input("the CA certificates are not a PEM file");
            let certificates = reqwest::Certificate::from_pem_bundle(pem)
                .map_err(|e| invalid().with_source(&e))?;
            if certificates.is_empty() {
                return Err(invalid());
            }
            trusted.extend(certificates);
        }
        if self.plain_http_only {
            return Ok(builder.tls_certs_only([]));
        }
        Ok(builder.tls_certs_merge(trusted).tls_danger_accept_invalid_certs(self.insecure))
    }

    #[cfg(not(feature = "rustls"))]
    fn with_tls(&self, builder: reqwest::ClientBuilder) -> Result<reqwest::ClientBuilder> {
        if self.client_certificate.is_some() || !self.ca_certificates.is_empty() || self.insecure {
            return Err(Error::unsupported("TLS is not built in")
                .with_hint("enable the feature `rustls`, or pass your own client"));
        }
        Ok(builder)
    }
}

/// An HTTP client with its user agent. Cloning is cheap and shares the connections.
#[derive(Clone)]
pub struct Client {
    inner: reqwest::Client,
    read_timeout: Option<Duration>,
    user_agent: HeaderValue,
}

impl Client {
    /// Starts a request that carries the user agent.
    pub fn request(&self, method: Method, url: reqwest::Url) -> RequestBuilder {
        self.inner.request(method, url).header(USER_AGENT, self.user_agent.clone())
    }

    /// Sends a request and reads at most `limit` bytes of its answer's body.
    ///
    /// Any status is `Ok`: what it means is the platform's to say. Dropped, the server may have taken the request; an
    /// answer that comes within 30 seconds is then read and thrown away, so that the connection is not closed before.
    ///
    /// The timeouts are those of a request that is sent at once: both, the client's for reading and the request's own, are
    /// extended by one second for each 64 KiB of its body.
    ///
    /// # Errors
    ///
    /// As [`transport_error`] says.
    pub async fn send(&self, request: RequestBuilder, limit: u64) -> Result<Reply> {
        self.execute(request.build().map_err(transport_error)?, limit).await
    }

    /// As [`send`](Self::send), for a request that is built (and perhaps signed) already.
    ///
    /// # Errors
    ///
    /// As [`transport_error`] says.
    pub async fn execute(&self, mut request: reqwest::Request, limit: u64) -> Result<Reply> {
        request.headers_mut().entry(USER_AGENT).or_insert_with(|| self.user_agent.clone());
        let sending = time_to_send(&request);
        if let Some(timeout) = request.timeout_mut() {
            *timeout = timeout.saturating_add(sending);
        }
        let origin = request.url().origin().ascii_serialization();
        // reqwest's own read timeout begins with the request, so that a long one would never get through.
        let read_timeout = self.read_timeout;
        let answered = read_timeout.map(|timeout| timeout.saturating_add(sending));
        let exchange = self.inner.execute(request);
        finish(async move {
            let response = in_time(answered, exchange).await.ok_or_else(|| no_answer(&origin))?;
            let response = response.map_err(transport_error)?;
            Ok(Reply::read(response, limit, read_timeout).await)
        })
        .await
    }
}

/// The time that sending a request may take, beyond what each request takes.
fn time_to_send(request: &reqwest::Request) -> Duration {
    let bytes = request.body().and_then(reqwest::Body::as_bytes).map_or(0, <[u8]>::len);
    Duration::from_secs((bytes / SLOWEST) as u64)
}

/// The user agent only: default headers of an injected client may hold credentials.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("user_agent", &self.user_agent).finish_non_exhaustive()
    }
}
