//! From durable references to signed ones: what is added when a call is sent.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use falco_core::{Error, ErrorKind, Result, RunId};
use object_store::signer::Method;
use serde_json::{Map, Value, json};

use crate::object::{Fields, SinkFields, with_suffix};
use crate::output_key::suffix;
use crate::place::join;
use crate::reference::{PartsFields, Piece, Reference, ValueFields};
use crate::store::{Signed, Store, store_of};

/// Signs for the stores of a layer. URLs for reading are kept for a quarter of their life.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<HashMap<(String, Duration), (u64, Signed)>>);

/// Some 50 MB: beyond it the cache begins anew.
const MOST_CACHED: usize = 100_000;

/// The facts about one call that signing needs.
#[derive(Debug)]
pub(super) struct Signing<'a> {
    pub(super) stores: &'a [Store],
    pub(super) cache: &'a Cache,
    pub(super) lifetime: Duration,
    /// Where the attempt writes in the scratch store, without its end.
    pub(super) scratch: &'a str,
    /// The run, for keys of outputs.
    pub(super) run: &'a RunId,
    /// Attempt and a random part: no other call has both.
    pub(super) unique: &'a str,
}

impl Signing<'_> {
    /// The text of the payload with signed references.
    pub(super) async fn text(&self, pieces: &[Piece<'_>]) -> Result<String> {
        let mut text = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Owned(piece) => text.push_str(piece),
                Piece::Reference(reference) => {
                    text += &self.reference(reference).await?.to_string()
                }
            }
        }
        Ok(text)
    }

    async fn reference(&self, reference: &Reference) -> Result<Value> {
        Ok(match reference {
            Reference::Object(object) => json!({ "falco:object": self.object(object).await? }),
            Reference::Objects(objects) => {
                let mut signed = Vec::with_capacity(objects.len());
                for object in objects {
                    signed.push(self.object(object).await?);
                }
                json!({ "falco:objects": signed })
            }
            Reference::Sink(sink) => json!({ "falco:sink": self.sink(sink).await? }),
            Reference::Parts(parts) => json!({ "falco:parts": self.parts(parts).await? }),
            Reference::Value(value) => json!({ "falco:value": self.value(value).await? }),
        })
    }

    async fn object(&self, object: &Fields) -> Result<Value> {
        let signed = self.get(&object.url).await?;
        let mut fields = json!(object);
        if let Value::Object(fields) = &mut fields {
            readable(fields, signed);
        }
        Ok(fields)
    }

    /// A reference to a spilled value that can be read.
    pub(super) async fn value(&self, value: &ValueFields) -> Result<Value> {
        let signed = self.get(&value.url).await?;
        let mut fields = json!(value);
        if let Value::Object(fields) = &mut fields {
            readable(fields, signed);
        }
        Ok(fields)
    }

    async fn sink(&self, sink: &SinkFields) -> Result<Value> {
        let url = match &sink.url {
            None => format!("{}-{}", self.scratch, self.unique),
            Some(url) => with_suffix(url, &suffix(self.run, self.unique)),
        };
        let mut fields = self.put(&url).await?;
        if let Some(partitions) = sink.partitions {
            if partitions == 0 {
                return Err(Error::invalid_input("a sink needs at least one partition"));
            }
            fields.insert("partitions".into(), partitions.into());
        }
        if sink.gzip {
            fields.insert("gzip".into(), true.into());
        }
        Ok(Value::Object(fields))
    }

    /// A place that can be written.
    pub(super) async fn put(&self, url: &str) -> Result<Map<String, Value>> {
        let store = store_of(self.stores, url)?;
        let signed = store.sign(Method::PUT, url, self.lifetime).await?;
        let mut fields = Map::new();
        fields.insert("url".into(), url.into());
        fields.insert("put".into(), signed.url.into());
        if let Some(until) = signed.until {
            fields.insert("until".into(), until.into());
        }
        if !store.put_headers().is_empty() {
            let headers = store.put_headers().iter();
            let headers: Map<_, _> =
                headers.map(|(name, value)| ((*name).into(), (*value).into())).collect();
            fields.insert("headers".into(), headers.into());
        }
        Ok(fields)
    }

    async fn parts(&self, parts: &PartsFields) -> Result<Value> {
        let mut groups: Vec<(Shape, Vec<Value>)> = Vec::new();
        let mut until: Option<u64> = None;
        for part in &parts.parts {
            let signed = self.get(&join(&parts.base, &part.key)).await?;
            until = [until, signed.until].into_iter().flatten().min();
            let (shape, name, signature) = Shape::of(&signed.url);
            let mut entry = vec![Value::from(name), Value::from(signature)];
            entry.extend(part.bounds.iter().map(|bound| Value::from(*bound)));
            // The parts come sorted by key, and few heads and stamps alternate.
            match groups.iter_mut().rev().find(|(known, _)| *known == shape) {
                Some((_, entries)) => entries.push(entry.into()),
                None => groups.push((shape, vec![entry.into()])),
            }
        }
        let groups: Vec<_> = groups
            .into_iter()
            .map(|(Shape { head, mid, tail }, parts)| {
                json!({ "head": head, "mid": mid, "tail": tail, "parts": parts })
            })
            .collect();
        let mut fields = Map::new();
        if let Some(until) = until {
            fields.insert("until".into(), until.into());
        }
        if parts.gzip {
            fields.insert("gzip".into(), true.into());
        }
        fields.insert("groups".into(), groups.into());
        Ok(Value::Object(fields))
    }

    async fn get(&self, url: &str) -> Result<Signed> {
        let store = store_of(self.stores, url)?;
        if store.is_folder() {
            return store.sign(Method::GET, url, self.lifetime).await;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let key = (url.to_owned(), self.lifetime);
        if let Some((fresh_until, signed)) = self.cache.lock().get(&key)
            && now < *fresh_until
        {
            return Ok(signed.clone());
        }
        let signed = store.sign(Method::GET, url, self.lifetime).await?;
        let mut cache = self.cache.lock();
        if cache.len() >= MOST_CACHED {
            cache.clear();
        }
        cache.insert(key, (now + self.lifetime.as_secs() / 4, signed.clone()));
        Ok(signed)
    }
}

fn readable(fields: &mut Map<String, Value>, signed: Signed) {
    fields.insert("get".into(), signed.url.into());
    if let Some(until) = signed.until {
        fields.insert("until".into(), until.into());
    }
}

/// The parts that many signed URLs have in common.
#[derive(Debug, PartialEq)]
struct Shape {
    head: String,
    mid: String,
    tail: String,
}

impl Shape {
    /// The common parts of a URL, its name and its signature. Put together they are the URL.
    fn of(url: &str) -> (Self, &str, &str) {
        let path = url.split('?').next().unwrap_or_default();
        let name = path.rfind('/').map_or(0, |slash| slash + 1);
        let signature = ["X-Amz-Signature=", "X-Goog-Signature=", "sig="].iter().find_map(|mark| {
            let at = url[path.len()..].find(mark)? + path.len() + mark.len();
            Some((at, url[at..].find('&').map_or(url.len(), |end| at + end)))
        });
        let (from, to) = signature.unwrap_or((url.len(), url.len()));
        let shape = Self {
            head: url[..name].to_owned(),
            mid: url[path.len()..from].to_owned(),
            tail: url[to..].to_owned(),
        };
        (shape, &url[name..path.len()], &url[from..to])
    }
}

impl Cache {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, Duration), (u64, Signed)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a function says that a store failed it, and not the user's code: the call may be repeated with fresh URLs.
pub(super) fn of_function(error_type: &str, message: &str) -> Option<Error> {
    let error = |kind, may_have_run| {
        Some(Error::new(kind, message).with_retryable(true).with_may_have_run(may_have_run))
    };
    // Functions in Rust say so in front of the text: the type of their error is their own.
    let is = |name: &str| error_type == name || message.contains(&format!("{name}: "));
    if error_type == "UrlExpiredBeforeStart" {
        error(ErrorKind::Timeout, false)
    } else if is("UrlExpired") {
        error(ErrorKind::Timeout, true)
    } else if is("StoreUnavailable") {
        error(ErrorKind::Unavailable, true)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_urls_are_factored_and_come_back() {
        for (url, head, name, signature) in [
            ("file:///data/x", "file:///data/", "x", ""),
            ("http://h/b/k/x?A=1&X-Amz-Signature=ab", "http://h/b/k/", "x", "ab"),
            ("https://h/c/x?sv=1&sig=a%2Fb&se=2", "https://h/c/", "x", "a%2Fb"),
        ] {
            let (shape, found, signed) = Shape::of(url);
            assert_eq!((&*shape.head, found, signed), (head, name, signature));
            let Shape { head, mid, tail } = shape;
            assert_eq!(format!("{head}{found}{mid}{signed}{tail}"), url);
        }
    }
}
