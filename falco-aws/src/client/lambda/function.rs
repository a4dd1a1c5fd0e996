//! Lambda's record of a function, and of the account.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

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
    pub(super) fn members(&self) -> Value {
        match self {
            Self::Zip(zip) => json!({"ZipFile": STANDARD.encode(zip)}),
            Self::Object { bucket, key } => json!({"S3Bucket": bucket, "S3Key": key}),
            Self::Image { uri } => json!({"ImageUri": uri}),
        }
    }

    pub(super) fn package_type(&self) -> &'static str {
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
    pub(super) fn configuration(&self) -> Value {
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
