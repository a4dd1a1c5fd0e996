//! The dialect of CSV files.

/// How CSV files are to be cut: rows end with a line feed, and fields are quoted by `"`, which is doubled inside.
/// Other dialects are read by [`Splits::whole`](crate::Splits::whole).
///
/// # Examples
///
/// ```
/// use falco_data::Csv;
///
/// let csv = Csv::default().without_header().with_quoted_newlines();
/// assert!(!csv.header && csv.quoted_newlines);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Csv {
    /// Whether the first row of each file names the columns. Each split then carries it.
    pub header: bool,
    /// Whether fields may hold line feeds. Where rows end is known only after reading everything then, so planning
    /// reads all objects once.
    pub quoted_newlines: bool,
}

impl Default for Csv {
    fn default() -> Self {
        Self { header: true, quoted_newlines: false }
    }
}

impl Csv {
    /// Files whose first row is data.
    #[must_use]
    pub fn without_header(mut self) -> Self {
        self.header = false;
        self
    }

    /// Fields may hold line feeds.
    #[must_use]
    pub fn with_quoted_newlines(mut self) -> Self {
        self.quoted_newlines = true;
        self
    }
}
