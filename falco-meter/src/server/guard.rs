//! The rules of security: the key, the host, the headers.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;

use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue};

/// Everything comes from the page's own address, and nobody may show it in a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Headers of each answer.
const HEADERS: [(&str, &str); 6] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("cache-control", "no-store"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
];

/// The key of one run, and the names under which the page may be asked for.
pub(super) struct Guard {
    key: String,
    hosts: Vec<String>,
}

impl fmt::Debug for Guard {
    // The key must not get into a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

impl Guard {
    pub(super) fn new(hosts: Vec<String>) -> io::Result<Self> {
        let mut random = [0_u8; 16];
        File::open("/dev/urandom")?.read_exact(&mut random)?;
        let key = random.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { key, hosts })
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Whether the request carries the key. The time it takes does not depend on where keys differ.
    pub(super) fn knows(&self, headers: &HeaderMap) -> bool {
        let Some(header) = headers.get(AUTHORIZATION) else { return false };
        let Some(given) = header.as_bytes().strip_prefix(b"Bearer ") else { return false };
        let difference = given.iter().zip(self.key.as_bytes()).fold(0, |all, (a, b)| all | (a ^ b));
        given.len() == self.key.len() && difference == 0
    }

    /// Whether the request was meant for this server: no other name can be made to lead here.
    pub(super) fn is_host(&self, headers: &HeaderMap) -> bool {
        let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else {
            return false;
        };
        let name = match host.strip_prefix('[') {
            Some(v6) => v6.split(']').next().unwrap_or_default(),
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        name.eq_ignore_ascii_case("localhost")
            || name.parse::<IpAddr>().is_ok()
            || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    pub(super) fn add_headers(headers: &mut HeaderMap) {
        for (name, value) in HEADERS {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
    }
}
