//! Whether trials can be trained: names, ranges and choices of their settings, as [`crate::config`] declares them.

use super::Settings;
use super::faults::Faults;
use crate::config::{self, Config};
use crate::{Error, Kind, Result};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Checks trials over `base`, the settings that all of them share; `one_voice`: whether they also share clips and features, so that settings
/// that decide these cannot differ.
///
/// Errors: `config.unknown_key` with the nearest name, `config.value`; every fault is named.
pub fn trials(trials: &[Settings], base: &Map<String, Value>, one_voice: bool) -> Result<()> {
    let mut faults = Faults::default();
    let names: BTreeSet<&String> = trials.iter().flat_map(Map::keys).collect();
    for name in names {
        let values = trials.iter().filter_map(|trial| trial.get(name));
        if let Err(fault) = setting(name, values, one_voice) {
            faults.add(fault);
        }
    }
    if faults.is_empty() {
        // What must agree is known only where every value is allowed.
        for trial in trials {
            let mut settings = base.clone();
            settings.extend(trial.clone());
            if let Err(fault) = Config::from_json(&settings) {
                faults.add(fault);
            }
        }
    }
    faults.none()
}

/// The first fault of a setting's values in some trials.
fn setting<'a>(name: &str, mut values: impl Iterator<Item = &'a Value>, one_voice: bool) -> Result<()> {
    let Some(declared) = config::setting(name) else {
        let error = Config::known(&Map::from_iter([(name.to_owned(), Value::Null)])).err();
        let error =
            error.unwrap_or_else(|| Error::new(Kind::ConfigUnknownKey, format!("there is no setting {name:?}")));
        return Err(match config::setting_called(name) {
            Some((meant, _)) => {
                Error::new(error.kind(), error.message()).hint(format!("did you mean {:?}?", meant.name))
            }
            None => error,
        });
    };
    if one_voice && !declared.searchable() {
        return Err(Error::new(Kind::ConfigValue, format!("{name} cannot be searched: all trials share it"))
            .hint("start a sweep for each value, with --settings and --name"));
    }
    values.try_for_each(|value| declared.fitting(value).and_then(|value| declared.check(&value)))
}
