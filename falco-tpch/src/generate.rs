//! The data: made once, and kept in a store.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use falco_core::{Error, ErrorKind, Result};
use falco_data::Store;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use tpchgen::distribution::Distributions;
use tpchgen::text::TextPool;

use crate::csv;
use crate::tables::{Part, Table};

/// The object with the scale of the data, and whether all files are there. Splits leave out names that begin with an underscore.
const MARK: &str = "_tpch.json";

/// The text pool for comments below scale 1. TPC's own has 300 MB and takes long to make.
static SMALL_POOL: LazyLock<TextPool> =
    LazyLock::new(|| TextPool::new(4 << 20, Distributions::static_default()));

/// The format of the tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Format {
    /// Parquet.
    #[default]
    Parquet,
    /// CSV with a header.
    Csv,
}

impl Format {
    const ALL: [Self; 2] = [Self::Parquet, Self::Csv];

    /// Its name, which is also the end of the files' names.
    fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|format| format.name() == text);
        found.ok_or_else(|| {
            Error::invalid_input(format!("unknown format {text:?}: use parquet or csv"))
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Mark {
    scale: f64,
    #[serde(default)]
    format: Format,
    is_complete: bool,
}

/// Makes the tables, unless the store holds them already. The rows are those of TPC's own generator, for every number of files;
/// below scale 1 comments are others, which no query reads.
///
/// # Errors
///
/// `InvalidInput` for a scale that is not above 0, and when the store holds data of another scale or in another format; what the
/// store refuses.
pub async fn ensure_data(store: &Store, scale: f64, format: Format) -> Result<()> {
    if !(scale > 0.0 && scale <= 1000.0) {
        return Err(Error::invalid_input(format!(
            "invalid scale {scale}: use a number above 0, up to 1000"
        )));
    }
    match held(store).await? {
        Some(held) if held.scale != scale => {
            let (place, held) = (store.url(), held.scale);
            let message = format!("{place} holds data of scale {held}, and {scale} is wanted");
            return Err(Error::invalid_input(message).with_hint("name another place for the data"));
        }
        Some(held) if held.format != format => {
            let (place, held, wanted) = (store.url(), held.format, format);
            let message = format!("{place} holds data as {held}, and {wanted} is wanted");
            return Err(Error::invalid_input(message).with_hint("name another place for the data"));
        }
        Some(held) if held.is_complete => return Ok(()),
        _ => {}
    }
    // Before the first file: what is interrupted is never taken for data of another scale.
    mark(store, scale, format, false).await?;
    let pool = if scale < 1.0 { &*SMALL_POOL } else { TextPool::get_or_init_default() };
    let parts = Table::ALL.into_iter().flat_map(|table| {
        let (files, group) = (table.files(scale), table.group(scale));
        (0..files).map(move |number| (table, Part { scale, number, files, group }))
    });
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    let written = stream::iter(parts).map(|(table, part)| write(store, table, part, format, pool));
    written.buffer_unordered(at_once).try_collect::<()>().await?;
    mark(store, scale, format, true).await
}

async fn mark(store: &Store, scale: f64, format: Format, is_complete: bool) -> Result<()> {
    let mark = serde_json::to_vec(&Mark { scale, format, is_complete }).unwrap_or_default();
    store.write(MARK, mark).await.map(drop)
}

async fn write(
    store: &Store,
    table: Table,
    part: Part,
    format: Format,
    pool: &'static TextPool,
) -> Result<()> {
    let key = format!("{}/part-{:05}.{}", table.name(), part.number, format.name());
    let failed = |source: &(dyn std::error::Error + 'static)| {
        Error::new(ErrorKind::Other, format!("cannot make {key}")).with_source(source)
    };
    let made = tokio::task::spawn_blocking(move || match format {
        Format::Parquet => table.write(part, pool),
        Format::Csv => Ok(csv::write(table, part, pool)),
    });
    let made = made.await;
    let content = made.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    store.write(&key, content).await.map(drop)
}

async fn held(store: &Store) -> Result<Option<Mark>> {
    let read = async {
        let mut pieces = store.read(&store.object(MARK)).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.try_next().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok::<_, Error>(bytes)
    };
    match read.await {
        Ok(bytes) => {
            let mark = serde_json::from_slice(&bytes).map_err(|error| {
                let message = format!("{}/{MARK} is not what this program writes", store.url());
                Error::invalid_input(message).with_source(&error)
            })?;
            Ok(Some(mark))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
