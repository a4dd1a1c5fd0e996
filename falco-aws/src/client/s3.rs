//! S3: archives that are too long for a direct upload.

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::HeaderValue;
use serde::Deserialize;

use super::encoding::encode;
use super::query::from_xml;
use super::{Call, Client, RequestError};
use crate::config::Service;

/// The longest that an upload may take: at a megabyte a second, the largest archive that Lambda unpacks.
const UPLOAD_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(300);

impl Client {
    pub(crate) async fn put_object(
        &self,
        bucket: &str,
        key: &str,
        body: Bytes,
    ) -> Result<(), RequestError> {
        let mut call = Call::new(Service::S3, "PutObject", Method::PUT, path(key))
            .header("content-type", HeaderValue::from_static("application/zip"));
        call.bucket = Some(bucket);
        call.body = body;
        call.timeout = Some(UPLOAD_TIMEOUT);
        self.send(&call).await.map(drop)
    }

    pub(crate) async fn delete_object(&self, bucket: &str, key: &str) -> Result<(), RequestError> {
        let mut call = Call::new(Service::S3, "DeleteObject", Method::DELETE, path(key));
        call.bucket = Some(bucket);
        self.send(&call).await.map(drop)
    }

    /// The keys that begin with `prefix`, a thousand at most: a function has one or two.
    pub(crate) async fn list_objects(
        &self,
        bucket: &str,
        prefix: &str,
    ) -> Result<Vec<String>, RequestError> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(rename = "Contents", default)]
            contents: Vec<Object>,
        }
        #[derive(Deserialize)]
        struct Object {
            #[serde(rename = "Key")]
            key: String,
        }
        let query = [("list-type", "2"), ("prefix", prefix)];
        let mut call = Call::new(Service::S3, "ListObjectsV2", Method::GET, "/");
        call.bucket = Some(bucket);
        call.query = &query;
        let reply = self.send(&call).await?;
        Ok(from_xml::<Answer>(&reply)?.contents.into_iter().map(|object| object.key).collect())
    }
}

fn path(key: &str) -> String {
    format!("/{}", encode(key, "/"))
}
