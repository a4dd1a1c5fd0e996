//! A plan: stages and their order.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::id::StageName;
use crate::stage::{Stage, StageSource};

/// A validated graph of stages without cycles.
///
/// # Examples
///
/// ```
/// use falco_core::{Deployable, ExecutionPlan, Stage};
///
/// let f = Deployable::from_source("f", "python:3".parse()?, "def main(args): return args");
/// let plan = ExecutionPlan::new(vec![Stage::from_payloads("only", f.clone(), vec![])])?;
/// assert_eq!(plan.stages().len(), 1);
///
/// let twice = vec![
///     Stage::from_payloads("map", f.clone(), vec![]),
///     Stage::from_payloads("map", f, vec![]),
/// ];
/// assert!(ExecutionPlan::new(twice).unwrap_err().to_string().contains("\"map\""));
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ExecutionPlan {
    stages: Vec<Stage>,
}

impl ExecutionPlan {
    /// Checks `stages` and puts them into an order in which each follows its upstream stages; the order given is
    /// kept where it can be.
    ///
    /// # Errors
    ///
    /// `InvalidInput` that names the culprit: an empty plan, a name used twice, an upstream stage that is unknown
    /// or named twice, a derived stage without any, a cycle with its path, or a function that is not valid.
    pub fn new(stages: Vec<Stage>) -> Result<Self> {
        if stages.is_empty() {
            return Err(Error::invalid_input("the plan has no stage"));
        }
        let mut index = HashMap::with_capacity(stages.len());
        for (position, stage) in stages.iter().enumerate() {
            if stage.name.as_str().is_empty() {
                return Err(Error::invalid_input("a stage has an empty name"));
            }
            if index.insert(stage.name.clone(), position).is_some() {
                return Err(Error::invalid_input(format!("two stages are named {:?}", stage.name)));
            }
        }
        for stage in &stages {
            check_upstream(stage, &index)?;
            stage.function.validate()?;
            stage
                .policy
                .validate()
                .map_err(|error| error.context(format_args!("stage {:?}", stage.name)))?;
        }
        let order = topological_order(&stages, &index)?;
        let mut unordered: Vec<Option<Stage>> = stages.into_iter().map(Some).collect();
        let stages = order.into_iter().filter_map(|at| unordered[at].take()).collect();
        Ok(Self { stages })
    }

    /// The stages, each after those that it follows.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// A stage by name.
    pub fn stage(&self, name: &str) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.name == *name)
    }

    /// The stages that follow `name` directly.
    pub fn downstream<'a>(&'a self, name: &'a StageName) -> impl Iterator<Item = &'a Stage> {
        self.stages.iter().filter(move |stage| stage.upstream().contains(name))
    }
}

fn check_upstream(stage: &Stage, index: &HashMap<StageName, usize>) -> Result<()> {
    if matches!(stage.source, StageSource::Derived { .. }) && stage.upstream().is_empty() {
        return Err(Error::invalid_input(format!(
            "derived stage {:?} has no upstream stage",
            stage.name
        )));
    }
    for (at, upstream) in stage.upstream().iter().enumerate() {
        if !index.contains_key(upstream) {
            return Err(Error::invalid_input(format!(
                "stage {:?} follows {upstream:?}, which is not a stage of the plan",
                stage.name
            )));
        }
        if stage.upstream()[..at].contains(upstream) {
            return Err(Error::invalid_input(format!(
                "stage {:?} follows {upstream:?} twice",
                stage.name
            )));
        }
    }
    Ok(())
}

/// Kahn's algorithm, always taking the first stage that is ready.
fn topological_order(stages: &[Stage], index: &HashMap<StageName, usize>) -> Result<Vec<usize>> {
    let mut order = Vec::with_capacity(stages.len());
    let mut done = vec![false; stages.len()];
    while order.len() < stages.len() {
        let ready = (0..stages.len()).find(|&at| {
            !done[at] && stages[at].upstream().iter().all(|upstream| done[index[upstream]])
        });
        match ready {
            Some(at) => {
                done[at] = true;
                order.push(at);
            }
            None => return Err(cycle(stages, index, &done)),
        }
    }
    Ok(order)
}

/// Walks upstream from any stage that is left: each has one that is left too, so a name comes back.
fn cycle(stages: &[Stage], index: &HashMap<StageName, usize>, done: &[bool]) -> Error {
    let mut path: Vec<usize> = Vec::new();
    let mut at = done.iter().position(|done| !done);
    while let Some(current) = at {
        if let Some(start) = path.iter().position(|&seen| seen == current) {
            let mut names: Vec<&str> =
                path[start..].iter().map(|&i| stages[i].name.as_str()).collect();
            names.reverse();
            if let Some(&last) = names.last() {
                names.insert(0, last);
            }
            return Error::invalid_input(format!("the plan has a cycle: {}", names.join(" -> ")));
        }
        path.push(current);
        at = stages[current].upstream().iter().map(|name| index[name]).find(|&i| !done[i]);
    }
    Error::invalid_input("the plan has a cycle")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Completion, Deployable, Derivation, DerivationContext, Deriver, Input};

    #[derive(Debug)]
    struct Nothing;

    impl Derivation for Nothing {
        fn start(&self, _: DerivationContext) -> Result<Box<dyn Deriver>> {
            Ok(Box::new(Self))
        }
    }

    impl Deriver for Nothing {
        fn on_completion(&mut self, _: &Completion) -> Result<Vec<Input>> {
            Ok(vec![])
        }

        fn finish(&mut self) -> Result<Vec<Input>> {
            Ok(vec![])
        }
    }

    fn stage(name: &str, upstream: &[&str]) -> Stage {
        let function = Deployable::from_source("f", "python:3".parse().unwrap(), "x");
        if upstream.is_empty() {
            Stage::from_payloads(name, function, vec![])
        } else {
            Stage::derived(name, function, upstream.iter().copied(), Nothing)
        }
    }

    fn error(stages: Vec<Stage>) -> String {
        ExecutionPlan::new(stages).unwrap_err().to_string()
    }

    #[test]
    fn stages_come_after_what_they_follow() {
        let plan = ExecutionPlan::new(vec![
            stage("join", &["left", "right"]),
            stage("right", &["source"]),
            stage("left", &["source"]),
            stage("source", &[]),
        ])
        .unwrap();
        let names: Vec<_> = plan.stages().iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["source", "right", "left", "join"]);
        let source = StageName::from("source");
        assert_eq!(plan.downstream(&source).count(), 2);
    }

    #[test]
    fn a_cycle_is_named_with_its_path() {
        let message = error(vec![
            stage("in", &[]),
            stage("a", &["in", "c"]),
            stage("b", &["a"]),
            stage("c", &["b"]),
        ]);
        assert!(message.contains("a -> b -> c -> a"), "{message}");
    }

    #[test]
    fn a_function_that_no_platform_takes_is_named() {
        let mut wrong = stage("a", &[]);
        wrong.function.name = "no name".to_owned();
        assert!(error(vec![wrong]).contains("\"no name\""));
    }

    #[test]
    fn an_invalid_stage_is_named() {
        assert!(error(vec![stage("a", &["ghost"])]).contains("\"ghost\""));
        assert!(error(vec![stage("s", &[]), stage("a", &["s", "s"])]).contains("twice"));
        assert!(error(vec![]).contains("no stage"));
        assert!(error(vec![stage("", &[])]).contains("empty name"));
        let function = Deployable::from_source("f", "python:3".parse().unwrap(), "x");
        let rootless = Stage::derived("rootless", function, [""; 0], Nothing);
        assert!(error(vec![rootless]).contains("\"rootless\""));
    }
}
