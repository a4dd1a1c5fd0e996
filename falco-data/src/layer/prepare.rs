//! From an invocation as it is planned to the one that is sent.

use std::borrow::Cow;

use bytes::Bytes;
use falco_core::{AsyncPlatform, Deployment, Error, ErrorKind, Invocation, Payload, Result};
use object_store::signer::Method;
use serde_json::{Value, json};

use super::Data;
use super::sign::Signing;
use crate::output_key::unique;
use crate::place::join;
use crate::reference::find;
use crate::scratch::place_of;

/// How an invocation is sent.
#[derive(Clone, Copy)]
pub(super) enum Way {
    Invoke,
    Submit,
}

/// Room for what a platform puts around a result.
const ENVELOPE: u64 = 4 << 10;

impl<P: AsyncPlatform> Data<P> {
    /// The invocation with signed references. What has no reference, fits, and may not spill its result stays as it is.
    pub(super) async fn prepared<'a>(
        &self,
        deployment: &Deployment,
        invocation: &'a Invocation,
        way: Way,
    ) -> Result<Cow<'a, Invocation>> {
        let payload = invocation.payload();
        let capabilities = self.inner.capabilities().for_runtime(&deployment.runtime);
        let (limit, lifetime) = match way {
            Way::Invoke => (capabilities.max_payload, self.policy.url_lifetime),
            Way::Submit => {
                let limit = capabilities.max_submit_payload.or(capabilities.max_payload);
                (limit, self.policy.url_lifetime + self.policy.queue)
            }
        };
        let is_plain = self.state.plain().contains(&deployment.name);
        let inline = [limit, self.policy.inline.filter(|_| !is_plain)].into_iter().flatten().min();
        let longest_result = capabilities.max_result.map(|most| most.saturating_sub(ENVELOPE));
        let longest_result = [longest_result, self.policy.inline].into_iter().flatten().min();
        let over = longest_result.filter(|_| !is_plain && self.policy.spill_results);

        let pieces = find(payload.as_str())?;
        let is_long = |length: usize| inline.is_some_and(|inline| length as u64 > inline);
        if pieces.is_none() && over.is_none() && (is_plain || !is_long(payload.len())) {
            return Ok(Cow::Borrowed(invocation));
        }

        let unique = unique(invocation.attempt());
        let scratch = join(self.scratch().url(), &place_of(invocation));
        let (stores, cache, run) = (&self.stores, &self.state.cache, invocation.run());
        let signing = Signing { stores, cache, lifetime, scratch: &scratch, run, unique: &unique };
        let text = match &pieces {
            Some(pieces) => Cow::Owned(signing.text(pieces).await?),
            None => Cow::Borrowed(payload.as_str()),
        };
        if is_plain {
            return Ok(Cow::Owned(with_payload(invocation, text.into_owned())?));
        }
        payload.check_argument(None)?;

        let memory = deployment.scaling.memory_mib.map(|mib| u64::from(mib) << 20);
        let mut head = format!("{{\"falco:data\":{}", json!({ "memory": memory }));
        if let Some(over) = over {
            let mut place = signing.put(&format!("{scratch}-{unique}-result")).await?;
            place.insert("over".into(), over.into());
            place.insert("most".into(), self.policy.max_value.into());
            head += &format!(",\"falco:spill\":{}", Value::Object(place));
        }
        let rest = text.trim_start().strip_prefix('{').unwrap_or_default();
        let separator = if rest.trim_start().starts_with('}') { "" } else { "," };
        if !is_long(head.len() + 1 + rest.len()) {
            return Ok(Cow::Owned(with_payload(invocation, format!("{head}{separator}{rest}"))?));
        }
        let value = self.spill(&signing, &scratch, text.into_owned()).await?;
        let sent = format!("{head},\"falco:argument\":{value}}}");
        Ok(Cow::Owned(with_payload(invocation, sent)?))
    }

    /// Uploads an argument; the reference to it.
    async fn spill(&self, signing: &Signing<'_>, scratch: &str, text: String) -> Result<Value> {
        let (size, most) = (text.len() as u64, self.policy.max_value);
        if size > most {
            let message = format!("the argument has {size} bytes, and {most} are allowed");
            return Err(Error::new(ErrorKind::PayloadTooLarge, message)
                .with_hint("refer to objects, or raise DataPolicy::max_value"));
        }
        let url = format!("{scratch}-{}-argument", signing.unique);
        self.scratch().put(&url, Bytes::from(text)).await?;
        // Not from the cache: nobody else will read it.
        let signed = self.scratch().sign(Method::GET, &url, signing.lifetime).await?;
        Ok(json!({ "get": signed.url, "size": size, "until": signed.until }))
    }
}

fn with_payload(invocation: &Invocation, text: String) -> Result<Invocation> {
    Ok(invocation.clone().with_payload(Payload::from_bytes(text)?))
}
