//! From a prefix to splits.

use std::sync::Arc;

use falco_core::{BoxStream, Error, Result};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::boundary::{first_line, line_at, nominal};
use super::listed::{Listed, list};
use super::pack::{Piece, numbered};
use super::{Format, Size, Split, SplitsOf, scan};
use crate::store::{AT_ONCE, Store};

/// Objects of these are read as a whole: no part of them can be decompressed.
const COMPRESSED: [&str; 4] = [".gz", ".zst", ".bz2", ".xz"];

pub(super) fn stream(of: SplitsOf) -> BoxStream<'static, Result<Split>> {
    stream::once(plan(of)).try_flatten().boxed()
}

async fn plan(of: SplitsOf) -> Result<BoxStream<'static, Result<Split>>> {
    let objects = list(&of.store, &of.prefix).await?;
    let total: u64 = objects.iter().map(|object| object.size).sum();
    let target = match of.size {
        Size::Target(bytes) => bytes,
        Size::Count(count) => total.div_ceil(count).max(1),
    };
    let (store, format) = (of.store, of.format);
    let pieces = stream::iter(objects)
        .map(move |object| cut(store.clone(), Arc::new(object), format, target))
        .buffered(AT_ONCE)
        .try_flatten();
    Ok(numbered(pieces.boxed(), target))
}

type Pieces = BoxStream<'static, Result<Piece>>;

async fn cut(store: Store, object: Arc<Listed>, format: Format, target: u64) -> Result<Pieces> {
    let is_compressed = COMPRESSED.iter().any(|ending| object.url.ends_with(ending));
    let whole = |object| Piece { object, header: None, packs: false };
    let (header, from) = match format {
        Format::Whole => return Ok(one(whole(object.reference()))),
        Format::Lines | Format::Csv(_) if is_compressed => {
            let is_gzip = object.url.ends_with(".gz");
            return Ok(one(whole(object.reference().with_gzip(is_gzip))));
        }
        Format::Csv(csv) if csv.header && csv.quoted_newlines => {
            scan::first_row(&store, &object).await.map(|(header, from)| (Some(header), from))?
        }
        Format::Csv(csv) if csv.header => {
            first_line(&store, &object).await.map(|(header, from)| (Some(header), from))?
        }
        Format::Lines | Format::Csv(_) | Format::Fixed(_) | Format::Bytes => (None, 0),
    };
    let header: Option<Arc<str>> = header.map(Into::into);
    let size = object.size;
    let parts = (size - from).div_ceil(target);
    let ends: BoxStream<'static, Result<u64>> = match format {
        Format::Fixed(record) => {
            check_records(&object, record)?;
            let at = move |k| Ok(nominal(0, size, k, parts).next_multiple_of(record).min(size));
            stream::iter((1..=parts).map(at)).boxed()
        }
        Format::Csv(csv) if csv.quoted_newlines => {
            scan::row_ends(store, object.clone(), from, parts)
        }
        Format::Bytes | Format::Whole => {
            stream::iter((1..=parts).map(move |k| Ok(nominal(from, size, k, parts)))).boxed()
        }
        Format::Lines | Format::Csv(_) => {
            let object = object.clone();
            stream::iter(1..=parts)
                .map(move |k| {
                    let (store, object) = (store.clone(), object.clone());
                    let [at, next] = [k, (k + 1).min(parts)].map(|k| nominal(from, size, k, parts));
                    async move { line_at(&store, &object, from, at, next).await }
                })
                .buffered(AT_ONCE)
                .try_filter_map(|begin| std::future::ready(Ok(begin)))
                .boxed()
        }
    };
    let packs = parts == 1 && matches!(format, Format::Lines | Format::Csv(_));
    Ok(between(ends, from)
        .map_ok(move |(from, to)| Piece {
            object: object.reference().with_range(from, to),
            header: header.clone(),
            packs,
        })
        .boxed())
}

fn one(piece: Piece) -> Pieces {
    stream::iter([Ok(piece)]).boxed()
}

/// The ranges between boundaries; boundaries that fall together make none.
fn between(
    ends: BoxStream<'static, Result<u64>>,
    from: u64,
) -> BoxStream<'static, Result<(u64, u64)>> {
    let ranges = ends.scan(from, |from, end| {
        let range = end.map(|end| (end > *from).then(|| (std::mem::replace(from, end), end)));
        std::future::ready(Some(range))
    });
    ranges.filter_map(|range| std::future::ready(range.transpose())).boxed()
}

fn check_records(object: &Listed, record: u64) -> Result<()> {
    if record == 0 {
        return Err(Error::invalid_input("a record has to have one byte or more"));
    }
    match object.size % record {
        0 => Ok(()),
        rest => Err(Error::invalid_input(format!(
            "{} has {} bytes, which are not whole records of {record} bytes: {rest} are left over",
            object.url, object.size
        ))),
    }
}
