//! A run's folder in the scratch store, which lives no longer than the run.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use falco_core::{Error, ErrorKind, Invocation, Ownership, Result, RunId};
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::place::{hash, join, plain};
use crate::store::{Store, whole_list};

/// An object that could not be deleted, with the reason.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LeftoverObject {
    /// Where it is.
    pub url: String,
    /// Why it is still there.
    pub error: Error,
}

/// Owner and expiry of a run's folder.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    run: String,
    owner: String,
    /// Seconds since 1970.
    expires_at: u64,
}

/// The object with the mark.
const MARK: &str = "falco.json";

/// Deletes what a run has left in a scratch store.
///
/// Returns the objects that could not be deleted.
///
/// # Errors
///
/// As the store refuses a list: nothing was deleted then.
pub async fn clean(scratch: &Store, run: &RunId) -> Result<Vec<LeftoverObject>> {
    Scratch::of(scratch).delete_run(&plain(run.as_str())).await
}

/// Deletes what runs past their expiry have left in a scratch store: their drivers have died.
///
/// Returns the runs that it took, and the objects that could not be deleted.
///
/// # Errors
///
/// As the store refuses a list: nothing was deleted then.
pub async fn sweep(scratch: &Store) -> Result<(Vec<RunId>, Vec<LeftoverObject>)> {
    let scratch = Scratch::of(scratch);
    let (mut runs, mut leftovers) = (Vec::new(), Vec::new());
    for mark in scratch.expired(SystemTime::now()).await? {
        leftovers.extend(scratch.delete_run(&plain(&mark.run)).await?);
        runs.push(mark.run.into());
    }
    Ok((runs, leftovers))
}

/// The runs past their expiry that have left something in a scratch store.
///
/// # Errors
///
/// As the store refuses a list.
pub async fn expired(scratch: &Store) -> Result<Vec<RunId>> {
    let marks = Scratch::of(scratch).expired(SystemTime::now()).await?;
    Ok(marks.into_iter().map(|mark| mark.run.into()).collect())
}

/// The key of what an attempt writes, without its end: `runs/RUN/STAGE/H/ID`. H spreads the keys over 16 prefixes, since
/// S3 limits the requests to each.
pub(crate) fn place_of(invocation: &Invocation) -> String {
    let (run, stage) = (plain(invocation.run().as_str()), plain(invocation.stage().as_str()));
    let id = plain(invocation.id().as_str());
    let hash = hash(&id);
    format!("runs/{run}/{stage}/{:x}/{id}", (hash ^ (hash >> 16)) & 0xf)
}

/// A scratch store.
pub(crate) struct Scratch<'a>(&'a Store);

impl<'a> Scratch<'a> {
    pub(crate) fn of(store: &'a Store) -> Self {
        Self(store)
    }

    pub(crate) async fn mark(&self, ownership: &Ownership) -> Result<()> {
        let since_1970 = ownership.expires_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mark = Mark {
            run: ownership.run.to_string(),
            owner: ownership.owner.clone(),
            expires_at: since_1970.as_secs(),
        };
        let json = serde_json::to_vec(&mark).map_err(|error| {
            Error::invalid_input("the mark of a run cannot be written").with_source(&error)
        })?;
        let key = format!("runs/{}/{MARK}", plain(&mark.run));
        self.0.put(&join(self.0.url(), &key), Bytes::from(json)).await
    }

    async fn expired(&self, now: SystemTime) -> Result<Vec<Mark>> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let marks = whole_list(|| async {
            let marks = self.0.list("runs")?.try_filter_map(|meta| async move {
                if meta.location.filename() != Some(MARK) {
                    return Ok(None);
                }
                match self.0.get(&self.0.url_of(&meta.location)).await {
                    Ok(json) => Ok(serde_json::from_slice::<Mark>(&json).ok()),
                    // Somebody else has swept it meanwhile.
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(error),
                }
            });
            marks.try_collect::<Vec<Mark>>().await
        });
        Ok(marks.await?.into_iter().filter(|mark| mark.expires_at < now).collect())
    }

    async fn delete_run(&self, run: &str) -> Result<Vec<LeftoverObject>> {
        // What is deleted already is not listed again.
        whole_list(|| self.delete_listed(run)).await
    }

    /// The mark goes last: what could not be deleted is found again.
    async fn delete_listed(&self, run: &str) -> Result<Vec<LeftoverObject>> {
        let prefix = format!("runs/{run}");
        let mark = self.0.path(&join(self.0.url(), &format!("{prefix}/{MARK}")))?;
        let mut listed = self.0.list(&prefix)?.map_ok(|meta| meta.location).try_chunks(1000);
        let mut leftovers = Vec::new();
        while let Some(chunk) = listed.next().await {
            let chunk = chunk.map_err(|error| error.1)?;
            let others = chunk.into_iter().filter(|path| *path != mark).collect();
            leftovers.extend(self.deleted(others).await);
        }
        if leftovers.is_empty() {
            leftovers.extend(self.deleted(vec![mark]).await);
        }
        Ok(leftovers)
    }

    async fn deleted(&self, paths: Vec<Path>) -> Vec<LeftoverObject> {
        let failed = self.0.delete(paths).await.into_iter();
        failed.map(|(path, error)| LeftoverObject { url: self.0.url_of(&path), error }).collect()
    }
}
