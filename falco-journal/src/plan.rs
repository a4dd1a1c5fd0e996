//! The plan as it is recorded, and how another one differs from it.

use std::collections::BTreeMap;

use falco_core::{Code, Deployable, Error, ErrorKind, ExecutionPlan, Image, Result, StageName};
use sha2::{Digest, Sha256};

use crate::record::{Function, Plan, PlannedStage, hex};

impl Function {
    /// The identity of a function: all that its results may depend on.
    pub(crate) fn of(function: &Deployable) -> Self {
        let code = match &function.code {
            Code::Source(source) => Sha256::digest(source.as_bytes()),
            Code::Archive(archive) => Sha256::digest(archive),
            Code::Image(image) => of_image(image),
            // A kind of code that this version does not know: never the same.
            _ => Sha256::digest(format!("{:?}", std::time::SystemTime::now())),
        };
        let code = match &function.image {
            Some(image) => Sha256::digest([code, of_image(image)].concat()),
            None => code,
        };
        Self {
            name: function.name.clone(),
            runtime: function.runtime.to_string(),
            entry: function.entry_point_or_main().to_owned(),
            code: hex(&code),
            version: function.code_version.clone(),
            env: function.env.names().map(str::to_owned).collect(),
            arguments: function
                .arguments
                .as_ref()
                .map(|arguments| hex(&Sha256::digest(arguments.as_str()))),
        }
    }

    /// The difference, in words; none when both are the same.
    pub(crate) fn difference(&self, now: &Self) -> Option<String> {
        let short = |hash: &str| format!("{}..", hash.get(..6).unwrap_or(hash));
        let name = &self.name;
        if self.name != now.name {
            return Some(format!("the function was {name:?}, and is {:?} now", now.name));
        }
        if self.code != now.code {
            let (then, now) = (short(&self.code), short(&now.code));
            return Some(format!(
                "the code of function {name:?} changed (sha256 {then} then, {now} now)"
            ));
        }
        let fields =
            [("runtime", &self.runtime, &now.runtime), ("entry point", &self.entry, &now.entry)];
        for (what, then, now) in fields {
            if then != now {
                return Some(format!(
                    "the {what} of function {name:?} changed ({then:?} then, {now:?} now)"
                ));
            }
        }
        if self.version != now.version {
            let shown = |version: &Option<String>| version.clone().unwrap_or("none".to_owned());
            let (then, now) = (shown(&self.version), shown(&now.version));
            return Some(format!(
                "the code version of function {name:?} changed ({then} then, {now} now)"
            ));
        }
        if self.arguments != now.arguments {
            return Some(format!("the arguments of function {name:?} changed"));
        }
        (self.env != now.env).then(|| {
            let (then, now) = (self.env.join(", "), now.env.join(", "));
            format!(
                "the names of the environment variables of function {name:?} changed ({then:?} then, {now:?} now)"
            )
        })
    }
}

/// The identity of an image: a tag may move, a digest may not.
fn of_image(image: &Image) -> sha2::digest::Output<Sha256> {
    let parts = std::iter::once(&image.reference).chain(&image.arguments);
    Sha256::digest(parts.map(String::as_str).collect::<Vec<_>>().join("\0"))
}

/// The plan as a record; stages keep the numbers that they have.
pub(crate) fn planned(
    plan: &ExecutionPlan,
    platform: &str,
    account: Option<&str>,
    numbers: &BTreeMap<StageName, u32>,
    mut next: u32,
) -> Plan {
    let mut number = |name: &StageName| match numbers.get(name) {
        Some(number) => *number,
        None => {
            next += 1;
            next - 1
        }
    };
    let stages = plan.stages().iter().map(|stage| PlannedStage {
        s: number(&stage.name),
        name: stage.name.clone(),
        upstream: stage.upstream().to_vec(),
        idempotent: stage.idempotent,
        pure: stage.pure,
        function: Function::of(&stage.function),
    });
    Plan {
        stages: stages.collect(),
        platform: platform.to_owned(),
        account: account.map(str::to_owned),
    }
}

/// Checks that `now` is the plan that was recorded, but for stages that are new, gone or accepted. Returns the names of
/// those that are gone.
///
/// # Errors
///
/// `Conflict` that names each change.
pub(crate) fn compare(
    run: &str,
    then: &Plan,
    now: &Plan,
    accepted: &[StageName],
    results_of: impl Fn(u32) -> u64,
) -> Result<Vec<StageName>> {
    if then.platform != now.platform {
        let message = format!(
            "run {run} was recorded on platform {:?}, and this one is {:?}",
            then.platform, now.platform
        );
        return Err(Error::new(ErrorKind::Conflict, message)
            .with_hint("resume it on the platform that holds its activations"));
    }
    if let (Some(recorded), Some(here)) = (&then.account, &now.account)
        && recorded != here
    {
        let message = format!("run {run} was recorded in {recorded:?}, and this is {here:?}");
        return Err(Error::new(ErrorKind::Conflict, message).with_hint(
            "resume it with the credentials and settings of the place that holds its activations",
        ));
    }
    let (mut gone, mut changes, mut hints) = (Vec::new(), Vec::new(), Vec::new());
    for stage in &then.stages {
        let Some(now) = now.stages.iter().find(|other| other.name == stage.name) else {
            gone.push(stage.name.clone());
            continue;
        };
        let Some(change) = change(stage, now) else { continue };
        if !accepted.contains(&stage.name) {
            changes.push(format!("stage {:?}: {change}", stage.name));
            hints.push(format!(
                "ResumeOptions::with_accepted({:?}) keeps its {} results and runs the rest with the new plan",
                stage.name,
                results_of(stage.s)
            ));
        }
    }
    if changes.is_empty() {
        return Ok(gone);
    }
    let message =
        format!("the plan differs from the one that run {run} recorded: {}", changes.join("; "));
    Err(Error::new(ErrorKind::Conflict, message).with_hint(hints.join("; ")))
}

fn change(then: &PlannedStage, now: &PlannedStage) -> Option<String> {
    if let Some(difference) = then.function.difference(&now.function) {
        return Some(difference);
    }
    if then.upstream != now.upstream {
        let shown = |upstream: &[StageName]| match upstream {
            [] => "inputs of its own".to_owned(),
            names => names.iter().map(StageName::as_str).collect::<Vec<_>>().join(", "),
        };
        let (then, now) = (shown(&then.upstream), shown(&now.upstream));
        return Some(format!("the stages that it follows changed ({then} then, {now} now)"));
    }
    (then.idempotent != now.idempotent).then(|| {
        let shown = |idempotent| if idempotent { "idempotent" } else { "not idempotent" };
        format!("it was {}, and is {} now", shown(then.idempotent), shown(now.idempotent))
    })
}
