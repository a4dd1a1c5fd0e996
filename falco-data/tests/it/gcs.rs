//! Google Cloud Storage: what is signed, checked as Google documents it, over a server that answers as it does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use falco_core::ErrorKind;
use falco_data::{Data, DataPolicy, Store};
use falco_testkit::InMemory;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers::any};

const KEY: &str = include_str!("private_key.pem");

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
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let (_, scope) = parameters["X-Goog-Credential"].split_once('/').unwrap();
    let date = &parameters["X-Goog-Date"];
    let text = format!("GOOG4-RSA-SHA256\n{date}\n{scope}\n{digest}");
    let bytes =
        (0..signature.len()).step_by(2).map(|at| u8::from_str_radix(&signature[at..at + 2], 16));
    let Ok(bytes) = bytes.collect::<Result<Vec<_>, _>>() else { return false };
    let key = PrivatePkcs8KeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let key = KeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap();
    let public =
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref().to_vec());
    public.verify(text.as_bytes(), &bytes).is_ok()
}

async fn store(server: &MockServer) -> Store {
    let key = json!({
        "private_key": KEY,
        "private_key_id": "1",
        "client_email": "falco@project.iam.gserviceaccount.com",
        "gcs_base_url": server.uri(),
    });
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
