//! Requests by signed URLs, and files in their place.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde::de::IgnoredAny;
use ureq::http::Response;
use ureq::tls::TlsConfig;
use ureq::{Agent, Body, SendBody};

use super::error::{DataError, Kind, shown};

const TRIES: u32 = 4;

/// Requests of one call at once.
pub(super) const AT_ONCE: usize = 8;

/// Connections are kept from call to call.
static AGENT: LazyLock<Agent> = LazyLock::new(|| {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = TlsConfig::builder().unversioned_rustls_crypto_provider(provider).build();
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_connect(Some(Duration::from_secs(20)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .max_idle_connections_per_host(AT_ONCE)
        .tls_config(tls)
        .build()
        .new_agent()
});

/// A range that can be read.
#[derive(Clone, Deserialize)]
pub(super) struct Readable {
    pub(super) get: String,
    #[serde(default)]
    pub(super) url: String,
    #[serde(default)]
    pub(super) range: Option<(u64, u64)>,
    #[serde(default)]
    pub(super) size: Option<u64>,
    #[serde(default)]
    pub(super) etag: Option<String>,
    #[serde(default)]
    pub(super) until: Option<u64>,
    #[serde(default)]
    pub(super) gzip: bool,
    #[serde(default, rename = "parts")]
    _parts: Option<IgnoredAny>,
}

impl Readable {
    pub(super) fn range_of(get: String, until: Option<u64>, from: u64, to: u64) -> Self {
        let (url, range) = (String::new(), Some((from, to)));
        Self { get, url, range, size: None, etag: None, until, gzip: false, _parts: None }
    }

    /// Another range of the same object.
    pub(super) fn at(&self, from: u64, to: u64) -> Self {
        Self { range: Some((from, to)), ..self.clone() }
    }

    /// Its content, decompressed where it is compressed.
    pub(super) fn open(&self) -> Result<Box<dyn Read + Send>, DataError> {
        let bytes = self.open_stored()?;
        Ok(if self.gzip { Box::new(MultiGzDecoder::new(bytes)) } else { bytes })
    }

    fn open_stored(&self) -> Result<Box<dyn Read + Send>, DataError> {
        let range = self.range.or(self.size.map(|size| (0, size)));
        match self.get.strip_prefix("file://") {
            Some(path) => self.open_file(&decoded(path), range),
            None => {
                let (position, end) = range.map_or((0, None), |(from, to)| (from, Some(to)));
                let (get, etag, until) = (self.get.clone(), self.etag.clone(), self.until);
                Ok(Box::new(HttpRange { get, position, end, etag, until, body: None, breaks: 0 }))
            }
        }
    }

    fn open_file(
        &self,
        path: &PathBuf,
        range: Option<(u64, u64)>,
    ) -> Result<Box<dyn Read + Send>, DataError> {
        let failed = |error: io::Error| {
            let kind = match error.kind() {
                io::ErrorKind::NotFound => Kind::ObjectMissing,
                _ => Kind::StoreRefused,
            };
            DataError::new(kind, format!("{}: {error}", path.display()))
        };
        let mut file = File::open(path).map_err(failed)?;
        let now = file.metadata().map_err(failed)?;
        if let Some(etag) = &self.etag {
            let micros = now.mtime() * 1_000_000 + now.mtime_nsec() / 1000;
            if etag.trim_matches('"') != format!("{:x}-{micros:x}-{:x}", now.ino(), now.len()) {
                return Err(DataError::changed(&self.get));
            }
        }
        let (from, to) = range.unwrap_or((0, now.len()));
        if to > now.len() {
            return Err(DataError::changed(&self.get));
        }
        file.seek(SeekFrom::Start(from)).map_err(failed)?;
        Ok(Box::new(file.take(to - from)))
    }
}

/// A range behind HTTP. It goes on where a connection broke off.
struct HttpRange {
    get: String,
    position: u64,
    end: Option<u64>,
    etag: Option<String>,
    until: Option<u64>,
    body: Option<Box<dyn Read + Send>>,
    breaks: u32,
}

impl HttpRange {
    fn open(&mut self) -> Result<Box<dyn Read + Send>, DataError> {
        let range = match self.end {
            Some(end) => Some(format!("bytes={}-{}", self.position, end - 1)),
            None if self.position > 0 => Some(format!("bytes={}-", self.position)),
            None => None,
        };
        let response = exchange("GET", &self.get, self.until, || {
            let mut request = AGENT.get(&self.get);
            if let Some(range) = &range {
                request = request.header("range", range);
            }
            if let Some(etag) = &self.etag {
                request = request.header("if-match", etag);
            }
            request.call()
        })?;
        if range.is_some() && response.status() != 206 {
            let message = format!("GET {}: the store ignores ranges", shown(&self.get));
            return Err(DataError::new(Kind::StoreRefused, message));
        }
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        if self.end.is_none() {
            let length = header("content-length").and_then(|length| length.parse::<u64>().ok());
            self.end = length.map(|length| self.position + length);
        }
        // A part that is read later has to be of the same object. Not every store heeds If-Match.
        let found = header("etag");
        if let (Some(etag), Some(found)) = (&self.etag, found)
            && version_of(etag) != version_of(found)
        {
            return Err(DataError::changed(&self.get));
        }
        self.etag = self.etag.take().or_else(|| found.map(str::to_owned));
        Ok(Box::new(response.into_body().into_reader()))
    }
}

impl Read for HttpRange {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.end.is_none_or(|end| self.position < end) && !buffer.is_empty() {
            let body = match &mut self.body {
                Some(body) => body,
                None => {
                    let body = self.open()?;
                    self.body.insert(body)
                }
            };
            let count = body.read(buffer);
            match count {
                Ok(count) if count > 0 => {
                    self.position += count as u64;
                    return Ok(count);
                }
                Ok(_) if self.end.is_none() => return Ok(0),
                _ => {}
            }
            self.body = None;
            self.breaks += 1;
            if self.breaks == TRIES {
                let message = format!("GET {} broke off {TRIES} times", shown(&self.get));
                return Err(DataError::new(Kind::StoreUnavailable, message).into());
            }
            pause(self.breaks, None);
        }
        Ok(0)
    }
}

/// A place that can be written.
#[derive(Clone, Deserialize)]
pub(super) struct Writable {
    pub(super) url: String,
    pub(super) put: String,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    until: Option<u64>,
    #[serde(default)]
    pub(super) partitions: Option<u32>,
    #[serde(default)]
    pub(super) gzip: bool,
}

// The signed URLs are secrets.
impl fmt::Debug for Readable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readable").field("url", &shown(&self.get)).finish_non_exhaustive()
    }
}

impl fmt::Debug for Writable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writable").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Writable {
    /// Writes the object, which `file` holds from its beginning.
    pub(super) fn store(&self, file: &mut File, length: u64) -> Result<(), DataError> {
        if let Some(path) = self.put.strip_prefix("file://") {
            return store_file(&decoded(path), file);
        }
        exchange("PUT", &self.put, self.until, || {
            file.rewind().map_err(ureq::Error::Io)?;
            let mut request = AGENT.put(&self.put).header("content-length", length.to_string());
            for (name, value) in &self.headers {
                request = request.header(name, value);
            }
            request.send(SendBody::from_reader(&mut *file))
        })?;
        Ok(())
    }
}

fn store_file(path: &PathBuf, file: &mut File) -> Result<(), DataError> {
    // A name that listings leave out, until it is whole.
    let mut staged = path.clone().into_os_string();
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    staged.push(format!("#{}{nanos}", std::process::id()));
    let mut written = || -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        file.rewind()?;
        let mut whole = File::create_new(&staged)?;
        io::copy(file, &mut whole)?;
        whole.flush()?;
        fs::rename(&staged, path)
    };
    written().map_err(|error| {
        // What is left of it is not an object.
        let _ = fs::remove_file(&staged);
        DataError::new(Kind::StoreRefused, format!("{} cannot be written: {error}", path.display()))
    })
}

/// Sends a request until it is answered.
fn exchange(
    method: &str,
    url: &str,
    until: Option<u64>,
    mut send: impl FnMut() -> Result<Response<Body>, ureq::Error>,
) -> Result<Response<Body>, DataError> {
    let mut problem = String::new();
    let mut wait = None;
    for attempt in 0..TRIES {
        if attempt > 0 {
            pause(attempt, wait.take());
        }
        check_time(url, until)?;
        match send() {
            Ok(response) if response.status().is_success() => return Ok(response),
            Ok(response) => {
                let (reason, after) = refusal(method, url, until, response)?;
                (problem, wait) = (reason, after);
            }
            Err(error) => problem = error.to_string().replace(url, shown(url)),
        }
    }
    let message =
        format!("{method} {} failed {TRIES} times, the last time with {problem}", shown(url));
    Err(DataError::new(Kind::StoreUnavailable, message))
}

/// The reason and the wait that the store asks for, where a repetition may help.
fn refusal(
    method: &str,
    url: &str,
    until: Option<u64>,
    mut response: Response<Body>,
) -> Result<(String, Option<u64>), DataError> {
    let status = response.status().as_u16();
    let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
    let after = after.and_then(|seconds| seconds.parse().ok());
    let text =
        response.body_mut().with_config().limit(1 << 16).read_to_string().unwrap_or_default();
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    let code = code.map_or("", |(code, _)| code);
    if matches!(status, 408 | 429 | 500 | 502 | 503 | 504) {
        return Ok((format!("{status} {code}"), after));
    }
    let place = format!("{method} {}: {status} {code}", shown(url));
    if matches!(status, 400 | 401 | 403) {
        check_time(url, until)?;
        if text.to_ascii_lowercase().contains("expired") {
            let message = format!(
                "{place}: the signed URL, or the credentials that signed it, have expired by the clock of the store"
            );
            return Err(DataError::new(Kind::UrlExpired, message));
        }
    }
    let has_bucket = !matches!(code, "NoSuchBucket" | "ContainerNotFound");
    Err(match status {
        412 | 416 => DataError::changed(url),
        // There is nothing to miss where an object is written.
        404 if method == "GET" && has_bucket => {
            DataError::new(Kind::ObjectMissing, format!("{} is not there", shown(url)))
        }
        _ => DataError::new(Kind::StoreRefused, place + advice(status, code)),
    })
}

/// Advice about a refusal, where the status or the code of the store gives it.
fn advice(status: u16, code: &str) -> &'static str {
    match (status, code) {
        (404, _) => ": create the bucket, or correct its name",
        (301 | 307, _)
        | (_, "AuthorizationHeaderMalformed" | "AuthorizationQueryParametersError") => {
            ": set the region of the bucket at the driver, such as with AWS_REGION"
        }
        (401 | 403, _) => {
            ": allow the account that signs to read and write there; temporary credentials may have ended"
        }
        (413, _) | (_, "EntityTooLarge") => {
            ": the store takes no object of this size by one request: write more and smaller ones"
        }
        _ => "",
    }
}

/// The version alone: listings and answers differ in quotes.
fn version_of(etag: &str) -> &str {
    etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"')
}

fn check_time(url: &str, until: Option<u64>) -> Result<(), DataError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    match until {
        Some(until) if now > until => {
            let message = format!(
                "the signed URL of {} has expired {} s ago: raise the lifetime of URLs, or check the clocks",
                shown(url),
                now - until
            );
            Err(DataError::new(Kind::UrlExpired, message))
        }
        _ => Ok(()),
    }
}

fn pause(attempt: u32, seconds: Option<u64>) {
    // Functions that failed together do not come back together.
    let jitter = RandomState::new().build_hasher().finish() % 50;
    let own = Duration::from_millis((50 + jitter) * u64::from(4_u32.pow(attempt)));
    std::thread::sleep(seconds.map_or(own, Duration::from_secs).min(Duration::from_secs(20)));
}

/// The path of a file's URL.
fn decoded(path: &str) -> PathBuf {
    let (mut bytes, mut rest) = (Vec::with_capacity(path.len()), path.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(code) if byte == b'%' => {
                bytes.push(code);
                rest = &after[2..];
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(bytes))
}
