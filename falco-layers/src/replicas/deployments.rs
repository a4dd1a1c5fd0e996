//! A function that is deployed several times under names of its own, as one deployment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use falco_core::{ActivationId, Deployable, Deployment, Error, Result, Scaling};

/// The attribute that holds the deployments of all replicas.
const ATTRIBUTE: &str = "replicas";
/// How many deployments are kept in parsed form.
const REMEMBERED: usize = 256;
/// How much of a long name is kept.
const TAIL: usize = 36;

/// The replica of this number, counted from 0, of a function: the first has the function's own name.
pub(super) fn name(function: &str, number: usize) -> String {
    if number == 0 {
        return function.to_owned();
    }
    let name = format!("replica{}-{function}", number + 1);
    if name.len() <= Deployable::MAX_NAME {
        return name;
    }
    // The end of a name says which run it belongs to.
    let end = function.char_indices().rev().nth(TAIL - 1).map_or(0, |(at, _)| at);
    format!("replica{}-{:08x}-{}", number + 1, hash(function), &function[end..])
}

/// FNV-1a of 32 bits.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The part of `scaling` that one of so many replicas gets: instances are divided among them.
pub(super) fn share(scaling: &Scaling, number: usize, of: usize) -> Result<Scaling> {
    let mut own = scaling.clone();
    let part = |all: u32| -> u32 {
        let (number, of) = (number as u64, of as u64);
        let all = u64::from(all);
        // It is at most `all`.
        (all / of + u64::from(number < all % of)) as u32
    };
    if let Some(most) = scaling.max_instances {
        if (most as usize) < of {
            let message = format!("max_instances is {most}, which is less than {of} replicas");
            return Err(Error::invalid_input(message)
                .with_hint("ask for fewer replicas or for more instances"));
        }
        own.max_instances = Some(part(most));
    }
    own.min_instances = scaling.min_instances.map(part);
    Ok(own)
}

/// Makes one deployment, of this name, of those of the replicas.
pub(super) fn merged(name: &str, replicas: &[Deployment]) -> Result<Deployment> {
    let Some(first) = replicas.first() else {
        return Err(Error::invalid_input("a deployment has no replicas: merge 1 or more"));
    };
    let mut whole = first.clone();
    name.clone_into(&mut whole.name);
    if replicas.len() > 1 || first.name != name {
        let sum = |of: fn(&Scaling) -> Option<u32>| {
            let all: Option<Vec<u32>> =
                replicas.iter().map(|replica| of(&replica.scaling)).collect();
            all.map(|all| all.into_iter().fold(0, u32::saturating_add))
        };
        whole.scaling.max_instances = sum(|scaling| scaling.max_instances);
        whole.scaling.min_instances = sum(|scaling| scaling.min_instances);
        let json = serde_json::to_string(replicas).map_err(|error| {
            Error::invalid_input("a deployment has no JSON form").with_source(&error)
        })?;
        whole.attributes.insert(ATTRIBUTE.into(), json);
    }
    Ok(whole)
}

/// The deployments of replicas, in the order of their numbers.
pub(super) type Deployments = Arc<[Deployment]>;

/// The way back from one deployment to those of its replicas.
#[derive(Debug, Default)]
pub(super) struct Remembered(Mutex<HashMap<String, (String, Deployments)>>);

impl Remembered {
    /// The replicas of a deployment. One that was deployed without replicas is its own only replica.
    pub(super) fn of(&self, deployment: &Deployment) -> Deployments {
        let Some(json) = deployment.attribute(ATTRIBUTE) else {
            return Arc::from([deployment.clone()]);
        };
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, replicas)) = remembered.get(&deployment.name)
            && known == json
        {
            return replicas.clone();
        }
        let parsed: Vec<Deployment> = serde_json::from_str(json).unwrap_or_default();
        let replicas: Deployments =
            if parsed.is_empty() { Arc::from([deployment.clone()]) } else { parsed.into() };
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(deployment.name.clone(), (json.to_owned(), replicas.clone()));
        replicas
    }
}

/// The name of an activation of a replica among those of all.
pub(super) fn outer_id(number: usize, id: &ActivationId) -> ActivationId {
    if number == 0 { id.clone() } else { format!("replica{}/{id}", number + 1).into() }
}

/// The number of the replica that an activation belongs to, and the name that it has there.
pub(super) fn inner_id(id: &ActivationId) -> (usize, ActivationId) {
    let of_replica = || {
        let (number, own) = id.as_str().strip_prefix("replica")?.split_once('/')?;
        let number = number.parse::<usize>().ok()?.checked_sub(1)?;
        Some((number, own.into()))
    };
    of_replica().unwrap_or_else(|| (0, id.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_replicas_differ_and_are_valid() {
        let runtime = falco_core::RuntimeName::python();
        let (long, other) = ("x".repeat(63), format!("y{}", "x".repeat(62)));
        let mut names = std::collections::BTreeSet::new();
        for function in ["map-run", &long, &other] {
            for number in 0..100 {
                let name = name(function, number);
                Deployable::from_source(&name, runtime.clone(), "x").validate().unwrap();
                assert!(names.insert(name));
            }
        }
        assert_eq!(name("map-run", 1), "replica2-map-run");
        // The longest name that is kept whole, and the end of a longer one.
        let longest = "x".repeat(63 - "replica2-".len());
        assert_eq!(name(&longest, 1), format!("replica2-{longest}"));
        assert_eq!(name(&long, 99), format!("replica100-{:08x}-{}", hash(&long), "x".repeat(36)));
    }

    #[test]
    fn instances_are_divided_and_none_is_lost() {
        let scaling = Scaling::default().with_max_instances(10).with_min_instances(2);
        let shares: Vec<_> = (0..4).map(|number| share(&scaling, number, 4).unwrap()).collect();
        let most: Vec<_> = shares.iter().map(|share| share.max_instances.unwrap()).collect();
        let least: Vec<_> = shares.iter().map(|share| share.min_instances.unwrap()).collect();
        assert_eq!((most, least), (vec![3, 3, 2, 2], vec![1, 1, 0, 0]));
        assert_eq!(share(&scaling, 9, 10).unwrap().max_instances, Some(1));
        let error = share(&scaling, 0, 11).unwrap_err();
        assert!(error.to_string().contains("max_instances is 10"), "{error}");
    }

    #[test]
    fn a_deployment_finds_the_way_back_to_the_replicas_that_it_has_now() {
        let remembered = Remembered::default();
        let replica = |name: &str| Deployment::new(name, falco_core::RuntimeName::python());
        let both = [replica("f"), replica("replica2-f")];
        for replicas in [&both[..], &both[..], &both[1..], &both[..]] {
            let whole = merged("f", replicas).unwrap();
            assert_eq!(whole.name, "f");
            assert_eq!(remembered.of(&whole)[..], *replicas);
        }
        // A function that was deployed once is as its platform shows it.
        let only = merged("f", &both[..1]).unwrap();
        assert_eq!(only, both[0]);
        assert_eq!(remembered.of(&only)[..], both[..1]);
    }

    #[test]
    fn activations_find_the_way_back_to_their_replica() {
        for number in [0, 1, 99] {
            assert_eq!(inner_id(&outer_id(number, &"a-1".into())), (number, "a-1".into()));
        }
        for id in ["replica/x", "replicas", "replica0/x", "a/b"] {
            assert_eq!(inner_id(&id.into()), (0, id.into()));
        }
    }
}
