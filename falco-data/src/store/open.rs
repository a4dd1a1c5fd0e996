//! From a URL to a store.

use std::sync::Arc;

use falco_core::{Error, Result};
use object_store::local::LocalFileSystem;

use super::Store;
use super::folder::FolderSigner;
use crate::place::{Place, Scheme};

pub(super) fn open(place: Place) -> Result<Store> {
    match place.scheme {
        Scheme::File => {
            let files = || LocalFileSystem::new();
            Store::of(place, Arc::new(files()), Arc::new(FolderSigner(files())))
        }
        Scheme::S3 => s3(place),
        Scheme::Gs => gs(place),
        Scheme::Az => az(place),
    }
}

#[cfg(feature = "aws")]
fn s3(place: Place) -> Result<Store> {
    let builder = object_store::aws::AmazonS3Builder::from_env();
    let store = builder.with_bucket_name(&place.bucket).build();
    built(place, store)
}

#[cfg(feature = "gcp")]
fn gs(place: Place) -> Result<Store> {
    let builder = object_store::gcp::GoogleCloudStorageBuilder::from_env();
    let store = builder.with_bucket_name(&place.bucket).build();
    built(place, store)
}

#[cfg(feature = "azure")]
fn az(place: Place) -> Result<Store> {
    let builder = object_store::azure::MicrosoftAzureBuilder::from_env();
    let store = builder.with_container_name(&place.bucket).build();
    built(place, store)
}

#[cfg(feature = "cloud")]
fn built<S>(place: Place, store: object_store::Result<S>) -> Result<Store>
where
    S: object_store::ObjectStore + object_store::signer::Signer,
{
    let store = store.map_err(|error| {
        Error::invalid_input(format!("the store {} is not configured", place.url()))
            .with_source(&error)
            .with_hint("docs/data.md lists the variables of each store")
    })?;
    let store = Arc::new(store);
    Store::of(place, store.clone(), store)
}

#[cfg(not(feature = "aws"))]
fn s3(place: Place) -> Result<Store> {
    Err(without(&place, "aws"))
}

#[cfg(not(feature = "gcp"))]
fn gs(place: Place) -> Result<Store> {
    Err(without(&place, "gcp"))
}

#[cfg(not(feature = "azure"))]
fn az(place: Place) -> Result<Store> {
    Err(without(&place, "azure"))
}

#[cfg(not(all(feature = "aws", feature = "gcp", feature = "azure")))]
fn without(place: &Place, feature: &str) -> Error {
    Error::unsupported(format!("the store {} needs a feature that is off", place.url()))
        .with_hint(format!("build falco-data with the feature {feature:?}"))
}
