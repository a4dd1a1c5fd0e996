//! A server with the protocol of Amazon S3, which checks signatures and misbehaves where a test wants it to.

mod requests;

use std::fmt;
use std::fs;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::body::{Body as HttpBody, Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, HeaderValue};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, HttpError, HttpResponse};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use self::requests::Counts;
pub use self::requests::RequestKind;

/// The bucket that is there from the beginning.
pub const BUCKET: &str = "bucket";
/// The access key that it knows.
pub const ACCESS_KEY: &str = "access";
/// The secret key of [`ACCESS_KEY`].
pub const SECRET_KEY: &str = "secret";

/// The name of its threads.
pub const THREAD: &str = "fake-s3";

/// Amazon S3 on a port of loopback, over a temporary folder and with a thread of its own: the server `s3s-fs`. It refuses
/// requests whose signature is altered, expired or of another method. Dropped, it ends.
///
/// # Examples
///
/// ```
/// use falco_fakes::FakeS3;
///
/// let s3 = FakeS3::start();
/// s3.put("in/a.txt", b"to be or not to be");
/// // A program that opens `s3://bucket/in` finds it by these variables.
/// assert!(s3.environment().iter().any(|(name, _)| *name == "AWS_ENDPOINT"));
/// assert_eq!(s3.objects("in"), [("in/a.txt".to_owned(), b"to be or not to be".to_vec())]);
/// ```
pub struct FakeS3 {
    url: String,
    folder: tempfile::TempDir,
    faults: Arc<Faults>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Every n-th request fails, in turn with 503, half a body, and a closed connection.
#[derive(Default)]
struct Faults {
    every: AtomicU64,
    requests: AtomicU64,
    counts: Counts,
    /// Status and code of the answer to every request.
    refusal: Mutex<Option<(hyper::StatusCode, String)>>,
}

impl Faults {
    fn refusal(&self) -> MutexGuard<'_, Option<(hyper::StatusCode, String)>> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FakeS3 {
    /// Starts a server with the bucket [`BUCKET`].
    ///
    /// # Panics
    ///
    /// When no port of loopback or no temporary folder can be had.
    #[expect(clippy::expect_used, reason = "a test without its server has nothing to test")]
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join(BUCKET)).expect("a folder for the bucket");
        let files = s3s_fs::FileSystem::new(folder.path()).expect("a folder that is there");
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let faults = Arc::<Faults>::default();
        let service = Faulty(builder.build(), faults.clone());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
        listener.set_nonblocking(true).expect("a listener that does not block");
        let url = format!("http://{}", listener.local_addr().expect("the address of a listener"));
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            // Its threads live as long as the server, so that their processor time can be subtracted from the program's.
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .thread_name(THREAD)
                .thread_keep_alive(Duration::from_secs(60 * 60))
                .build();
            runtime.expect("a runtime").block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    () = accept(listener, service) => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name(THREAD.to_owned()).spawn(serve);
        let thread = thread.expect("a thread");
        Self { url, folder, faults, stop: Some(stop), thread: Some(thread) }
    }

    /// The address, such as `http://127.0.0.1:40123`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The variables by which a program finds it, those of the crate `object_store`.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT", self.url.clone()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
        ]
    }

    /// The store below a prefix of the bucket.
    ///
    /// # Panics
    ///
    /// For a prefix that is not part of a key.
    #[cfg(feature = "data")]
    #[expect(clippy::expect_used, reason = "a test without its store has nothing to test")]
    pub fn store(&self, prefix: &str) -> falco_data::Store {
        let url = format!("s3://{BUCKET}/{prefix}");
        falco_data::Store::new(&url, self.client()).expect("the URL of a store")
    }

    /// Puts an object into the bucket by a request. The server hashes what [`put`](Self::put) has laid into its folder anew for
    /// each read, which takes long for large objects.
    ///
    /// # Panics
    ///
    /// When the request fails.
    #[cfg(feature = "data")]
    #[expect(clippy::expect_used, reason = "a test without its objects has nothing to test")]
    pub async fn upload(&self, key: &str, content: impl Into<bytes::Bytes>) {
        use object_store::{ObjectStoreExt, PutPayload};
        let path = object_store::path::Path::parse(key).expect("a key");
        let content = PutPayload::from_bytes(content.into());
        self.client().put(&path, content).await.expect("an upload");
    }

    #[cfg(feature = "data")]
    #[expect(clippy::expect_used, reason = "all that it needs is given")]
    fn client(&self) -> object_store::aws::AmazonS3 {
        object_store::aws::AmazonS3Builder::new()
            .with_endpoint(&self.url)
            .with_allow_http(true)
            .with_bucket_name(BUCKET)
            .with_region("us-east-1")
            .with_access_key_id(ACCESS_KEY)
            .with_secret_access_key(SECRET_KEY)
            .build()
            .expect("a client of S3")
    }

    /// Lets every n-th request fail from now on, in turn with 503, half a body, and a closed connection after it was done; 0
    /// for none.
    pub fn fail_every(&self, n: u64) {
        self.faults.every.store(n, SeqCst);
    }

    /// Answers every request from now on with this status and this code of S3's, such as 403 and `AccessDenied`.
    ///
    /// # Panics
    ///
    /// For a number that is not a status of HTTP.
    #[expect(clippy::expect_used, reason = "the status stands in the test")]
    pub fn refuse_all(&self, status: u16, code: &str) {
        let status = hyper::StatusCode::from_u16(status).expect("a status of HTTP");
        *self.faults.refusal() = Some((status, code.to_owned()));
    }

    /// Serves again after [`refuse_all`](Self::refuse_all).
    pub fn heal(&self) {
        *self.faults.refusal() = None;
    }

    /// How many requests it has got so far.
    pub fn requests(&self) -> u64 {
        self.faults.requests.load(SeqCst)
    }

    /// How many requests of a kind it has got so far for keys whose first part is `top`, such as `in` for `in/a.txt`; for all
    /// keys when it is empty. A list counts by its prefix.
    pub fn requests_of(&self, kind: RequestKind, top: &str) -> u64 {
        self.faults.counts.of(kind, top)
    }

    /// Puts an object into the bucket, without a request.
    ///
    /// # Panics
    ///
    /// When its file cannot be written.
    #[expect(clippy::expect_used, reason = "a test without its objects has nothing to test")]
    pub fn put(&self, key: &str, content: impl AsRef<[u8]>) {
        let path = self.root().join(key);
        let folder = path.parent().expect("a key has a folder");
        fs::create_dir_all(folder).and_then(|()| fs::write(&path, content)).expect("a file");
    }

    /// The objects in the bucket below a prefix, with their contents, sorted by key.
    pub fn objects(&self, prefix: &str) -> Vec<(String, Vec<u8>)> {
        let root = self.root();
        let (mut found, mut folders) = (Vec::new(), vec![root.join(prefix)]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if let (Ok(key), Ok(content)) = (path.strip_prefix(&root), fs::read(&path)) {
                    found.push((key.to_string_lossy().into_owned(), content));
                }
            }
        }
        found.sort();
        found
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join(BUCKET)
    }
}

impl Drop for FakeS3 {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in it is a defect, and has been printed.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for FakeS3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeS3").field("url", &self.url).finish_non_exhaustive()
    }
}

async fn accept(listener: TcpListener, service: Faulty) {
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        // Without it answers wait for the client's acknowledgement.
        let _ = socket.set_nodelay(true);
        let service = service.clone();
        tokio::spawn(async move {
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            // A connection that a client or a fault has ended is none of the server's business.
            let _ = server.serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

#[derive(Clone)]
struct Faulty(S3Service, Arc<Faults>);

impl Service<hyper::Request<Incoming>> for Faulty {
    type Response = HttpResponse;
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send>>;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        let every = self.1.every.load(SeqCst);
        let number = self.1.requests.fetch_add(1, SeqCst);
        self.1.counts.add(request.method(), request.uri());
        if let Some((status, code)) = self.1.refusal().clone() {
            let body =
                format!("<Error><Code>{code}</Code><Message>as the test wants</Message></Error>");
            let mut response = HttpResponse::new(Body::from(body));
            *response.status_mut() = status;
            return Box::pin(std::future::ready(Ok(response)));
        }
        let is_head = request.method() == hyper::Method::HEAD;
        let served = Service::call(&self.0, request);
        if every == 0 || !number.is_multiple_of(every) {
            return Box::pin(served);
        }
        let which = number / every % 3;
        Box::pin(async move {
            match which {
                0 => {
                    let mut response = HttpResponse::new(Body::from("slow down".to_owned()));
                    *response.status_mut() = hyper::StatusCode::SERVICE_UNAVAILABLE;
                    Ok(response)
                }
                // The answer to HEAD has no body.
                1 if is_head => served.await,
                // More is announced than comes.
                1 => {
                    let (mut parts, body) = served.await?.into_parts();
                    let announced = parts.headers.get(CONTENT_LENGTH);
                    let announced = announced.and_then(|length| length.to_str().ok()?.parse().ok());
                    let length: u64 = announced.unwrap_or_else(|| body.size_hint().lower());
                    let half = Half { body: Box::pin(body), left: length / 2, is_sent: false };
                    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(length.max(10)));
                    Ok(HttpResponse::from_parts(parts, Body::http_body_unsync(half)))
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

/// The beginning of a body, after which the connection breaks.
struct Half {
    body: Pin<Box<Body>>,
    left: u64,
    /// Whether the server has had a turn to send what it has got.
    is_sent: bool,
}

impl HttpBody for Half {
    type Data = bytes::Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, Self::Error>>> {
        if self.left > 0
            && let Some(frame) = ready!(self.body.as_mut().poll_frame(context))
            && let Ok(mut data) = frame?.into_data()
        {
            data.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
            self.left -= data.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if !self.is_sent {
            self.is_sent = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Err("a fault".into())))
    }
}
