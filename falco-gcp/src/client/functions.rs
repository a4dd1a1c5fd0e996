//! Cloud Functions: uploads, functions, their operations, and the runtimes on offer.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use falco_core::{Error, ErrorKind, Operation, Result};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Api, Call, segment};
use crate::refusal::{self, Status};

/// A function, as far as Falco reads it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) state_messages: Vec<StateMessage>,
    pub(crate) environment: String,
    pub(crate) build_config: BuildConfig,
    pub(crate) service_config: ServiceConfig,
    pub(crate) labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StateMessage {
    pub(crate) message: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct BuildConfig {
    pub(crate) runtime: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ServiceConfig {
    pub(crate) uri: String,
    pub(crate) service: String,
    pub(crate) revision: String,
    pub(crate) available_memory: String,
    pub(crate) available_cpu: String,
    pub(crate) timeout_seconds: u32,
    pub(crate) max_instance_count: u32,
    pub(crate) min_instance_count: u32,
    pub(crate) max_instance_request_concurrency: u32,
    pub(crate) service_account_email: String,
    pub(crate) environment_variables: Variables,
}

/// Environment variables; `Debug` shows their names.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Variables(pub(crate) BTreeMap<String, String>);

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A long-running operation. `done` is absent while it runs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LongRunning {
    pub(crate) name: String,
    pub(crate) done: bool,
    pub(crate) error: Option<Status>,
}

/// A runtime on offer, such as `python312`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Runtime {
    pub(crate) name: String,
    pub(crate) stage: String,
    pub(crate) environment: String,
}

/// Where uploaded code lies.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct StorageSource {
    bucket: String,
    object: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UploadUrl {
    upload_url: String,
    storage_source: StorageSource,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Page {
    functions: Vec<Function>,
    runtimes: Vec<Runtime>,
    next_page_token: String,
    unreachable: Vec<String>,
}

impl Api {
    /// The full name of a function.
    pub(crate) fn function_name(&self, id: &str) -> String {
        format!("{}/functions/{id}", self.parent())
    }

    fn functions_call<'a>(
        &self,
        operation: &'static str,
        method: Method,
        path: &str,
    ) -> Result<Call<'a>> {
        Call::new(operation, method, &self.endpoints.functions, &format!("v2/{path}"))
    }

    /// Uploads a function's zip file.
    pub(crate) async fn upload(&self, function: &str, zip: Bytes) -> Result<StorageSource> {
        let path = format!("{}/functions:generateUploadUrl", self.parent());
        let call = self.functions_call("deploy", Method::POST, &path)?.about(function);
        let upload: UploadUrl =
            self.fetch(call.json(&serde_json::json!({"environment": "GEN_2"}))?).await?;
        // The URL's signature stands for the caller and covers the type: an Authorization header, which would be
        // used instead, or the header of the quota project makes it a 403.
        let about = |e: Error| e.at(Operation::new(crate::NAME, "deploy").on(function));
        let url = Url::parse(&upload.upload_url).map_err(|_| {
            about(Error::new(ErrorKind::Protocol, "the upload URL is not a valid URL"))
        })?;
        let request = self.http.request(Method::PUT, url);
        let request = request.header(CONTENT_TYPE, "application/zip").body(zip);
        let sent = self.http.send(request, "deploy").await;
        let reply = sent.map_err(|e| about(e.with_may_have_run(false)))?;
        if !reply.status.is_success() {
            return Err(about(refusal::of_reply(&reply, &[]))
                .with_hint("the upload of the code was refused"));
        }
        Ok(upload.storage_source)
    }

    pub(crate) async fn create_function(
        &self,
        id: &str,
        body: &Value,
        secrets: &[&str],
    ) -> Result<LongRunning> {
        let path = format!("{}/functions", self.parent());
        let call = self.functions_call("deploy", Method::POST, &path)?.query(&[("functionId", id)]);
        self.fetch(call.about(id).hiding(secrets.iter().copied()).json(body)?).await
    }

    /// Changes the fields that `mask` names: without a mask, every field left out would be reset.
    pub(crate) async fn patch_function(
        &self,
        operation: &'static str,
        id: &str,
        body: &Value,
        mask: &[&str],
        secrets: &[&str],
    ) -> Result<LongRunning> {
        let path = self.function_name(&segment(id));
        let call = self.functions_call(operation, Method::PATCH, &path)?;
        let call = call.query(&[("updateMask", &mask.join(","))]);
        self.fetch(call.about(id).hiding(secrets.iter().copied()).json(body)?).await
    }

    pub(crate) async fn get_function(&self, operation: &'static str, id: &str) -> Result<Function> {
        let path = self.function_name(&segment(id));
        self.fetch(self.functions_call(operation, Method::GET, &path)?.about(id)).await
    }

    pub(crate) async fn delete_function(
        &self,
        operation: &'static str,
        id: &str,
    ) -> Result<LongRunning> {
        let path = self.function_name(&segment(id));
        self.fetch(self.functions_call(operation, Method::DELETE, &path)?.about(id)).await
    }

    pub(crate) async fn get_operation(
        &self,
        operation: &'static str,
        function: &str,
        name: &str,
    ) -> Result<LongRunning> {
        self.fetch(self.functions_call(operation, Method::GET, name)?.about(function)).await
    }

    /// Every function of the location, of the first generation too.
    pub(crate) async fn list_functions(&self, operation: &'static str) -> Result<Vec<Function>> {
        let path = format!("{}/functions", self.parent());
        let mut all = Vec::new();
        let mut token = String::new();
        loop {
            let call =
                self.functions_call(operation, Method::GET, &path)?.query(&[("pageSize", "1000")]);
            let page: Page = self.fetch(paged(call, &token)).await?;
            if !page.unreachable.is_empty() {
                tracing::warn!(locations = ?page.unreachable, "the list of functions is not complete");
            }
            all.extend(page.functions);
            if page.next_page_token.is_empty() || page.next_page_token == token {
                return Ok(all);
            }
            token = page.next_page_token;
        }
    }

    /// The runtimes of the second generation that can be deployed now.
    pub(crate) async fn list_runtimes(&self) -> Result<Vec<Runtime>> {
        let path = format!("{}/runtimes", self.parent());
        let page: Page = self.fetch(self.functions_call("connect", Method::GET, &path)?).await?;
        let usable =
            |runtime: &Runtime| runtime.environment != "GEN_1" && runtime.stage != "DECOMMISSIONED";
        Ok(page.runtimes.into_iter().filter(usable).collect())
    }
}

pub(super) fn paged<'a>(call: Call<'a>, token: &str) -> Call<'a> {
    if token.is_empty() { call } else { call.query(&[("pageToken", token)]) }
}
