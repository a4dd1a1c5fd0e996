//! AWS's names of what a request asks.

use crate::http::Request;

/// The service that a request was signed for.
pub(super) fn service(request: &Request) -> &str {
    let authorization = request.header("authorization").unwrap_or_default();
    authorization.split('/').nth(3).unwrap_or_default()
}

/// AWS's name of the operation, such as `CreateFunction`.
pub(super) fn operation(request: &Request) -> String {
    if let Some((_, name)) = request.header("x-amz-target").unwrap_or_default().split_once('.') {
        return name.to_owned();
    }
    if let Some(action) = request.form("Action") {
        return action;
    }
    let segments = request.segments();
    let at = |index: usize| segments.get(index).map(String::as_str).unwrap_or_default();
    let name = if service(request) == "s3" {
        match (request.method.as_str(), segments.len()) {
            ("PUT", _) => "PutObject",
            ("DELETE", _) => "DeleteObject",
            ("GET", _) if request.query("list-type").is_some() => "ListObjectsV2",
            _ => "",
        }
    } else {
        match (request.method.as_str(), at(0), at(1), at(3)) {
            ("GET", "2016-08-19", "account-settings", _) => "GetAccountSettings",
            ("GET", "2015-03-31", "functions", "") if segments.len() == 2 => "ListFunctions",
            ("POST", "2015-03-31", "functions", "") => "CreateFunction",
            ("GET", "2015-03-31", "functions", "") => "GetFunction",
            ("DELETE", "2015-03-31", "functions", "") => "DeleteFunction",
            ("PUT", "2015-03-31", "functions", "code") => "UpdateFunctionCode",
            ("PUT", "2015-03-31", "functions", "configuration") => "UpdateFunctionConfiguration",
            ("POST", "2015-03-31", "functions", "invocations") => "Invoke",
            ("PUT", "2017-10-31", "functions", "concurrency") => "PutFunctionConcurrency",
            ("PUT", "2019-09-25", "functions", "event-invoke-config") => {
                "PutFunctionEventInvokeConfig"
            }
            ("DELETE", "2019-09-25", "functions", "event-invoke-config") => {
                "DeleteFunctionEventInvokeConfig"
            }
            ("POST", "2017-03-31", "tags", _) => "TagResource",
            _ => "",
        }
    };
    name.to_owned()
}
