//! A proxy on loopback that spoils some of what passes through it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use falco_testkit::{RawPeer, Script, Step};
use reqwest::header::HeaderMap;
use tokio::time::Instant;

/// How long a storm goes on.
const STORM: Duration = Duration::from_millis(300);

/// The fate of a request that is spoilt. The script is what its sender sees.
#[derive(Clone)]
pub(crate) enum Fault {
    /// It gets no further than the proxy.
    Instead(Script),
    /// It is passed on and answered, and nobody learns how.
    AfterRunning(Script),
    /// The answer comes through as far as its head, and breaks off in its body.
    BreakOff,
    /// It is refused, and so is all that follows for a while.
    Storm(Script),
}

/// The requests that are spoilt, and how.
pub(crate) struct Faults {
    /// Whether a request, given as its first line and headers in lower case, may be spoilt.
    pub(crate) applies: fn(&str) -> bool,
    /// The requests that are spoilt: so many of so many.
    pub(crate) share: (usize, usize),
    /// Whether each fault happens only once.
    pub(crate) once: bool,
    /// Each in its turn.
    pub(crate) table: Vec<(&'static str, Fault)>,
}

/// The answers of a peer that breaks in the middle of an exchange, as the platforms' fault tests have it.
pub(crate) fn broken_peer() -> Vec<(&'static str, Fault)> {
    use Fault::{AfterRunning, BreakOff, Instead};
    vec![
        ("reset before reading", Instead(Script::reset_before_reading())),
        ("reset after reading", Instead(Script::reset_after_reading())),
        ("reset after running", AfterRunning(Script::reset_after_reading())),
        ("closed after reading", Instead(Script::close_after_reading())),
        ("closed after running", AfterRunning(Script::close_after_reading())),
        ("half a status line", AfterRunning(Script::half_a_status_line())),
        ("garbage", AfterRunning(Script::garbage())),
        ("silence", Instead(Script::never_answer())),
        ("silence after running", AfterRunning(Script::never_answer())),
        ("stalled body", AfterRunning(Script::headers_then_stall())),
        ("truncated body", Instead(Script::truncated_body())),
        ("truncated answer", BreakOff),
        ("page of a proxy", Instead(Script::proxied_html("502 Bad Gateway"))),
        (
            "page of a proxy after running",
            AfterRunning(Script::proxied_html("504 Gateway Time-out")),
        ),
    ]
}

pub(crate) struct FlakyProxy {
    peer: RawPeer,
    spoilers: Arc<Vec<Spoiler>>,
}

struct Spoiler {
    faults: Faults,
    state: Mutex<Tally>,
}

#[derive(Default)]
struct Tally {
    seen: usize,
    spoilt: usize,
    storm: Option<(Script, Instant)>,
    happened: BTreeMap<&'static str, usize>,
}

impl FlakyProxy {
    pub(crate) async fn start(upstream: &str, faults: impl IntoIterator<Item = Faults>) -> Self {
        let upstream: Arc<str> = upstream.trim_end_matches('/').into();
        let client = reqwest::Client::builder().tls_certs_only([]).build().unwrap();
        let spoilers: Arc<Vec<_>> = Arc::new(faults.into_iter().map(Spoiler::new).collect());
        let shared = spoilers.clone();
        let peer = RawPeer::answering(move |request| {
            let request = Request::parse(request);
            let fault = shared
                .iter()
                .find(|spoiler| (spoiler.faults.applies)(&request.head))
                .and_then(Spoiler::next);
            let (client, upstream) = (client.clone(), upstream.clone());
            async move {
                match fault {
                    None => forward(&client, &upstream, request).await.script(),
                    Some(Fault::Instead(script) | Fault::Storm(script)) => script,
                    Some(Fault::AfterRunning(script)) => {
                        forward(&client, &upstream, request).await;
                        script
                    }
                    Some(Fault::BreakOff) => {
                        forward(&client, &upstream, request).await.broken_off()
                    }
                }
            }
        });
        Self { peer: peer.await.unwrap(), spoilers }
    }

    pub(crate) fn url(&self) -> String {
        self.peer.url()
    }

    /// Every fault of the tables has happened at least once.
    #[track_caller]
    pub(crate) fn assert_each_happened(&self) {
        for spoiler in &*self.spoilers {
            let tally = spoiler.state.lock().unwrap();
            for (name, _) in &spoiler.faults.table {
                assert!(tally.happened.contains_key(name), "{name} is not in {:?}", tally.happened);
            }
        }
    }
}

impl Spoiler {
    fn new(faults: Faults) -> Self {
        Self { faults, state: Mutex::default() }
    }

    /// The fault of the next request, if there is one.
    fn next(&self) -> Option<Fault> {
        let mut tally = self.state.lock().unwrap();
        if let Some((script, end)) = &tally.storm
            && Instant::now() < *end
        {
            return Some(Fault::Instead(script.clone()));
        }
        let (spoilt, of) = self.faults.share;
        let turn = tally.seen % of;
        tally.seen += 1;
        let table = &self.faults.table;
        if turn >= spoilt || (self.faults.once && tally.spoilt >= table.len()) {
            return None;
        }
        let (name, fault) = table[tally.spoilt % table.len()].clone();
        tally.spoilt += 1;
        *tally.happened.entry(name).or_default() += 1;
        if let Fault::Storm(script) = &fault {
            tally.storm = Some((script.clone(), Instant::now() + STORM));
        }
        Some(fault)
    }
}

struct Request {
    /// The first line and the headers, in lower case.
    head: String,
    method: reqwest::Method,
    path: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Request {
    fn parse(mut bytes: Vec<u8>) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let body = bytes.split_off(end + 4);
        let head = String::from_utf8(bytes).unwrap();
        let (line, fields) = head.split_once("\r\n").unwrap();
        let mut words = line.split(' ');
        let method = words.next().unwrap().parse().unwrap();
        let path = words.next().unwrap().to_owned();
        // The host that the client has named is passed on, since it is signed.
        let headers = fields.lines().filter_map(|field| field.split_once(": "));
        let headers =
            headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        Self { head: head.to_lowercase(), method, path, headers, body }
    }
}

struct Answer {
    status: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

async fn forward(client: &reqwest::Client, upstream: &str, request: Request) -> Answer {
    let url = format!("{upstream}{}", request.path);
    let sent = client.request(request.method, url).headers(request.headers).body(request.body);
    let reply = sent.send().await.unwrap();
    let is_passed_on =
        |name: &str| !["connection", "content-length", "transfer-encoding"].contains(&name);
    Answer {
        status: reply.status().to_string(),
        headers: reply
            .headers()
            .iter()
            .filter(|(name, _)| is_passed_on(name.as_str()))
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect(),
        body: reply.bytes().await.unwrap().to_vec(),
    }
}

impl Answer {
    fn script(&self) -> Script {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Script::reply(&self.status, headers, &self.body)
    }

    /// Half of the body that the head announces.
    fn broken_off(&self) -> Script {
        let mut bytes = format!("HTTP/1.1 {}\r\n", self.status);
        for (name, value) in &self.headers {
            bytes += &format!("{name}: {value}\r\n");
        }
        bytes += &format!("content-length: {}\r\n\r\n", self.body.len());
        let mut bytes = bytes.into_bytes();
        bytes.extend(&self.body[..self.body.len() / 2]);
        Script::new([Step::Read, Step::Send(bytes)])
    }
}
