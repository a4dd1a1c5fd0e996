//! Where the data of a run is.

use std::path::Path;

use clap::Args;
use falco_data::Store;

/// Where the data of a run is: folders, or stores by their URLs.
#[derive(Clone, Debug, Default, Args)]
pub struct DataFlags {
    /// Read from this folder or URL: s3://BUCKET/PREFIX, gs://.. or az://..
    #[arg(long, value_name = "URL", help_heading = "Data")]
    pub input: Option<String>,

    /// Write to this folder or URL [default: the folder falco-output]
    #[arg(long, value_name = "URL", help_heading = "Data")]
    pub output: Option<String>,

    /// Keep what lives no longer than the run in this folder or URL [default: _scratch below the output]
    #[arg(long, value_name = "URL", help_heading = "Data")]
    pub scratch: Option<String>,
}

/// The stores that the flags name.
#[derive(Clone, Debug)]
pub struct Stores {
    /// The input.
    pub input: Store,
    /// The output.
    pub output: Store,
    /// Objects that are deleted with the run.
    pub scratch: Store,
}

impl DataFlags {
    /// The stores, if a flag names one; the others get their defaults. Without any the data goes through payloads.
    ///
    /// # Errors
    ///
    /// When a URL is not one of a known store, or the store is not configured.
    pub fn stores(&self, default_input: &Path) -> falco_core::Result<Option<Stores>> {
        if self.input.is_none() && self.output.is_none() && self.scratch.is_none() {
            return Ok(None);
        }
        let input = match &self.input {
            Some(input) => open_store(input)?,
            None => Store::folder(default_input)?,
        };
        let output = open_store(self.output.as_deref().unwrap_or("falco-output"))?;
        let scratch = match &self.scratch {
            Some(scratch) => open_store(scratch)?,
            None => open_store(&format!("{}/_scratch", output.url()))?,
        };
        Ok(Some(Stores { input, output, scratch }))
    }
}

/// The store at a URL; a text without a scheme is the path of a folder.
///
/// # Errors
///
/// When it is not the URL of a known store, or the store is not configured.
pub fn open_store(place: &str) -> falco_core::Result<Store> {
    if place.contains("://") { Store::open(place) } else { Store::folder(place) }
}
