//! The plan of a sweep: what a recipe asks for, checked before anything is trained.

use super::asha::Asha;
use super::faults::Faults;
use super::halving::Halving;
use super::rungs::rungs;
use super::space::Space;
use super::tpe::Tpe;
use super::{Goal, Limits, Search, Settings};
use crate::{Error, Kind, Result, files, given};
use serde::Deserialize;
use serde_json::{Map, Value};

/// How trials are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    Halving,
    Asha,
    Tpe,
}

/// A sweep. The options and their defaults are documented at `run` of stdlib/sweep.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub name: String,
    /// For every search but TPE.
    pub trials: Option<Vec<Settings>>,
    /// Further arguments of the recipe, as jobs take them.
    pub args: Value,
    pub recipe: String,
    pub epochs: i64,
    pub min_epochs: i64,
    pub eta: i64,
    pub objective: String,
    pub goal: Goal,
    pub max_epochs: i64,
    pub max_minutes: f64,
    pub key: Value,
    pub search: Method,
    /// For TPE.
    pub space: Option<Map<String, Value>>,
    pub count: usize,
    pub seed: Value,
    /// Steps at once.
    pub slots: usize,
}

impl Plan {
    /// Errors: `config.unknown_key` with the nearest name; `config.value` that names every fault.
    pub fn from_json(given: &Map<String, Value>) -> Result<Self> {
        let mut plan: Self = given::read(given, "sweep::run", "an option")?;
        if plan.args.is_object() {
            plan.args = Value::Array(vec![plan.args]);
        }
        plan.slots = plan.slots.max(1);
        plan.check()?;
        Ok(plan)
    }

    fn check(&self) -> Result<()> {
        let mut faults = Faults::default();
        let mut wrong = |message: String, hint: &str| faults.add(Error::new(Kind::ConfigValue, message).hint(hint));
        if self.name.is_empty() {
            wrong("a sweep needs a name".into(), "such as name: \"anna-sweep\"");
        } else if let Err(fault) = files::entry_name("a sweep", &self.name) {
            wrong(fault.message().to_owned(), fault.hint_text().unwrap_or("choose another name"));
        }
        if !self.args.is_array() {
            wrong("args must be a map or an array".into(), "such as args: [\"anna\", #{ validation: 0.1 }]");
        }
        for (name, value, least) in [
            ("epochs", self.epochs, 1),
            ("min_epochs", self.min_epochs, 0),
            ("eta", self.eta, 2),
            ("max_epochs", self.max_epochs, 0),
        ] {
            if value < least {
                wrong(
                    format!("{name} of sweep::run is {value}, but must be at least {least}"),
                    "leave it out for the default",
                );
            }
        }
        if !(self.max_minutes >= 0.0 && self.max_minutes.is_finite()) {
            wrong(
                format!("max_minutes of sweep::run is {}, but must be at least 0", self.max_minutes),
                "0.0: no limit",
            );
        }
        match (self.search, &self.trials, &self.space) {
            (Method::Tpe, Some(_), _) => {
                wrong("tpe proposes its own trials".into(), "give it space and count instead of trials");
            }
            (Method::Tpe, None, None) => {
                wrong("tpe needs a space".into(), "such as space: sweep::parse(\"c_mel=uniform(30,60)\")");
            }
            (Method::Halving | Method::Asha, None, _) => {
                wrong(
                    "a sweep needs trials".into(),
                    "sweep::random and sweep::grid make them: trials: sweep::random(space, 16, 1234)",
                );
            }
            _ => {}
        }
        faults.none()
    }

    /// Epochs of each rung.
    pub fn ladder(&self) -> Result<Vec<i64>> {
        match self.search {
            Method::Tpe => Ok(vec![self.epochs]),
            Method::Halving | Method::Asha => rungs(self.min_epochs, self.epochs, self.eta),
        }
    }

    /// The search that the plan asks for. Errors: `config.value` for the space.
    pub fn search(&self) -> Result<Box<dyn Search>> {
        let limits = Limits {
            epochs: Some(self.max_epochs).filter(|&epochs| epochs > 0),
            minutes: Some(self.max_minutes).filter(|&minutes| minutes > 0.0),
        };
        let (trials, ladder) = (self.trials.clone().unwrap_or_default(), self.ladder()?);
        let eta = usize::try_from(self.eta).unwrap_or(usize::MAX);
        Ok(match self.search {
            Method::Halving => Box::new(Halving::new(trials, ladder, eta, self.goal, limits, self.slots)),
            Method::Asha => Box::new(Asha::new(trials, ladder, eta, self.goal, limits, self.slots)),
            Method::Tpe => {
                let space = Space::from_json(self.space.as_ref().unwrap_or(&Map::new()))?;
                let seed = super::board::cell(&self.seed);
                Box::new(Tpe::new(space, self.count, seed, self.epochs, self.goal, limits, self.slots))
            }
        })
    }
}
