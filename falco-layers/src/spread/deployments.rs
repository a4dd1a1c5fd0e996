//! A function that is deployed on several platforms, as one deployment.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use falco_core::{Deployment, Error, Result};

/// The attributes that hold the deployments of the parts begin with it.
const PREFIX: &str = "part:";
/// How many deployments are kept in parsed form.
const REMEMBERED: usize = 256;

/// The deployments of a function, with the numbers of the parts that hold them.
pub(super) type Held = Arc<[(usize, Deployment)]>;

/// Makes one deployment of those that the parts `names` hold.
pub(super) fn merged(
    platform: &str,
    names: &[&str],
    held: &[(usize, Deployment)],
) -> Result<Deployment> {
    let Some((_, first)) = held.first() else {
        return Err(Error::invalid_input("a deployment on no platform"));
    };
    let mut deployment = first.clone().with_platform(platform);
    deployment.id = held
        .iter()
        .map(|(at, deployment)| format!("{}/{}", names[*at], deployment.id))
        .collect::<Vec<_>>()
        .join(",");
    // Layers wait as long as the slowest may take.
    deployment.scaling.timeout = held.iter().filter_map(|(_, it)| it.scaling.timeout).max();
    deployment.attributes = BTreeMap::new();
    for (at, part) in held {
        let json = serde_json::to_string(part).map_err(|error| {
            Error::invalid_input("a deployment has no JSON form").with_source(&error)
        })?;
        deployment.attributes.insert(format!("{PREFIX}{}", names[*at]), json);
    }
    Ok(deployment)
}

/// Deployments by name, with the attributes from which they were parsed.
type Remembered = HashMap<String, (BTreeMap<String, String>, Held)>;

/// The way back from one deployment to those of the parts.
#[derive(Debug, Default)]
pub(super) struct Deployments(Mutex<Remembered>);

impl Deployments {
    /// The deployments of the parts.
    ///
    /// # Errors
    ///
    /// `NotFound` for a deployment that none of the parts `names` holds.
    pub(super) fn of(&self, names: &[&str], deployment: &Deployment) -> Result<Held> {
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((attributes, held)) = remembered.get(&deployment.name)
            && *attributes == deployment.attributes
        {
            return Ok(held.clone());
        }
        let held: Held = names
            .iter()
            .enumerate()
            .filter_map(|(at, name)| {
                let json = deployment.attribute(&format!("{PREFIX}{name}"))?;
                Some((at, serde_json::from_str(json).ok()?))
            })
            .collect();
        if held.is_empty() {
            let message = format!("none of the platforms {names:?} holds {:?}", deployment.name);
            return Err(Error::new(falco_core::ErrorKind::NotFound, message));
        }
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        let attributes = deployment.attributes.clone();
        remembered.insert(deployment.name.clone(), (attributes, held.clone()));
        Ok(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deployments_of_a_function_are_those_that_it_has_now() {
        let deployments = Deployments::default();
        let names = ["a", "b"];
        let part = |id: &str| {
            let mut part = Deployment::new("f", falco_core::RuntimeName::python());
            id.clone_into(&mut part.id);
            part
        };
        let first = [(0, part("1")), (1, part("2"))];
        let second = [(1, part("3"))];
        for held in [&first[..], &first[..], &second[..], &first[..]] {
            let whole = merged("spread", &names, held).unwrap();
            assert_eq!(deployments.of(&names, &whole).unwrap()[..], *held);
        }
        let of_others = merged("spread", &["c"], &first[..1]).unwrap();
        let error = deployments.of(&names, &of_others).unwrap_err();
        assert_eq!(error.kind(), falco_core::ErrorKind::NotFound);
    }
}
