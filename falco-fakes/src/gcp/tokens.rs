//! The token endpoint, the metadata server, and impersonation.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::reply;
use super::world::{Issued, World};
use super::{ACCOUNT, LOCATION, PROJECT, RUNTIME_ACCOUNT};
use crate::http::{Reply, Request};

const LIFETIME: Duration = Duration::from_secs(3600);
const PUBLIC_KEY: &str = include_str!("public_key.pem");

/// `POST /token`: an assertion of the key, or a refresh token.
pub(super) fn grant(world: &World, seen: &Request) -> Reply {
    let field = |name: &str| seen.form(name);
    let refused = |why: &str| {
        let body = json!({"error": "invalid_grant", "error_description": why});
        reply::with(400, "application/json", body.to_string())
    };
    match field("grant_type").as_deref() {
        Some("refresh_token")
            if field("refresh_token").as_deref() == Some("good-refresh-token") =>
        {
            reply::ok(&access(world, "ada@example.com"))
        }
        Some("refresh_token") => refused("Token has been expired or revoked."),
        Some("urn:ietf:params:oauth:grant-type:jwt-bearer") => {
            let assertion = field("assertion").unwrap_or_default();
            match signed_claims(&assertion) {
                Some(claims) => answer(world, &claims).unwrap_or_else(refused),
                None => refused("Invalid JWT Signature."),
            }
        }
        _ => reply::with(
            400,
            "application/json",
            json!({"error": "unsupported_grant_type"}).to_string(),
        ),
    }
}

/// The claims of a JWT that our key has signed.
fn signed_claims(jwt: &str) -> Option<Value> {
    let (message, signature) = jwt.rsplit_once('.')?;
    let (header, claims) = message.split_once('.')?;
    let part = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
    let json = |text: &str| serde_json::from_slice::<Value>(&part(text)?).ok();
    if json(header)?["alg"] != "RS256" {
        return None;
    }
    let key = SubjectPublicKeyInfoDer::from_pem_slice(PUBLIC_KEY.as_bytes()).unwrap();
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.as_ref());
    key.verify(message.as_bytes(), &part(signature)?).ok()?;
    json(claims)
}

/// The token that Google grants for an assertion, or why it grants none.
fn answer(world: &World, claims: &Value) -> Result<Reply, &'static str> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (issued, expires) = (claims["iat"].as_u64(), claims["exp"].as_u64());
    let is_short_lived = issued.zip(expires).is_some_and(|(issued, expires)| {
        issued.abs_diff(now) < 300 && (now..=issued + 3600).contains(&expires)
    });
    if claims["iss"] != ACCOUNT {
        return Err("Invalid issuer.");
    }
    if claims["aud"] != format!("{}/token", world.front()) {
        return Err("Invalid JWT: the audience is another.");
    }
    if !is_short_lived {
        return Err("Invalid JWT: Token must be a short-lived token (60 minutes).");
    }
    Ok(match claims["target_audience"].as_str() {
        Some(audience) => reply::ok(&json!({"id_token": id_token(world, ACCOUNT, audience)})),
        None if claims["scope"].is_string() => reply::ok(&access(world, ACCOUNT)),
        None => return Err("Invalid scope."),
    })
}

pub(super) fn metadata(world: &World, seen: &Request) -> Reply {
    if seen.header("metadata-flavor") != Some("Google") {
        return reply::html(403, "Forbidden");
    }
    let text = |text: String| reply::with(200, "application/text", text);
    let account = "/computeMetadata/v1/instance/service-accounts/default/";
    let reply = match seen.path.strip_prefix(account) {
        Some("token") => reply::ok(&access(world, RUNTIME_ACCOUNT)),
        Some("identity") => match seen.query("audience") {
            Some(audience) => text(id_token(world, RUNTIME_ACCOUNT, audience)),
            None => reply::html(400, "non-empty audience parameter required"),
        },
        Some("email") => text(RUNTIME_ACCOUNT.to_owned()),
        _ => match &*seen.path {
            "/computeMetadata/v1/project/project-id" => text(PROJECT.to_owned()),
            "/computeMetadata/v1/instance/region" => text(format!("projects/1/regions/{LOCATION}")),
            _ => reply::html(404, "Not Found"),
        },
    };
    reply.with_header("metadata-flavor", "Google")
}

pub(super) fn impersonate(world: &World, seen: &Request, call: &str) -> Reply {
    let Some((email, method)) = call.split_once(':') else { return reply::html(404, "Not Found") };
    let body = seen.json();
    match (method, body["audience"].as_str()) {
        ("generateIdToken", Some(audience)) => {
            reply::ok(&json!({"token": id_token(world, email, audience)}))
        }
        ("generateAccessToken", _) => {
            let granted = access(world, email);
            let until = SystemTime::now() + LIFETIME;
            let until = humantime::format_rfc3339(until).to_string();
            reply::ok(&json!({"accessToken": granted["access_token"], "expireTime": until}))
        }
        _ => reply::error(400, "INVALID_ARGUMENT", "Invalid request."),
    }
}

/// The account of a request's access token.
pub(super) fn caller(world: &World, seen: &Request) -> Option<String> {
    let issued = world.state().use_token(seen.bearer()?)?;
    issued.audience.is_none().then_some(issued.email)
}

/// The account of a request's ID token for `audience`.
pub(super) fn identity(world: &World, bearer: Option<&str>, audience: &str) -> Option<String> {
    let issued = world.state().use_token(bearer?)?;
    (issued.audience.as_deref() == Some(audience)).then_some(issued.email)
}

fn access(world: &World, email: &str) -> Value {
    let mut state = world.state();
    let token = format!("ya29.marked-access-token-{}", state.next());
    let issued = Issued { email: email.to_owned(), audience: None, uses: state.token_uses };
    state.tokens.insert(token.clone(), issued);
    json!({"access_token": token, "expires_in": LIFETIME.as_secs(), "token_type": "Bearer"})
}

pub(super) fn id_token(world: &World, email: &str, audience: &str) -> String {
    let mut state = world.state();
    let exp = (SystemTime::now() + LIFETIME).duration_since(UNIX_EPOCH).unwrap().as_secs();
    let payload =
        json!({"aud": audience, "email": email, "exp": exp, "iss": "https://accounts.google.com"});
    let token = format!(
        "eyJ0eXAiOiJKV1QifQ.{}.marked-id-token-{}",
        URL_SAFE_NO_PAD.encode(payload.to_string()),
        state.next()
    );
    let uses = state.token_uses;
    let issued = Issued { email: email.to_owned(), audience: Some(audience.to_owned()), uses };
    state.tokens.insert(token.clone(), issued);
    token
}
