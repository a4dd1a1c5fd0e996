//! Lambda: the functions themselves. The dates in the paths differ from operation to operation.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use falco_http::Reply;
use reqwest::Method;
use reqwest::header::HeaderValue;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::encoding::encode;
use super::json::to_body;
use super::{Call, Client, RequestError, next_page};
use crate::config::Service;

/// How a function is set up, as Lambda reports it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Configuration {
    pub(crate) function_name: String,
    pub(crate) function_arn: String,
    pub(crate) description: String,
    pub(crate) runtime: Option<String>,
    pub(crate) role: String,
    pub(crate) handler: Option<String>,
    pub(crate) timeout: Option<u64>,
    pub(crate) memory_size: Option<u32>,
    pub(crate) architectures: Vec<String>,
    pub(crate) environment: Option<EnvironmentReply>,
    pub(crate) ephemeral_storage: Option<EphemeralStorage>,
    /// Base64 of the archive's SHA-256.
    pub(crate) code_sha256: String,
    /// An open set of words; `Pending`, `Active`, `Inactive` and `Failed` among them.
    pub(crate) state: Option<String>,
    pub(crate) state_reason: Option<String>,
    pub(crate) last_update_status: Option<String>,
    pub(crate) last_update_status_reason: Option<String>,
    /// `Zip` or `Image`; absent means `Zip`.
    pub(crate) package_type: Option<String>,
    pub(crate) image_config_response: Option<ImageConfigResponse>,
}

impl Configuration {
    pub(crate) fn is_image(&self) -> bool {
        self.package_type.as_deref() == Some("Image")
    }

    /// The arguments of an image's program that replace the image's own; none leaves those.
    pub(crate) fn command(&self) -> &[String] {
        let response = self.image_config_response.as_ref();
        response.and_then(|r| r.image_config.as_ref()).map_or(&[], |config| &config.command)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ImageConfigResponse {
    pub(crate) image_config: Option<ImageConfig>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ImageConfig {
    pub(crate) command: Vec<String>,
}

/// Where Lambda says that a function's code is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct CodeLocation {
    /// The image by its digest.
    pub(crate) resolved_image_uri: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct EnvironmentReply {
    pub(crate) variables: Variables,
}

/// Environment variables; `Debug` shows their names.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Variables(pub(crate) BTreeMap<String, String>);

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct EphemeralStorage {
    pub(crate) size: u32,
}

/// A function with its tags.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Function {
    pub(crate) configuration: Configuration,
    #[serde(default)]
    pub(crate) code: Option<CodeLocation>,
    #[serde(default)]
    pub(crate) tags: Option<BTreeMap<String, String>>,
    /// Absent when nothing is reserved.
    #[serde(default)]
    pub(crate) concurrency: Option<Reserved>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Reserved {
    pub(crate) reserved_concurrent_executions: Option<u32>,
}

/// Where the code of a function is.
#[derive(Clone, Debug)]
pub(crate) enum CodeSource {
    Zip(Bytes),
    Object { bucket: String, key: String },
    Image { uri: String },
}

impl CodeSource {
    fn members(&self) -> Value {
        match self {
            Self::Zip(zip) => json!({"ZipFile": STANDARD.encode(zip)}),
            Self::Object { bucket, key } => json!({"S3Bucket": bucket, "S3Key": key}),
            Self::Image { uri } => json!({"ImageUri": uri}),
        }
    }

    fn package_type(&self) -> &'static str {
        match self {
            Self::Image { .. } => "Image",
            _ => "Zip",
        }
    }
}

/// The start of a function: a handler in a runtime, or the command of an image.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start<'a> {
    Handler { runtime: &'a str, handler: &'a str },
    Image { command: &'a [String] },
}

/// The settings of a function, without its code.
#[derive(Clone, Debug)]
pub(crate) struct NewFunction<'a> {
    pub(crate) name: &'a str,
    pub(crate) description: &'a str,
    pub(crate) start: Start<'a>,
    pub(crate) role: &'a str,
    pub(crate) architecture: &'a str,
    pub(crate) memory_mib: u32,
    pub(crate) timeout_s: u64,
    pub(crate) storage_mib: u32,
    pub(crate) variables: &'a Variables,
    pub(crate) tags: &'a BTreeMap<String, String>,
}

impl NewFunction<'_> {
    /// The members that an update of the configuration takes too.
    fn configuration(&self) -> Value {
        let mut members = json!({
            "Description": self.description,
            "Role": self.role,
            "MemorySize": self.memory_mib,
            "Timeout": self.timeout_s,
            "EphemeralStorage": {"Size": self.storage_mib},
            "Environment": {"Variables": self.variables},
        });
        match self.start {
            Start::Handler { runtime, handler } => {
                members["Runtime"] = runtime.into();
                members["Handler"] = handler.into();
            }
            // Without members it leaves the image's own, also where another command was set before.
            Start::Image { command: [] } => members["ImageConfig"] = json!({}),
            Start::Image { command } => members["ImageConfig"] = json!({"Command": command}),
        }
        members
    }
}

/// The destinations and limits of an asynchronous invocation.
#[derive(Clone, Debug)]
pub(crate) struct EventInvokeConfig<'a> {
    pub(crate) retries: u32,
    pub(crate) age: Duration,
    pub(crate) destination: &'a str,
}

/// The limits of the account.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct AccountSettings {
    pub(crate) concurrent_executions: Option<u32>,
    pub(crate) unreserved_concurrent_executions: Option<u32>,
    pub(crate) code_size_zipped: Option<u64>,
    pub(crate) code_size_unzipped: Option<u64>,
}

/// The answer to an invocation.
#[derive(Debug)]
pub(crate) struct InvokeReply {
    pub(crate) reply: Reply,
}

impl InvokeReply {
    pub(crate) fn request_id(&self) -> Option<&str> {
        self.reply.header("x-amzn-requestid")
    }

    /// How the function failed, if it did: the status of a failed function is 200.
    pub(crate) fn function_error(&self) -> Option<&str> {
        self.reply.header("x-amz-function-error")
    }

    pub(crate) fn version(&self) -> Option<&str> {
        self.reply.header("x-amz-executed-version")
    }

    /// The last 4 KB of the log.
    pub(crate) fn log_tail(&self) -> Option<String> {
        let encoded = self.reply.header("x-amz-log-result")?;
        let bytes = STANDARD.decode(encoded).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A path with a function's name or ARN in it, whose `:` are encoded.
fn path(date: &str, name: &str, rest: &str) -> String {
    format!("/{date}/functions/{}{rest}", encode(name, ""))
}

fn call<'a>(operation: &'static str, method: Method, path: String) -> Call<'a> {
    Call::new(Service::Lambda, operation, method, path)
}

fn with_json<'a, T: Serialize>(mut call: Call<'a>, body: &T) -> Result<Call<'a>, RequestError> {
    call.body = to_body(body)?;
    Ok(call.header("content-type", JSON))
}

/// The longest that an upload of code may take.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(300);

impl Client {
    pub(crate) async fn create_function(
        &self,
        function: &NewFunction<'_>,
        code: &CodeSource,
    ) -> Result<Configuration, RequestError> {
        let mut body = function.configuration();
        body["FunctionName"] = function.name.into();
        body["Architectures"] = json!([function.architecture]);
        body["PackageType"] = code.package_type().into();
        body["Code"] = code.members();
        body["Tags"] = json!(function.tags);
        let request = call("CreateFunction", Method::POST, "/2015-03-31/functions".into());
        let mut request = with_json(request, &body)?;
        request.timeout = Some(UPLOAD_TIMEOUT);
        Ok(self.send(&request).await?.json()?)
    }

    pub(crate) async fn get_function(&self, name: &str) -> Result<Function, RequestError> {
        let request = call("GetFunction", Method::GET, path("2015-03-31", name, ""));
        Ok(self.send(&request).await?.json()?)
    }

    /// A page of all functions of the account, and where the next one begins.
    pub(crate) async fn list_functions(
        &self,
        marker: Option<&str>,
    ) -> Result<(Vec<Configuration>, Option<String>), RequestError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Page {
            #[serde(default)]
            functions: Vec<Configuration>,
            next_marker: Option<String>,
        }
        let mut query = vec![("MaxItems", "50")];
        query.extend(marker.map(|marker| ("Marker", marker)));
        let mut request = call("ListFunctions", Method::GET, "/2015-03-31/functions".into());
        request.query = &query;
        let page: Page = self.send(&request).await?.json()?;
        Ok((page.functions, next_page(marker, page.next_marker)?))
    }

    /// The members of the code stand at the top here, not under `Code`.
    pub(crate) async fn update_function_code(
        &self,
        name: &str,
        code: &CodeSource,
        architecture: &str,
    ) -> Result<Configuration, RequestError> {
        let mut body = code.members();
        body["Architectures"] = json!([architecture]);
        let request = call("UpdateFunctionCode", Method::PUT, path("2015-03-31", name, "/code"));
        let mut request = with_json(request, &body)?;
        request.timeout = Some(UPLOAD_TIMEOUT);
        Ok(self.send(&request).await?.json()?)
    }

    pub(crate) async fn update_function_configuration(
        &self,
        function: &NewFunction<'_>,
    ) -> Result<Configuration, RequestError> {
        self.resize(function.name, &function.configuration()).await
    }

    /// Updates only the members of the configuration that are given.
    pub(crate) async fn resize(
        &self,
        name: &str,
        members: &Value,
    ) -> Result<Configuration, RequestError> {
        let path = path("2015-03-31", name, "/configuration");
        let request = call("UpdateFunctionConfiguration", Method::PUT, path);
        Ok(self.send(&with_json(request, members)?).await?.json()?)
    }

    /// Any 2xx is success: 204 as ever, or a state `Deleting`.
    pub(crate) async fn delete_function(&self, name: &str) -> Result<(), RequestError> {
        let request = call("DeleteFunction", Method::DELETE, path("2015-03-31", name, ""));
        self.send(&request).await.map(drop)
    }

    pub(crate) async fn put_concurrency(
        &self,
        name: &str,
        reserved: u32,
    ) -> Result<(), RequestError> {
        let path = path("2017-10-31", name, "/concurrency");
        let request = call("PutFunctionConcurrency", Method::PUT, path);
        let body = json!({"ReservedConcurrentExecutions": reserved});
        self.send(&with_json(request, &body)?).await.map(drop)
    }

    pub(crate) async fn put_event_invoke_config(
        &self,
        name: &str,
        config: &EventInvokeConfig<'_>,
    ) -> Result<(), RequestError> {
        let path = path("2019-09-25", name, "/event-invoke-config");
        let request = call("PutFunctionEventInvokeConfig", Method::PUT, path);
        let destination = json!({"Destination": config.destination});
        let body = json!({
            "MaximumRetryAttempts": config.retries,
            "MaximumEventAgeInSeconds": config.age.as_secs(),
            "DestinationConfig": {"OnSuccess": destination, "OnFailure": destination},
        });
        self.send(&with_json(request, &body)?).await.map(drop)
    }

    pub(crate) async fn delete_event_invoke_config(&self, name: &str) -> Result<(), RequestError> {
        let path = path("2019-09-25", name, "/event-invoke-config");
        let request = call("DeleteFunctionEventInvokeConfig", Method::DELETE, path);
        self.send(&request).await.map(drop)
    }

    pub(crate) async fn tag(
        &self,
        arn: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<(), RequestError> {
        let path = format!("/2017-03-31/tags/{}", encode(arn, ""));
        let request = call("TagResource", Method::POST, path);
        self.send(&with_json(request, &json!({"Tags": tags}))?).await.map(drop)
    }

    pub(crate) async fn account_settings(&self) -> Result<AccountSettings, RequestError> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(rename = "AccountLimit", default)]
            limit: AccountSettings,
        }
        let path = "/2016-08-19/account-settings".into();
        let request = call("GetAccountSettings", Method::GET, path);
        Ok(self.send(&request).await?.json::<Answer>()?.limit)
    }

    /// Runs a function and waits for its result, `timeout` at most. `trace` is the value of a `traceparent` header.
    pub(crate) async fn invoke(
        &self,
        name: &str,
        event: Bytes,
        trace: &str,
        timeout: Duration,
        result_limit: u64,
    ) -> Result<InvokeReply, RequestError> {
        let context = json!({"custom": {"traceparent": trace}}).to_string();
        let mut request = call("Invoke", Method::POST, path("2015-03-31", name, "/invocations"))
            .header("content-type", JSON)
            .header("x-amz-invocation-type", HeaderValue::from_static("RequestResponse"))
            .header("x-amz-log-type", HeaderValue::from_static("Tail"));
        if let Ok(context) = HeaderValue::try_from(STANDARD.encode(context)) {
            request = request.header("x-amz-client-context", context);
        }
        request.body = event;
        request.timeout = Some(timeout);
        request.reply_limit = result_limit;
        Ok(InvokeReply { reply: self.send(&request).await? })
    }

    /// Puts an event into a function's queue, and gives the id of the request.
    pub(crate) async fn invoke_event(
        &self,
        name: &str,
        event: Bytes,
    ) -> Result<Option<String>, RequestError> {
        let mut request = call("Invoke", Method::POST, path("2015-03-31", name, "/invocations"))
            .header("content-type", JSON)
            .header("x-amz-invocation-type", HeaderValue::from_static("Event"));
        request.body = event;
        let reply = InvokeReply { reply: self.send(&request).await? };
        let id = reply.request_id().map(str::to_owned);
        if id.is_none() {
            // What broke off before an answer is a fault of the connection.
            reply.reply.whole_body()?;
        }
        Ok(id)
    }
}
