//! Signing assertions: RS256, by the cryptography that TLS has brought already.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Serialize;

/// A service account's private key. `Debug` shows nothing of it.
pub(super) struct Signer(RsaKeyPair);

/// The fault of a key; never a part of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadKey {
    NoPem,
    NoRsa,
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'a str,
    typ: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
}

impl Signer {
    /// Reads a private key in PEM. Google writes PKCS#8; PKCS#1, as openssl does, is taken as well.
    pub(super) fn from_pem(pem: &str) -> Result<Self, BadKey> {
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| BadKey::NoPem)?;
        let pair = match &der {
            PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
            _ => return Err(BadKey::NoRsa),
        };
        pair.map(Self).map_err(|_| BadKey::NoRsa)
    }

    /// A JWT of `claims`, signed; `None` when the key refuses to sign or the claims are not JSON.
    pub(super) fn jwt<T: Serialize>(&self, key_id: Option<&str>, claims: &T) -> Option<String> {
        let header = Header { alg: "RS256", typ: "JWT", kid: key_id };
        let part = |json: Vec<u8>| URL_SAFE_NO_PAD.encode(json);
        let header = part(serde_json::to_vec(&header).ok()?);
        let claims = part(serde_json::to_vec(claims).ok()?);
        let message = format!("{header}.{claims}");
        let mut signature = vec![0; self.0.public_modulus_len()];
        let random = SystemRandom::new();
        self.0.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature).ok()?;
        Some(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = include_str!("testdata/private_key.pem");

    #[test]
    fn a_jwt_is_what_openssl_signs() {
        let signer = Signer::from_pem(PEM).unwrap();
        let jwt = signer.jwt(Some("1"), &serde_json::json!({"iss": "falco"})).unwrap();
        // printf %s HEADER.CLAIMS | openssl dgst -sha256 -sign private_key.pem | basenc --base64url
        assert_eq!(jwt, include_str!("testdata/signed_by_openssl.txt").trim_end());
    }

    #[test]
    fn an_invalid_key_is_refused() {
        assert_eq!(Signer::from_pem("").unwrap_err(), BadKey::NoPem);
        assert_eq!(Signer::from_pem(&PEM.replace("KEY", "KEYS")).unwrap_err(), BadKey::NoPem);
        let curve = "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n";
        assert_eq!(Signer::from_pem(curve).unwrap_err(), BadKey::NoRsa);
        assert_eq!(format!("{:?}", Signer::from_pem(PEM).unwrap()), "Signer { .. }");
    }

    #[test]
    fn a_key_as_openssl_writes_it_signs_the_same() {
        let pkcs1 = Signer::from_pem(include_str!("testdata/private_key_pkcs1.pem")).unwrap();
        let claims = serde_json::json!({"iss": "falco"});
        let jwt = |signer: &Signer| signer.jwt(None, &claims).unwrap();
        assert_eq!(jwt(&pkcs1), jwt(&Signer::from_pem(PEM).unwrap()));
    }
}
