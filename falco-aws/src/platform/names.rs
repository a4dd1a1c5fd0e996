//! The names of what belongs to a function, and the tags that mark it.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use falco_core::{Deployable, Deployment, Ownership, RunId, RuntimeName};
use sha2::{Digest, Sha256};

use crate::client::hex;

/// The path above all of Falco's roles: a role below it may be removed.
pub(super) const ROLE_PATH: &str = "/falco/";

/// The beginning of the names of Falco's queues.
pub(super) const QUEUE_PREFIX: &str = "falco-";

/// The mark of a function in the list of all functions whose tags are worth a look.
pub(super) const DESCRIPTION: &str = "Deployed by Falco";

const RUN: &str = "falco:run";
const OWNER: &str = "falco:owner";
const EXPIRES: &str = "falco:expires";
const EPOCH: &str = "falco:epoch";
const RUNTIME: &str = "falco:runtime";

/// The tag that says what is deployed: a hash of the content, and the digest of the code as Lambda reports it.
pub(super) const CONTENT: &str = "falco:content";

pub(super) fn queue(function: &str) -> String {
    format!("{QUEUE_PREFIX}{function}")
}

/// The path of a function's own role. IAM is global, so it names the region as well.
pub(super) fn role_path(function: &str, region: &str) -> String {
    format!("{ROLE_PATH}{region}/{function}/")
}

/// The name of a function's own role, which an account has once for all regions and paths. A digest replaces the end
/// of a long function name: IAM takes 64 characters.
pub(super) fn role(function: &str, region: &str) -> String {
    const LONGEST: usize = 64;
    let name = format!("{function}.{region}");
    if name.len() <= LONGEST {
        return name;
    }
    let mut digest = hex(&Sha256::digest(function));
    digest.truncate(12);
    let room = LONGEST.saturating_sub(region.len() + digest.len() + 2);
    let start: String = function.chars().take(room).collect();
    format!("{start}-{digest}.{region}")
}

/// The function that a role belongs to, if the role is one of Falco's in this region.
pub(super) fn function_of_role<'a>(path: &'a str, region: &str) -> Option<&'a str> {
    path.strip_prefix(ROLE_PATH)?.strip_prefix(region)?.strip_prefix('/')?.strip_suffix('/')
}

pub(super) fn log_group(function: &str) -> String {
    format!("/aws/lambda/{function}")
}

/// Where a function's uploads are.
pub(super) fn object_prefix(function: &str) -> String {
    format!("falco/{function}/")
}

/// The ARN of a function's queue, next to the function.
pub(super) fn queue_arn(function_arn: &str, function: &str) -> Option<String> {
    let mut parts = function_arn.split(':');
    let (arn, partition) = (parts.next()?, parts.next()?);
    let (_, region, account) = (parts.next()?, parts.next()?, parts.next()?);
    (arn == "arn").then(|| format!("arn:{partition}:sqs:{region}:{account}:{}", queue(function)))
}

/// The account of an ARN.
pub(super) fn account(arn: &str) -> Option<&str> {
    arn.split(':').nth(4).filter(|account| !account.is_empty())
}

/// The tags of a function and of everything that is made for it.
pub(super) fn tags(function: &Deployable) -> BTreeMap<String, String> {
    marks(&function.runtime, function.ownership.as_ref())
}

/// The same, of a function that is there.
pub(super) fn tags_of(deployment: &Deployment) -> BTreeMap<String, String> {
    marks(&deployment.runtime, deployment.ownership.as_ref())
}

fn marks(runtime: &RuntimeName, ownership: Option<&Ownership>) -> BTreeMap<String, String> {
    let mut tags = BTreeMap::from([(RUNTIME.to_owned(), runtime.to_string())]);
    if let Some(ownership) = ownership {
        let expires = ownership.expires_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        tags.insert(RUN.into(), tag_value(ownership.run.as_str()));
        tags.insert(OWNER.into(), tag_value(&ownership.owner));
        tags.insert(EXPIRES.into(), expires.as_secs().to_string());
        if ownership.epoch > 0 {
            tags.insert(EPOCH.into(), ownership.epoch.to_string());
        }
    }
    tags
}

pub(super) fn ownership(tags: &BTreeMap<String, String>) -> Option<Ownership> {
    let expires: u64 = tags.get(EXPIRES)?.parse().ok()?;
    let ownership = Ownership::new(
        RunId::from(tags.get(RUN)?.as_str()),
        tags.get(OWNER)?.clone(),
        UNIX_EPOCH.checked_add(Duration::from_secs(expires))?,
    );
    let epoch = tags.get(EPOCH).and_then(|epoch| epoch.parse().ok());
    Some(ownership.with_epoch(epoch.unwrap_or_default()))
}

/// The runtime as the user named it.
pub(super) fn runtime(tags: &BTreeMap<String, String>) -> Option<RuntimeName> {
    tags.get(RUNTIME)?.parse().ok()
}

/// `text` as a value that every service takes for a tag.
fn tag_value(text: &str) -> String {
    const LONGEST: usize = 256;
    let allowed = |c: char| c.is_alphanumeric() || " +-=._:/@".contains(c);
    text.chars().take(LONGEST).map(|c| if allowed(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ownership_survives_being_written_into_tags() {
        let owner = Ownership::new(
            "6553f100-0000beef",
            "ada@workstation",
            UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        )
        .with_epoch(3);
        let function = Deployable::from_source("f", "python:3".parse().unwrap(), "x")
            .with_ownership(owner.clone());
        let tags = tags(&function);
        assert_eq!(ownership(&tags), Some(owner));
        assert_eq!(runtime(&tags), Some("python:3".parse().unwrap()));
    }

    #[test]
    fn a_queue_is_next_to_its_function_in_every_partition() {
        let arn = "arn:aws-cn:lambda:cn-north-1:123456789012:function:f";
        assert_eq!(
            queue_arn(arn, "f").as_deref(),
            Some("arn:aws-cn:sqs:cn-north-1:123456789012:falco-f")
        );
        assert_eq!(queue_arn("f", "f"), None);
    }

    #[test]
    fn a_role_of_the_longest_function_name_is_one_that_iam_takes() {
        assert_eq!(role("f", "eu-central-1"), "f.eu-central-1");
        let (one, other) = ("x".repeat(62) + "1", "x".repeat(62) + "2");
        let (one, other) = (role(&one, "ap-southeast-1"), role(&other, "ap-southeast-1"));
        assert_eq!((one.len(), other.len()), (64, 64));
        assert_ne!(one, other);
        assert!(one.ends_with(".ap-southeast-1"), "{one}");
    }

    #[test]
    fn the_path_of_a_role_says_which_function_it_belongs_to() {
        let path = role_path("f", "eu-central-1");
        assert_eq!(function_of_role(&path, "eu-central-1"), Some("f"));
        for region in ["eu-central-2", "eu-central", "eu-central-1/f"] {
            assert_eq!(function_of_role(&path, region), None, "{region}");
        }
        assert_eq!(function_of_role(ROLE_PATH, "eu-central-1"), None);
    }

    #[test]
    fn characters_that_no_tag_can_hold_are_replaced() {
        assert_eq!(tag_value("ada<at>home"), "ada_at_home");
    }
}
