//! STS: whose credentials these are.

use serde::Deserialize;

use super::query::from_xml;
use super::{Client, RequestError};
use crate::config::Service;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    get_caller_identity_result: Identity,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Identity {
    account: String,
    arn: String,
}

impl Client {
    /// The account that the credentials belong to. It needs no permission.
    pub(crate) async fn account(&self) -> Result<String, RequestError> {
        Ok(self.identity().await?.account)
    }

    /// The user or the role's session that the credentials belong to, by its ARN. It needs no permission.
    pub(crate) async fn caller(&self) -> Result<String, RequestError> {
        Ok(self.identity().await?.arn)
    }

    async fn identity(&self) -> Result<Identity, RequestError> {
        let reply = self.query(Service::Sts, "GetCallerIdentity", &[]).await?;
        Ok(from_xml::<Answer>(&reply)?.get_caller_identity_result)
    }
}
