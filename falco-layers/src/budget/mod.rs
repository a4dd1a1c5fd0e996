//! A limit on what a run may cost.

mod amount;
mod layer;
mod ledger;
mod report;
mod stage;
mod variation;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use falco_core::{
    ActivationId, AsyncPlatform, Error, ErrorKind, Event, Monitor, Prices, Result, UsDollars,
    Verdict,
};
use tokio::sync::Notify;

use self::amount::{dollars, pico};
use self::layer::Budgeted;
use self::ledger::{Held, Ledger, Settlement, paid};
pub use self::report::{BudgetReport, StageCost};
use crate::layer::Intercepted;

/// A limit on what a run may cost: repeated attempts, speculative copies and what is in flight included.
///
/// It is a layer and a monitor in one; `RunOptions::with_budget` of `falco-executors` puts it into both places. As a layer
/// its place is inside of congestion control. Each call first reserves its [upper bound](Prices::upper_bound): the
/// function's whole timeout. The answer replaces that by the actual cost, and a call of which nobody knows whether it ran
/// stays counted at its upper bound. A call that does not fit waits for others to end; when none is in flight, the run is
/// stopped, with an error that says what was done and what the rest would take. So no call that was sent is given up for
/// money, and the spend never passes the limit; where costs are estimates, by no more than
/// [`BudgetReport::uncertainty`].
///
/// A run with a journal is suspended instead of ended: resume it with a higher budget. What its earlier processes have
/// spent counts.
///
/// Clones share everything. A budget is for one run.
///
/// # Examples
///
/// ```
/// use falco_core::{Capabilities, Prices, UsDollars};
/// use falco_layers::Budget;
///
/// let budget = Budget::new(UsDollars(5.0))?;
/// assert!(Budget::new(UsDollars(0.0)).is_err());
/// assert_eq!(budget.report().limit, Some(UsDollars(5.0)));
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Budget(Arc<Shared>);

/// Takes a line for people.
type Show = Box<dyn Fn(&str) + Send + Sync>;

struct Shared {
    ledger: Mutex<Ledger>,
    changed: Notify,
    /// Those of the user.
    prices: Option<Prices>,
    /// The prices of each platform that it is a layer of.
    in_force: Mutex<Vec<InForce>>,
    /// Whether it is the monitor of a run that goes on.
    is_watching: AtomicBool,
    show: Option<Show>,
}

/// The prices of a platform.
#[derive(Debug)]
struct InForce {
    /// The name of the platform among those of a spread, with which the ids of its activations begin.
    part: Option<String>,
    prices: Prices,
}

impl Budget {
    /// Limits what a run may cost.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a limit that is not above zero.
    pub fn new(limit: UsDollars) -> Result<Self> {
        if !(limit.0 > 0.0 && limit.0.is_finite()) {
            let message = format!("invalid budget of {}: use a number above 0", limit.0);
            return Err(Error::invalid_input(message)
                .with_hint("it is in US dollars, such as 5.00; leave it out for no limit"));
        }
        Ok(Self::of(Ledger { limit: Some(pico(limit)), ..Ledger::default() }))
    }

    /// Sets no limit: it counts what a run costs, and [estimates](Self::with_sample) it.
    pub fn unlimited() -> Self {
        Self::of(Ledger::default())
    }

    fn of(ledger: Ledger) -> Self {
        Self(Arc::new(Shared {
            ledger: Mutex::new(ledger),
            changed: Notify::new(),
            prices: None,
            in_force: Mutex::default(),
            is_watching: AtomicBool::new(false),
            show: None,
        }))
    }

    /// Takes these prices instead of the platform's own: for a platform that does not say any, or a contract. Call it before
    /// the budget is cloned.
    ///
    /// # Errors
    ///
    /// As [`Prices::validate`]; `Conflict` for a budget that is in use.
    pub fn with_prices(self, prices: Prices) -> Result<Self> {
        prices.validate()?;
        self.change(|shared| shared.prices = Some(prices))
    }

    /// Sends `inputs` of each stage first, and the others when these are answered: [`BudgetReport::stages`] then has an
    /// estimate for all of them. `show` gets it as a line. Call it before the budget is cloned.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a sample of no inputs; `Conflict` for a budget that is in use.
    pub fn with_sample(
        self,
        inputs: u64,
        show: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<Self> {
        if inputs == 0 {
            return Err(Error::invalid_input(
                "invalid sample of 0 inputs: use 1 or more, such as 20",
            ));
        }
        self.ledger(|ledger| ledger.sample = inputs);
        self.change(|shared| shared.show = Some(Box::new(show)))
    }

    fn change(mut self, change: impl FnOnce(&mut Shared)) -> Result<Self> {
        match Arc::get_mut(&mut self.0) {
            Some(shared) => change(shared),
            None => return Err(Error::new(ErrorKind::Conflict, "the budget is in use already")),
        }
        Ok(self)
    }

    /// Puts the budget around `platform`. [`Stack::with_budget`](crate::Stack::with_budget) puts it into its place among
    /// other layers.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a platform of unknown prices, unless [they are given](Self::with_prices).
    pub fn wrap(&self, platform: Arc<dyn AsyncPlatform>) -> Result<Arc<dyn AsyncPlatform>> {
        self.wrap_part(platform, None)
    }

    /// Puts the budget around a platform, which may be a part of a spread.
    pub(crate) fn wrap_part(
        &self,
        platform: Arc<dyn AsyncPlatform>,
        part: Option<&str>,
    ) -> Result<Arc<dyn AsyncPlatform>> {
        let prices = self.prices(&*platform)?;
        let part = part.map(str::to_owned);
        self.in_force().push(InForce { part: part.clone(), prices: prices.clone() });
        let layer = Budgeted { inner: platform, budget: self.clone(), prices, part };
        Ok(Arc::new(Intercepted(layer)))
    }

    /// The prices that it counts with on `platform`.
    ///
    /// # Errors
    ///
    /// As [`wrap`](Self::wrap).
    pub fn prices(&self, platform: &dyn AsyncPlatform) -> Result<Prices> {
        let prices = self.0.prices.clone().or_else(|| platform.capabilities().prices);
        let prices = prices.ok_or_else(|| {
            let message = format!("the prices of platform {:?} are not known", platform.name());
            Error::invalid_input(message)
                .with_hint("give them to Budget::with_prices, or leave out the budget")
        })?;
        prices.validate().map(|()| prices)
    }

    /// Whether it is a layer of a platform already.
    pub fn is_layered(&self) -> bool {
        !self.in_force().is_empty()
    }

    fn in_force(&self) -> MutexGuard<'_, Vec<InForce>> {
        self.0.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The prices of the platform that has this activation; none before the budget is a layer.
    fn prices_of(&self, id: &ActivationId) -> Option<Prices> {
        let in_force = self.in_force();
        let has = |it: &&InForce| match &it.part {
            Some(part) => id.as_str().strip_prefix(part).is_some_and(|id| id.starts_with('/')),
            None => true,
        };
        in_force.iter().find(has).map(|it| it.prices.clone())
    }

    /// Expenses so far, and what the rest would take.
    pub fn report(&self) -> BudgetReport {
        self.ledger(|ledger| BudgetReport::of(ledger))
    }

    /// Changes the ledger, and wakes the calls that wait for that.
    fn ledger<T>(&self, change: impl FnOnce(&mut Ledger) -> T) -> T {
        let mut ledger = self.0.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let before = ledger.ends;
        let changed = change(&mut ledger);
        let has_ended = ledger.ends > before;
        drop(ledger);
        if has_ended {
            self.0.changed.notify_waiters();
        }
        changed
    }

    fn is_watching(&self) -> bool {
        self.0.is_watching.load(SeqCst)
    }

    /// The error of a budget that is used up.
    fn exhausted(&self) -> Error {
        let report = self.report();
        let next = dollars(self.ledger(|ledger| ledger.refused.unwrap_or_default()));
        let paid = report.spent.0 + report.in_doubt.0;
        let resume = "with a journal the run goes on where it stopped";
        let message =
            format!("the budget does not pay for another call, which may cost {next}: {report}");
        Error::new(ErrorKind::Cancelled, message).with_hint(match report.to_finish() {
            Some(more) => {
                let enough = as_shown(paid + more.0 + next.0);
                format!("about {more} more would finish the stages that have begun: set a budget of {enough}; {resume}")
            }
            None => {
                let least = as_shown(paid + next.0);
                format!("set a budget of {least} or more: that pays for one more call; {resume}")
            }
        })
    }

    fn show_estimate(&self, stage: &falco_core::StageName) {
        let Some(show) = &self.0.show else { return };
        let report = self.report();
        if let Some(cost) = report.stages.iter().find(|cost| cost.stage == *stage) {
            show(&format!("estimate: {cost}"));
        }
    }
}

/// An amount that a user can set as a budget: rounded up to the digits with which it is shown.
fn as_shown(amount: f64) -> UsDollars {
    let digit = if amount < 0.01 { 1e9 } else { 100.0 };
    UsDollars((amount * digit).ceil() / digit)
}

impl Monitor for Budget {
    fn event(&self, event: &Event<'_>) -> Verdict {
        match event {
            Event::RunStarted { .. } => self.0.is_watching.store(true, SeqCst),
            Event::RunFinished { .. } => self.0.is_watching.store(false, SeqCst),
            Event::StageSized { stage, invocations } => {
                self.ledger(|ledger| ledger.stage(stage).total = Some(*invocations));
            }
            Event::StageFinished { stage, error: None } => {
                self.ledger(|ledger| ledger.stage(stage).is_finished = true);
            }
            Event::Completed { completion } => {
                let is_sampled = self.ledger(|ledger| {
                    let sample = ledger.sample;
                    let stage = ledger.stage(&completion.stage);
                    stage.completed += u64::from(completion.outcome.activation().is_some());
                    let total = stage.total.unwrap_or(u64::MAX);
                    stage.measured() == sample.min(total.saturating_sub(stage.without_cost))
                });
                if is_sampled && completion.outcome.activation().is_some() {
                    self.show_estimate(&completion.stage);
                }
            }
            Event::StageStarted { stage, deployment } => {
                let size = deployment.scaling.clone();
                self.ledger(|ledger| ledger.stage(stage).size = size);
            }
            // An earlier process of the run has paid it. What another run has paid comes without a cost.
            Event::Recalled { completion } => {
                let activation = completion.outcome.activation();
                let prices = activation.and_then(|activation| self.prices_of(&activation.id));
                self.ledger(|ledger| {
                    let size = &ledger.stage(&completion.stage).size;
                    let settled = activation
                        .zip(prices)
                        .map(|(activation, prices)| paid(&prices, activation, size));
                    let paid = match (completion.cost, settled) {
                        (cost, Some(Settlement::Paid(last, doubt))) => {
                            Some((cost.map_or(last, pico), doubt))
                        }
                        (cost, _) => cost.map(|cost| (pico(cost), 0)),
                    };
                    let stage = ledger.stage(&completion.stage);
                    stage.completed += u64::from(activation.is_some());
                    let Some((cost, doubt)) = paid else {
                        stage.without_cost += u64::from(activation.is_some());
                        return;
                    };
                    stage.spent += cost;
                    stage.calls.note(dollars(cost).0);
                    ledger.spent += cost;
                    ledger.uncertainty += doubt;
                });
            }
            // An earlier process has sent it, and this one pays.
            Event::Admitted { invocation } => {
                let submitted = invocation.submitted();
                let prices = submitted.and_then(|pending| self.prices_of(&pending.id));
                if let Some((pending, prices)) = submitted.zip(prices) {
                    let stage = invocation.stage().clone();
                    self.ledger(|ledger| {
                        let size = ledger.stage(&stage).size.clone();
                        let held = Held::new(stage, &prices, &size, 1);
                        ledger.reserve_sent(&pending.id, held);
                    });
                }
            }
            _ => {}
        }
        let is_exhausted = self.ledger(|ledger| ledger.refused.is_some());
        if is_exhausted { Verdict::Stop } else { Verdict::Continue }
    }

    fn stop_reason(&self) -> Option<Error> {
        Some(self.exhausted())
    }

    fn suspends(&self) -> bool {
        true
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Budget({})", self.report())
    }
}
