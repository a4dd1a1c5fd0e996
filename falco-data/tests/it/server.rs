//! Stores on a real S3 server in this process.

use falco_data::Store;
use falco_fakes::FakeS3;
use falco_fakes::s3::{ACCESS_KEY, SECRET_KEY};
use object_store::aws::AmazonS3Builder;

/// The store at `place`, such as `bucket/in`.
pub(crate) fn store(s3: &FakeS3, place: &str) -> Store {
    store_at(s3.url(), place, SECRET_KEY)
}

/// The same behind another address, with another key.
pub(crate) fn store_at(url: &str, place: &str, secret: &str) -> Store {
    let (bucket, _) = place.split_once('/').unwrap_or((place, ""));
    let client = AmazonS3Builder::new()
        .with_endpoint(url)
        .with_allow_http(true)
        .with_bucket_name(bucket)
        .with_region("us-east-1")
        .with_access_key_id(ACCESS_KEY)
        .with_secret_access_key(secret)
        .build()
        .unwrap();
    Store::new(&format!("s3://{place}"), client).unwrap()
}
