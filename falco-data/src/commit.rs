//! The end of a run: outputs become complete at once.

use std::collections::BTreeSet;

use bytes::Bytes;
use falco_core::{Error, ErrorKind, InvocationId, Payload, Result, RunId};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use crate::object::Fields;
use crate::output_key::is_of;
use crate::place::join;
use crate::reference::{Piece, Reference, find};
use crate::store::{AT_ONCE, Store, whole_list};

/// The objects that a run has written, as `_manifest.json` lists them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Manifest {
    /// The run.
    pub run: RunId,
    /// The objects, in the order of the invocations that wrote them.
    pub objects: Vec<ManifestObject>,
}

/// One object of a [`Manifest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ManifestObject {
    /// Where it is.
    pub url: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its version, if the store names versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

const MANIFEST: &str = "_manifest.json";
const SUCCESS: &str = "_SUCCESS";

/// Completes the output of a run in `to`: deletes what attempts of this run have written there and no result names,
/// then writes `_manifest.json`, and last `_SUCCESS`. Readers that wait for `_SUCCESS`, or read what the manifest lists,
/// see all of the output or nothing. Objects are neither moved nor copied.
///
/// `results` are the results of all invocations of the run that wrote below `to`, also of several stages: every `falco:object` in
/// them that lies in `to` is taken, and what else the run wrote there is deleted.
/// Without results the output is complete, and empty. Repeated after a break, it goes on where it broke off; repeated after its end, it returns the same manifest.
///
/// # Errors
///
/// `Conflict` when `to` holds the complete output of another run, and when an object is not the one that a result names;
/// `NotFound` for one that is not there; `InvalidInput` when none of the results names an object in `to`, or two name the same;
/// what the store refuses. Without `_SUCCESS` nothing is complete.
pub async fn commit(
    to: &Store,
    run: &RunId,
    results: &[(InvocationId, Payload)],
) -> Result<Manifest> {
    let named = named(to, results)?;
    check_output(to, Some(run)).await?;
    let objects: Vec<ManifestObject> = stream::iter(named.iter().map(|object| checked(to, object)))
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    delete_losers(to, run, &named).await?;
    let manifest = Manifest { run: run.clone(), objects };
    let json = serde_json::to_vec_pretty(&manifest).map_err(|error| {
        Error::invalid_input("the manifest cannot be written").with_source(&error)
    })?;
    let place = join(to.url(), MANIFEST);
    match to.create(&place, Bytes::from(json.clone())).await {
        // A commit of this run broke off after its manifest, or the answer to this one did not come and the client asked again.
        Err(error) if error.kind() == ErrorKind::Conflict && to.get(&place).await? == json => {}
        Err(error) if error.kind() == ErrorKind::Conflict => return Err(taken(to)),
        written => written?,
    }
    match to.create(&join(to.url(), SUCCESS), Bytes::new()).await {
        // For the same reasons. The run that wrote the manifest owns the output.
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(manifest),
        written => written.map(|()| manifest),
    }
}

/// Looks whether `to` can take the output of `run`, or of a new run without one, so that a run is not in vain: [`commit`] fails
/// after it where this fails before.
///
/// # Errors
///
/// `Conflict` when `to` holds the output of another run; what the store refuses.
pub async fn check_output(to: &Store, run: Option<&RunId>) -> Result<()> {
    let place = join(to.url(), MANIFEST);
    if to.head(&place).await?.is_some() {
        let manifest = serde_json::from_slice::<Manifest>(&to.get(&place).await?).ok();
        let is_own = run.is_some() && manifest.as_ref().map(|manifest| &manifest.run) == run;
        return if is_own { Ok(()) } else { Err(taken(to)) };
    }
    match to.head(&join(to.url(), SUCCESS)).await? {
        Some(_) => Err(taken(to)),
        None => Ok(()),
    }
}

fn taken(to: &Store) -> Error {
    Error::new(ErrorKind::Conflict, format!("{} holds a complete output already", to.url()))
        .with_hint("write to another prefix, or delete that output first")
}

/// The objects in `to` that the results name, in the order of their invocations.
fn named(to: &Store, results: &[(InvocationId, Payload)]) -> Result<Vec<Fields>> {
    let mut sorted: Vec<_> = results.iter().collect();
    sorted.sort_by(|(left, _), (right, _)| left.cmp(right));
    let (mut objects, mut seen) = (Vec::new(), BTreeSet::new());
    for (id, result) in sorted {
        for piece in find(result.as_str())?.into_iter().flatten() {
            let Piece::Reference(Reference::Object(object)) = piece else { continue };
            if !to.holds(&object.url) {
                continue;
            }
            if !seen.insert(object.url.clone()) {
                let message = format!("two results name {}; the second is of {id}", object.url);
                return Err(Error::invalid_input(message));
            }
            objects.push(object);
        }
    }
    // Without results there is nothing to write: no reducer runs when no mapper emits.
    if objects.is_empty() && !results.is_empty() {
        let message = format!("none of {} results names an object in {}", results.len(), to.url());
        return Err(Error::invalid_input(message));
    }
    Ok(objects)
}

async fn checked(to: &Store, object: &Fields) -> Result<ManifestObject> {
    let Some(meta) = to.head(&object.url).await? else {
        let message = format!("{}, which a result names, is not there", object.url);
        return Err(Error::new(ErrorKind::NotFound, message));
    };
    match object.size {
        Some(size) if size != meta.size => {
            let message =
                format!("{} has {} bytes, and its result says {size}", object.url, meta.size);
            Err(Error::new(ErrorKind::Conflict, message))
        }
        _ => Ok(ManifestObject { url: object.url.clone(), size: meta.size, etag: meta.e_tag }),
    }
}

async fn delete_losers(to: &Store, run: &RunId, named: &[Fields]) -> Result<()> {
    let winners: BTreeSet<&str> = named.iter().map(|object| &*object.url).collect();
    let losers = whole_list(|| async {
        let losers = to.list("")?.try_filter_map(|meta| {
            let is_of_run = meta.location.filename().is_some_and(|name| is_of(run, name));
            let loses = is_of_run && !winners.contains(&*to.url_of(&meta.location));
            std::future::ready(Ok(loses.then_some(meta.location)))
        });
        losers.try_collect().await
    });
    let left = to.delete(losers.await?).await;
    left.into_iter().next().map_or(Ok(()), |(_, error)| {
        Err(error.context("what another attempt has written is still there"))
    })
}
