//! Ways to misbehave.

/// Answers some requests with an error instead of, or after, doing what they ask.
///
/// # Examples
///
/// ```
/// use falco_fakes::gcp::{FakeGcp, Fault};
///
/// let fake = FakeGcp::start();
/// // Three per cent of all invocations find no instance.
/// fake.inject(Fault::answer("POST /run/", 429, "Rate exceeded.").share(0.03));
/// ```
#[derive(Clone, Debug)]
pub struct Fault {
    pub(super) part: String,
    pub(super) share: f64,
    pub(super) left: Option<u32>,
    pub(super) after: bool,
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
    pub(super) kind: Kind,
    /// A generator of its own, so that a share is the same in each run.
    pub(super) random: fastrand::Rng,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Reply,
    /// The connection is closed without an answer.
    Reset,
    /// The answer breaks off, and the connection with it.
    Truncated,
    /// No answer ever comes.
    Silence,
}

impl Fault {
    /// Answers requests whose method and path contain `part` with `status` and `body`, and does nothing of what they ask.
    ///
    /// `{bearer}` in `body` stands for the token that came, as some servers quote it.
    pub fn answer(part: &str, status: u16, body: &str) -> Self {
        Self {
            part: part.to_owned(),
            share: 1.0,
            left: None,
            after: false,
            status,
            headers: Vec::new(),
            body: body.to_owned(),
            kind: Kind::Reply,
            random: fastrand::Rng::with_seed(7),
        }
    }

    /// Closes the connection instead of answering.
    pub fn reset(part: &str) -> Self {
        Self { kind: Kind::Reset, ..Self::answer(part, 503, "") }
    }

    /// Answers with half of a body, then closes the connection.
    pub fn truncated(part: &str) -> Self {
        Self { kind: Kind::Truncated, ..Self::answer(part, 200, "{\"falco\":1,\"resu") }
    }

    /// Never answers.
    pub fn silence(part: &str) -> Self {
        Self { kind: Kind::Silence, ..Self::answer(part, 503, "") }
    }

    /// Does what is asked before it misbehaves.
    #[must_use]
    pub fn after_doing_it(mut self) -> Self {
        self.after = true;
        self
    }

    /// So many times only.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.left = Some(times);
        self
    }

    /// For this share of the requests, chosen at random in the same way each time.
    #[must_use]
    pub fn share(mut self, share: f64) -> Self {
        self.share = share;
        self
    }

    /// With a header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Whether it strikes now.
    pub(super) fn strikes(&mut self, line: &str) -> bool {
        if !line.contains(&self.part) || self.left == Some(0) || self.random.f64() >= self.share {
            return false;
        }
        if let Some(left) = &mut self.left {
            *left -= 1;
        }
        true
    }
}
