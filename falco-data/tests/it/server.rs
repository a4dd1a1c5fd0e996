//! A real S3 server, in this process, that fails where a test wants it to.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use falco_data::Store;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo};
use object_store::aws::AmazonS3Builder;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, HttpError, HttpResponse};
use tokio::net::TcpListener;

/// s3s-fs over a temporary folder. Dropped, it ends.
pub(crate) struct S3 {
    pub(crate) url: String,
    pub(crate) folder: tempfile::TempDir,
    faults: Arc<Faults>,
    serving: tokio::task::JoinHandle<()>,
}

/// Every n-th request fails, in turn with 503, half a body, and a closed connection.
#[derive(Default)]
struct Faults {
    every: AtomicU64,
    requests: AtomicU64,
}

#[derive(Clone)]
struct Faulty(S3Service, Arc<Faults>);

impl S3 {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("bucket")).unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single("access", "secret"));
        let faults = Arc::<Faults>::default();
        let service = Faulty(builder.build(), faults.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                socket.set_nodelay(true).unwrap();
                let service = service.clone();
                tokio::spawn(async move {
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    // A connection that a client or a fault has ended is none of the server's business.
                    let _ = server.serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Self { url, folder, faults, serving }
    }

    /// Lets every n-th request fail from now on; 0 for none.
    pub(crate) fn fail_every(&self, n: u64) {
        self.faults.every.store(n, SeqCst);
    }

    pub(crate) fn store(&self, prefix: &str) -> Store {
        self.store_with(prefix, "secret", "us-east-1")
    }

    pub(crate) fn store_with(&self, place: &str, secret: &str, region: &str) -> Store {
        let (bucket, _) = place.split_once('/').unwrap_or((place, ""));
        let s3 = AmazonS3Builder::new()
            .with_endpoint(&self.url)
            .with_allow_http(true)
            .with_bucket_name(bucket)
            .with_region(region)
            .with_access_key_id("access")
            .with_secret_access_key(secret)
            .build()
            .unwrap();
        Store::new(&format!("s3://{place}"), s3).unwrap()
    }

    /// The objects below a prefix, with their contents.
    pub(crate) fn objects(&self, prefix: &str) -> Vec<(String, Vec<u8>)> {
        let root = self.folder.path().join("bucket");
        let (mut found, mut folders) = (Vec::new(), vec![root.join(prefix)]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path: PathBuf = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let key = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                    found.push((key, std::fs::read(&path).unwrap()));
                }
            }
        }
        found.sort();
        found
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Service<hyper::Request<Incoming>> for Faulty {
    type Response = HttpResponse;
    type Error = HttpError;
    type Future = futures_util::future::BoxFuture<'static, Result<HttpResponse, HttpError>>;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        let every = self.1.every.load(SeqCst);
        let number = self.1.requests.fetch_add(1, SeqCst);
        let served = Service::call(&self.0, request);
        if every == 0 || !number.is_multiple_of(every) {
            return served;
        }
        let which = number / every % 3;
        Box::pin(async move {
            match which {
                0 => {
                    let mut response = HttpResponse::new(Body::from("slow down".to_owned()));
                    *response.status_mut() = hyper::StatusCode::SERVICE_UNAVAILABLE;
                    Ok(response)
                }
                // More is announced than comes.
                1 => {
                    let response = served.await?;
                    let (parts, _) = response.into_parts();
                    let mut half = HttpResponse::from_parts(parts, Body::from("half".to_owned()));
                    half.headers_mut()
                        .insert("content-length", hyper::header::HeaderValue::from(10_000));
                    Ok(half)
                }
                // It has happened, and nobody says so.
                _ => {
                    served.await?;
                    Err(HttpError::new(Box::new(std::io::Error::other("a fault"))))
                }
            }
        })
    }
}
