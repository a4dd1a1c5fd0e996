//! CSV rows whose fields may hold line feeds: whether a line feed ends a row depends on all quotes before it.

use std::sync::Arc;

use falco_core::{BoxStream, Error, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use memchr::memchr2_iter;

use super::boundary::nominal;
use super::listed::Listed;
use crate::object::Object;
use crate::store::Store;

/// Ranges of one object that are read at once: they are long.
const AT_ONCE: usize = 8;

/// The longest header row.
const LONGEST_HEADER: usize = 1 << 20;

/// The findings in a range, without knowing whether it begins inside quotes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Blind {
    /// Whether it holds an odd number of quotes.
    odd: bool,
    /// The first row that begins in it, if it begins outside of quotes.
    outside: Option<u64>,
    /// The same, if it begins inside.
    inside: Option<u64>,
}

impl Blind {
    /// Takes the bytes at `position` of the object.
    fn take(&mut self, position: u64, bytes: &[u8]) {
        for at in memchr2_iter(b'"', b'\n', bytes) {
            if bytes[at] == b'"' {
                self.odd = !self.odd;
            } else {
                let begin = if self.odd { &mut self.inside } else { &mut self.outside };
                begin.get_or_insert(position + at as u64 + 1);
            }
        }
    }
}

/// The ends of `parts` ranges of whole rows from `from` on.
pub(super) fn row_ends(
    store: Store,
    object: Arc<Listed>,
    from: u64,
    parts: u64,
) -> BoxStream<'static, Result<u64>> {
    let size = object.size;
    if parts < 2 {
        // Nothing is cut, so that nothing has to be found.
        return stream::iter((parts == 1).then_some(Ok(size))).boxed();
    }
    // A row begins after a line feed, so each range begins one byte before its nominal boundary.
    let begin = move |k| if k == 0 { from } else { nominal(from, size, k, parts) - 1 };
    let url = object.url.clone();
    let blind = stream::iter(0..parts).map(move |k| {
        let end = if k + 1 == parts { size } else { begin(k + 1) };
        blind(store.clone(), object.clone(), begin(k), end.max(begin(k)))
    });
    let mut is_inside = false;
    let mut seen = 0;
    let begins = blind.buffered(AT_ONCE).try_filter_map(move |blind| {
        let begin = if is_inside { blind.inside } else { blind.outside };
        is_inside ^= blind.odd;
        seen += 1;
        std::future::ready(match seen {
            // The first row begins where the data does.
            1 => Ok(None),
            _ if seen == parts && is_inside => Err(ends_inside(&url)),
            _ => Ok(begin),
        })
    });
    begins.chain(stream::iter([Ok(size)])).boxed()
}

/// An odd number of quotes: which of its line feeds end a row cannot be known.
pub(super) fn ends_inside(url: &str) -> Error {
    Error::invalid_input(format!("{url} ends inside quotes, so its rows cannot be found"))
        .with_hint(
            "add the missing quote, or double the quotes inside of a field; read files of another dialect by Splits::whole",
        )
}

async fn blind(store: Store, object: Arc<Listed>, from: u64, to: u64) -> Result<Blind> {
    let range = Object::new(&*object.url).with_range(from, to).with_etag(object.etag.clone());
    let mut pieces = store.read(&range).await?;
    let (mut blind, mut position) = (Blind::default(), from);
    while let Some(bytes) = pieces.try_next().await? {
        blind.take(position, &bytes);
        position += bytes.len() as u64;
    }
    if position == to { Ok(blind) } else { Err(crate::failure::changed(&object.url)) }
}

/// The first row, without its line end and byte order mark, and where the second begins.
pub(super) async fn first_row(store: &Store, object: &Listed) -> Result<(String, u64)> {
    let range = Object::new(&*object.url).with_etag(object.etag.clone());
    let mut pieces = store.read(&range).await?;
    let (mut text, mut seen, mut is_inside) = (Vec::new(), 0, false);
    let end = 'found: loop {
        let Some(bytes) = pieces.try_next().await? else { break text.len() };
        text.extend_from_slice(&bytes);
        for at in memchr2_iter(b'"', b'\n', &text[seen..]) {
            match text[seen + at] {
                b'"' => is_inside = !is_inside,
                _ if !is_inside => break 'found seen + at,
                _ => {}
            }
        }
        seen = text.len();
        if seen > LONGEST_HEADER {
            let message =
                format!("the header of {} is longer than {LONGEST_HEADER} bytes", object.url);
            return Err(Error::invalid_input(message).with_hint("is a quote missing?"));
        }
    };
    let line = text[..end].strip_suffix(b"\r").unwrap_or(&text[..end]);
    let line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
    let header = String::from_utf8(line.to_vec()).map_err(|error| {
        Error::invalid_input(format!("the header of {} is not UTF-8", object.url))
            .with_source(&error)
    })?;
    Ok((header, (end as u64 + 1).min(object.size)))
}
