//! Lambda: the functions themselves. The dates in the paths differ from operation to operation.

mod function;
mod invoke;

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) use self::function::{
    AccountSettings, CodeSource, Configuration, EventInvokeConfig, Function, NewFunction, Reserved,
    Start, Variables,
};
pub(crate) use self::invoke::InvokeReply;
use super::encoding::encode;
use super::{Call, Client, RequestError, next_page};
use crate::config::Service;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A path with a function's name or ARN in it, whose `:` are encoded.
fn path(date: &str, name: &str, rest: &str) -> String {
    // URLs leave these two out, and the path of one function would be that of all of them.
    let name = match name {
        "." => "%2E",
        ".." => "%2E%2E",
        name => name,
    };
    format!("/{date}/functions/{}{rest}", encode(name, ""))
}

fn call<'a>(operation: &'static str, method: Method, path: String) -> Call<'a> {
    Call::new(Service::Lambda, operation, method, path)
}

/// A call with this body, which may hold code of many megabytes. A [`Value`] is written as fast in a program without
/// optimization, as tests are: its `Display` is compiled with serde_json.
fn with_json<'a>(mut call: Call<'a>, body: &Value) -> Call<'a> {
    call.body = body.to_string().into();
    call.header("content-type", JSON)
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
        let mut request = with_json(request, &body);
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

    /// The members of the code are at the top here, not under `Code`.
    pub(crate) async fn update_function_code(
        &self,
        name: &str,
        code: &CodeSource,
        architecture: &str,
    ) -> Result<Configuration, RequestError> {
        let mut body = code.members();
        body["Architectures"] = json!([architecture]);
        let request = call("UpdateFunctionCode", Method::PUT, path("2015-03-31", name, "/code"));
        let mut request = with_json(request, &body);
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
        Ok(self.send(&with_json(request, members)).await?.json()?)
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
        self.send(&with_json(request, &body)).await.map(drop)
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
        self.send(&with_json(request, &body)).await.map(drop)
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
        self.send(&with_json(request, &json!({"Tags": tags}))).await.map(drop)
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
}
