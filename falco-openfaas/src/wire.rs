//! The gateway's JSON, as far as this crate reads and writes it (`types/model.go` in openfaas/faas-provider).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The body of `POST` and `PUT /system/functions`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FunctionDeployment {
    pub(crate) service: String,
    pub(crate) image: String,
    pub(crate) env_process: &'static str,
    pub(crate) env_vars: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limits: Option<Resources>,
}

/// Sizes as Kubernetes writes them, such as `256Mi`.
#[derive(Debug, Serialize)]
pub(crate) struct Resources {
    pub(crate) memory: String,
}

/// The answer of `GET /system/function/NAME`; `GET /system/functions` answers with a list of them.
///
/// It is not read back what environment a function has: not every provider reports it, and none of this crate's errors
/// can then quote it.
#[derive(Debug, Deserialize)]
pub(crate) struct FunctionStatus {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
}

/// The body of `DELETE /system/functions`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeleteFunctionRequest<'a> {
    pub(crate) function_name: &'a str,
}
