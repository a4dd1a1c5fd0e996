//! Deploying: the whole action in one request, or nothing where it is there already.

use falco_core::{Deployable, Deployment, Error, Ownership, Result};
use falco_http::reqwest::Method;

use crate::call::Call;
use crate::client::{SMALL, parse};
use crate::deployments::{MARKS, action_limits, deployment, named};
use crate::name::QualifiedName;
use crate::package::{content_hash, prepare};
use crate::platform::OpenWhisk;
use crate::stored::Stored;
use crate::wire::{Action, FalcoAnnotation, Marks, PutAction, PutExec, PutLimits};

impl OpenWhisk {
    /// Stores a function as an action, unless the same is there already.
    pub(crate) async fn deploy_function(&self, function: &Deployable) -> Result<Deployment> {
        let secrets: Vec<&str> = function.env.iter().map(|(_, value)| value).collect();
        let call = Call { secrets: &secrets, ..Call::on("deploy", &function.name) };
        let refused = |e: Error| call.apply(e);
        function.validate().map_err(refused)?;
        let server = &self.inner.server;
        let mut limits = action_limits(&function.scaling, &server.limits).map_err(refused)?;
        limits.logs_mib = self.inner.config.log_limit_mib;
        let config = &self.inner.config;
        let (allowed, plain) = (server.limits.max_parameters(), config.plain_code);
        let stored = Stored::new(function, allowed, plain).map_err(refused)?;
        let exec = prepare(&stored.function, server, plain, config.machine).map_err(refused)?;
        let content = content_hash(function, &exec.kind, plain, limits.logs_mib);
        let name: QualifiedName = function.name.parse().map_err(refused)?;
        let marks = Marks {
            runtime: function.runtime.clone(),
            ownership: function.ownership.clone(),
            content: Some(content.clone()),
        };
        let annotations = vec![FalcoAnnotation { key: MARKS, value: marks }];
        let request = self.api().action(Method::GET, &name).query(&[("code", "false")]);
        // Where the look fails, what follows says why.
        if let Ok(Some(reply)) = self.api().find(&call, request, 4 * SMALL + 2 * allowed).await {
            let action = parse::<Action<'_>>(&call, &reply)?;
            if stored.is_deployed(&action, &content, &limits) {
                let there = deployment(&call, &action, self.api().host())?;
                if is_written(function.ownership.as_ref(), there.ownership.as_ref()) {
                    return Ok(there);
                }
                let limits = PutLimits::default();
                let body = PutAction { exec: None, limits, parameters: None, annotations };
                let reply = self.put(&call, &name, &body).await?;
                let owned = there.with_ownership(function.ownership.clone());
                return self.put_answer(&call, &reply, || owned);
            }
        }
        let body = PutAction {
            exec: Some(PutExec {
                kind: &exec.kind,
                image: exec.image,
                code: exec.code.as_deref(),
                main: exec.main,
            }),
            limits,
            parameters: Some(stored.parameters),
            annotations,
        };
        let reply = self.put(&call, &name, &body).await?;
        self.put_answer(&call, &reply, || {
            named(&name, function.runtime.clone())
                .with_scaling(function.scaling.clone())
                .with_ownership(function.ownership.clone())
        })
    }
}

/// Whether an owner is the one that an action's annotations name.
fn is_written(owner: Option<&Ownership>, there: Option<&Ownership>) -> bool {
    match (owner, there) {
        (Some(owner), Some(there)) => owner.is_written_as(there),
        (owner, there) => owner.is_none() && there.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn an_owner_is_written_where_there_is_none_and_taken_away_where_none_is_asked_for() {
        let [one, other] =
            ["run-1", "run-2"].map(|run| Ownership::new(run, "ada@host", SystemTime::UNIX_EPOCH));
        assert!(is_written(None, None) && is_written(Some(&one), Some(&one)));
        for (owner, there) in [(Some(&one), None), (None, Some(&one)), (Some(&one), Some(&other))] {
            assert!(!is_written(owner, there), "{owner:?} and {there:?}");
        }
    }
}
