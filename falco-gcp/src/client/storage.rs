//! Cloud Storage: the bucket of results, and the objects in it.

use bytes::Bytes;
use falco_core::{ErrorKind, Result};
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::functions::paged;
use super::{Api, Call, segment};
use crate::refusal;

/// An object, as a listing reports it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Object {
    pub(crate) name: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Page {
    items: Vec<Object>,
    next_page_token: String,
}

impl Api {
    fn storage_call<'a>(
        &self,
        operation: &'static str,
        method: Method,
        path: &str,
    ) -> Result<Call<'a>> {
        Call::new(operation, method, &self.endpoints.storage, &format!("storage/v1/{path}"))
    }

    /// Makes the bucket unless it is there. What lies in it for a week is deleted by Storage itself.
    pub(crate) async fn ensure_bucket(&self, bucket: &str) -> Result<()> {
        let get = || self.storage_call("deploy", Method::GET, &format!("b/{}", segment(bucket)));
        match self.call(get()?).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => return other.map(|_| ()),
        }
        let body = json!({
            "name": bucket,
            "location": self.location,
            "labels": {"falco": "1"},
            "iamConfiguration": {
                "uniformBucketLevelAccess": {"enabled": true},
                "publicAccessPrevention": "enforced",
            },
            "lifecycle": {"rule": [{"action": {"type": "Delete"}, "condition": {"age": 7}}]},
            "softDeletePolicy": {"retentionDurationSeconds": "0"},
        });
        let create =
            self.storage_call("deploy", Method::POST, "b")?.query(&[("project", &self.project)]);
        match self.call(create.json(&body)?).await {
            // Another deployment has made it meanwhile, or it is out of reach.
            Err(error) if refusal::is_already_there(&error) => {
                self.call(get()?).await.map(|_| ()).map_err(|_| {
                    error.with_hint(format!(
                        "bucket names are shared by everybody, and {bucket:?} is somebody else's: name one of your own"
                    ))
                })
            }
            other => other.map(|_| ()),
        }
    }

    /// Deletes the bucket if it is empty. Says whether it is gone.
    pub(crate) async fn delete_empty_bucket(
        &self,
        operation: &'static str,
        bucket: &str,
    ) -> Result<bool> {
        let call =
            self.storage_call(operation, Method::DELETE, &format!("b/{}", segment(bucket)))?;
        match self.call(call).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The objects whose names begin with `prefix`.
    pub(crate) async fn list_objects(
        &self,
        operation: &'static str,
        bucket: &str,
        prefix: &str,
    ) -> Result<Vec<Object>> {
        let path = format!("b/{}/o", segment(bucket));
        let mut all = Vec::new();
        let mut token = String::new();
        loop {
            let call = self.storage_call(operation, Method::GET, &path)?.query(&[
                ("prefix", prefix),
                ("fields", "items(name),nextPageToken"),
                ("maxResults", "1000"),
            ]);
            let page: Page = self.fetch(paged(call, &token)).await?;
            all.extend(page.items);
            if page.next_page_token.is_empty() || page.next_page_token == token {
                return Ok(all);
            }
            token = page.next_page_token;
        }
    }

    /// Stores an object of JSON under a name that is used once.
    pub(crate) async fn insert_object(
        &self,
        operation: &'static str,
        bucket: &str,
        name: &str,
        json: Bytes,
    ) -> Result<()> {
        let path = format!("upload/storage/v1/b/{}/o", segment(bucket));
        let call = Call::new(operation, Method::POST, &self.endpoints.storage, &path)?;
        let call = call.query(&[("uploadType", "media"), ("name", name)]);
        self.call(call.bytes(json)).await.map(|_| ())
    }

    /// The content of an object; `None` when it is gone.
    pub(crate) async fn read_object(
        &self,
        operation: &'static str,
        bucket: &str,
        name: &str,
    ) -> Result<Option<Bytes>> {
        let path = format!("b/{}/o/{}", segment(bucket), segment(name));
        let call = self.storage_call(operation, Method::GET, &path)?.query(&[("alt", "media")]);
        match self.call(call).await {
            Ok(reply) => Ok(Some(reply.body)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes an object, if it is still there.
    pub(crate) async fn delete_object(
        &self,
        operation: &'static str,
        bucket: &str,
        name: &str,
    ) -> Result<()> {
        let path = format!("b/{}/o/{}", segment(bucket), segment(name));
        match self.call(self.storage_call(operation, Method::DELETE, &path)?).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other.map(|_| ()),
        }
    }
}
