//! Google Cloud Storage: what is signed, checked as Google documents it, over a server that answers as it does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey,
};
use falco_core::{Deployable, ErrorKind, Invocation, Payload, Platform, RuntimeName};
use falco_data::{Data, DataPolicy, Sink, Store};
use falco_testkit::InMemory;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers::any};

const KEY: &str = include_str!("private_key.pem");

const ACCOUNT: &str = "falco@project.iam.gserviceaccount.com";

/// URLs that `openssl dgst -sha256 -sign private_key.pem` has signed, each after its method: what was signed was made by
/// hand after <https://cloud.google.com/storage/docs/authentication/canonical-requests>.
const SIGNED_BY_OPENSSL: &str = include_str!("signed_by_openssl.txt");

/// Checks signatures, and keeps objects.
#[derive(Clone, Default)]
struct Gcs(Arc<Mutex<HashMap<String, Vec<u8>>>>);

impl Respond for Gcs {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let mut objects = self.0.lock().unwrap();
        // The client's own requests encode more of a name than signed URLs do.
        let path = request.url.path().replace("%2F", "/").replace("%2D", "-");
        match request.method.as_str() {
            // The driver's own requests carry a token instead, which this server does not ask for.
            "DELETE" if objects.remove(&path).is_some() => ResponseTemplate::new(204),
            "PUT" if is_signed(request) => {
                objects.insert(path, request.body.clone());
                ResponseTemplate::new(200)
            }
            "GET" if is_signed(request) => match objects.get(&path) {
                Some(content) if request.headers.contains_key("range") => {
                    ResponseTemplate::new(206).set_body_bytes(&content[6..12])
                }
                Some(content) => ResponseTemplate::new(200).set_body_bytes(content.clone()),
                None => ResponseTemplate::new(404),
            },
            _ => {
                let body = "<Error><Code>SignatureDoesNotMatch</Code></Error>";
                ResponseTemplate::new(403).set_body_string(body)
            }
        }
    }
}

/// As <https://cloud.google.com/storage/docs/authentication/canonical-requests> has it.
fn is_signed(request: &Request) -> bool {
    let query = request.url.query().unwrap_or_default();
    let Some((signed, signature)) = query.split_once("&X-Goog-Signature=") else { return false };
    let parameters: HashMap<_, _> = request.url.query_pairs().collect();
    // Always this one, whatever server the URL names.
    let host = "storage.googleapis.com";
    let (method, path) = (&request.method, request.url.path());
    let canonical = format!("{method}\n{path}\n{signed}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, canonical.as_bytes());
    let digest = hex(digest.as_ref());
    let (_, scope) = parameters["X-Goog-Credential"].split_once('/').unwrap();
    let date = &parameters["X-Goog-Date"];
    let text = format!("GOOG4-RSA-SHA256\n{date}\n{scope}\n{digest}");
    let bytes =
        (0..signature.len()).step_by(2).map(|at| u8::from_str_radix(&signature[at..at + 2], 16));
    let Ok(bytes) = bytes.collect::<Result<Vec<_>, _>>() else { return false };
    let public =
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key().public_key().as_ref().to_vec());
    public.verify(text.as_bytes(), &bytes).is_ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn key() -> KeyPair {
    let key = PrivatePkcs8KeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    KeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap()
}

async fn store(server: &MockServer) -> Store {
    store_at(Some(server.uri()))
}

/// The store at a server of the test's, or Google's.
fn store_at(url: Option<String>) -> Store {
    let mut key = json!({
        "private_key": KEY,
        "private_key_id": "1",
        "client_email": ACCOUNT,
    });
    if let Some(url) = url {
        key["gcs_base_url"] = url.into();
    }
    let builder = object_store::gcp::GoogleCloudStorageBuilder::new();
    let builder = builder.with_service_account_key(key.to_string()).with_bucket_name("bucket");
    Store::new("gs://bucket/scratch", builder.build().unwrap()).unwrap()
}

#[tokio::test]
async fn signed_urls_verify_as_google_documents_them() {
    let server = MockServer::start().await;
    let gcs = Gcs::default();
    Mock::given(any()).respond_with(gcs.clone()).mount(&server).await;
    let data = Data::new(InMemory::default(), store(&server).await, DataPolicy::default()).unwrap();
    data.check().await.unwrap();
    assert!(gcs.0.lock().unwrap().is_empty(), "what was written for the check is deleted");
    let signed = server.received_requests().await.unwrap();
    let with_signature =
        signed.iter().filter(|it| it.url.query().is_some_and(|q| q.contains("X-Goog-Signature")));
    assert_eq!(with_signature.count(), 2);
}

#[tokio::test]
async fn a_refusal_names_the_code_and_what_to_do_and_not_the_signature() {
    for (status, code, kind, hint) in [
        (403, "AccessDenied", ErrorKind::Forbidden, "grant reading"),
        (403, "RequestTimeTooSkewed", ErrorKind::Forbidden, "set the clock"),
        (400, "AuthorizationHeaderMalformed", ErrorKind::InvalidInput, "region of the bucket"),
        (404, "NoSuchBucket", ErrorKind::NotFound, "create the bucket"),
    ] {
        let server = MockServer::start().await;
        let body = format!("<Error><Code>{code}</Code></Error>");
        let refusal = ResponseTemplate::new(status).set_body_string(body);
        Mock::given(any()).respond_with(refusal).mount(&server).await;
        let (platform, store) = (InMemory::default(), store(&server).await);
        let data = Data::new(platform, store, DataPolicy::default()).unwrap();
        let error = data.check().await.unwrap_err();
        let text = format!("{error:#?}");
        assert!(error.kind() == kind && text.contains(code) && text.contains(hint), "{text}");
        assert!(!text.contains("X-Goog-Signature"), "{text}");
    }
}

/// The signed URL as Google documents it. The signature of this algorithm has no random part.
fn documented(method: &str, path: &str, date: &str, seconds: &str) -> String {
    let host = "storage.googleapis.com";
    let scope = format!("{}/auto/storage/goog4_request", &date[..8]);
    let credential = format!("{ACCOUNT}/{scope}").replace('@', "%40").replace('/', "%2F");
    let query = format!(
        "X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential={credential}&X-Goog-Date={date}\
         &X-Goog-Expires={seconds}&X-Goog-SignedHeaders=host"
    );
    let canonical = format!("{method}\n{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, canonical.as_bytes());
    let text = format!("GOOG4-RSA-SHA256\n{date}\n{scope}\n{}", hex(digest.as_ref()));
    let (key, random) = (key(), aws_lc_rs::rand::SystemRandom::new());
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature).unwrap();
    format!("https://{host}{path}?{query}&X-Goog-Signature={}", hex(&signature))
}

/// A parameter of a URL.
fn parameter<'a>(url: &'a str, name: &str) -> &'a str {
    let (_, rest) = url.split_once(&format!("{name}=")).unwrap();
    rest.split('&').next().unwrap()
}

#[tokio::test]
async fn signed_urls_are_those_that_google_documents_to_the_byte() {
    let again = |method: &str, url: &str| {
        let path = url.split('?').next().unwrap().strip_prefix("https://storage.googleapis.com");
        let [date, seconds] = ["X-Goog-Date", "X-Goog-Expires"].map(|name| parameter(url, name));
        documented(method, path.unwrap(), date, seconds)
    };
    // First whether the test itself signs as openssl does.
    for line in SIGNED_BY_OPENSSL.lines() {
        let (method, url) = line.split_once(' ').unwrap();
        assert_eq!(again(method, url), url);
    }

    let platform = Arc::new(InMemory::default());
    let echo = Deployable::from_source("f", RuntimeName::python(), "def main(args): return args");
    let deployment = platform.deploy(&echo).await.unwrap();
    let store = store_at(None);
    let policy = DataPolicy::default().with_url_lifetime(std::time::Duration::from_secs(1800));
    let data = Data::new(platform, store.clone(), policy).unwrap();
    let argument = json!({"input": store.object("in/a b-\u{e4}~.txt"), "out": Sink::scratch()});
    let invocation = Invocation::new("run-1", "map", "7", Payload::json(&argument).unwrap());
    let activation = data.invoke(&deployment, &invocation).await.unwrap();
    let sent: serde_json::Value = activation.outcome.unwrap().parse().unwrap();
    let get = sent["input"]["falco:object"]["get"].as_str().unwrap();
    let put = sent["out"]["falco:sink"]["put"].as_str().unwrap();
    assert_eq!(parameter(get, "X-Goog-Expires"), "1800");
    assert_eq!(get, again("GET", get));
    assert_eq!(put, again("PUT", put));
    let path = get.split('?').next().unwrap();
    assert!(path.ends_with("/bucket/scratch/in/a%20b-%C3%A4~.txt"), "{path}");
}
