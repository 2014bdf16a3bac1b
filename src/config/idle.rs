//! Settings that take effect only with another one: one table, by the names that recipes use for them.
//!
//! Checked when a recipe starts: a flag that was typed and has no effect is reported, and refused where a user would wait for its effect.

use super::choices::{EncoderName, Normalization, Preset, Slicing};
use crate::{Error, Kind};
use serde_json::Value;
use std::collections::BTreeMap;

/// When a value of another parameter makes a setting effective.
enum When {
    /// It is above 0, on, or not empty.
    On,
    Off,
    /// It is one of these values.
    Is(&'static [&'static str]),
    /// It is not one of these values.
    IsNot(&'static [&'static str]),
}

struct Rule {
    settings: &'static [&'static str],
    /// The value that the rule is about, or its beginning if this ends with an underscore; None for any value except off.
    value: Option<&'static str>,
    /// The settings are effective if any of these parameters meets its condition.
    with: &'static [(&'static str, When)],
    why: &'static str,
    hint: &'static str,
    /// Whether a start is refused: a training would otherwise run for days without the requested effect.
    refused: bool,
}

const RULES: &[Rule] = &[
    Rule {
        settings: &["patience", "mel_only"],
        value: None,
        with: &[("validation", When::On)],
        why: "nothing is held out to judge by",
        hint: "--validation 0.1 holds a tenth of the sound out",
        refused: true,
    },
    // A sweep may also go by a loss of the training itself.
    Rule {
        settings: &["objective"],
        value: Some("validation_"),
        with: &[("validation", When::On)],
        why: "nothing is held out to judge by",
        hint: "--validation 0.1 holds a tenth of the sound out",
        refused: true,
    },
    Rule {
        settings: &["f0_method", "f0_unvoiced", "f0_threshold"],
        value: None,
        with: &[("no_f0", When::Off)],
        why: "with --no-f0 no pitch is tracked",
        hint: "leave out one of the two",
        refused: false,
    },
    Rule {
        settings: &["target_program"],
        value: None,
        with: &[("no_f0", When::Off)],
        why: "programs differ in unvoiced pitch, and with --no-f0 there is no pitch",
        hint: "leave out one of the two",
        refused: false,
    },
    Rule {
        settings: &["target_program"],
        value: None,
        with: &[("content_encoder", When::IsNot(&[EncoderName::Mel.as_str()]))],
        why: "no other program has the content encoder mel",
        hint: "leave it out, or use --content-encoder hubert_base",
        refused: false,
    },
    Rule {
        settings: &["target_lufs"],
        value: None,
        with: &[("normalization", When::Is(&[Normalization::Lufs.as_str()]))],
        why: "no clip is brought to a loudness",
        hint: "use --normalization lufs",
        refused: false,
    },
    Rule {
        settings: &["target_peak_dbfs"],
        value: None,
        with: &[("normalization", When::Is(&[Normalization::Peak.as_str(), Normalization::Lufs.as_str()]))],
        why: "no clip is brought to a peak",
        hint: "use --normalization peak; lufs keeps peaks below it",
        refused: false,
    },
    Rule {
        settings: &["slice_seconds", "min_slice_seconds", "overlap_seconds"],
        value: None,
        with: &[("slicing", When::IsNot(&[Slicing::None.as_str()]))],
        why: "with --slicing none nothing is cut",
        hint: "use --slicing fixed to cut to length, automatic to cut at silences",
        refused: false,
    },
    Rule {
        settings: &["pretrained_g", "pretrained_d"],
        value: Some("default"),
        with: &[("preset", When::IsNot(&[Preset::Tiny.as_str()]))],
        why: "no base fits the tiny networks",
        hint: "leave it out, or leave out --preset tiny",
        refused: false,
    },
    Rule {
        settings: &["min_epochs", "eta"],
        value: None,
        with: &[("search", When::Is(&["halving", "asha"]))],
        why: "this search stops no trial early",
        hint: "use --search halving",
        refused: false,
    },
    Rule {
        settings: &["slurm"],
        value: None,
        with: &[("backend", When::Is(&["slurm"]))],
        why: "nothing runs on a cluster",
        hint: "--backend slurm sends the runs there",
        refused: true,
    },
    Rule {
        settings: &["duration", "timeout"],
        value: None,
        with: &[("urls", When::On), ("url_file", When::On)],
        why: "no link is fetched",
        hint: "give links with --urls or --url-file",
        refused: false,
    },
    Rule {
        settings: &["index_rate"],
        value: None,
        with: &[("index", When::IsNot(&["none"]))],
        why: "no index is used",
        hint: "leave out --index none",
        refused: false,
    },
];

impl When {
    fn holds(&self, value: &Value) -> bool {
        let among = |known: &[&str]| value.as_str().is_some_and(|text| known.contains(&text));
        match self {
            When::On => is_on(value),
            When::Off => !is_on(value),
            When::Is(known) => among(known),
            When::IsNot(known) => !among(known),
        }
    }
}

/// Whether a value requests anything: 0, false and "" do not.
fn is_on(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(on) => *on,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// Whether a value equals, or begins with, the rule's value.
fn is_about(given: &Value, value: &str) -> bool {
    given.as_str().is_some_and(|text| text == value || (value.ends_with('_') && text.starts_with(value)))
}

/// Settings that were typed and have no effect. Nothing is reported for a recipe that lacks the parameter on which a setting depends.
#[derive(Debug, Default)]
pub struct Idle {
    /// One error for all settings that are refused.
    pub refusal: Option<Error>,
    pub warnings: Vec<String>,
}

/// Checks what was `typed`; `default` is the default of every parameter of the recipe. A default that was typed is never refused:
/// without the flag the value would be the same.
pub fn of(typed: &BTreeMap<String, Value>, default: &dyn Fn(&str) -> Option<Value>) -> Idle {
    let value = |name: &str| typed.get(name).cloned().or_else(|| default(name));
    let mut idle = Idle::default();
    for rule in RULES {
        let known: Vec<(Value, &When)> =
            rule.with.iter().filter_map(|(name, when)| Some((value(name)?, when))).collect();
        if known.is_empty() || known.iter().any(|(value, when)| when.holds(value)) {
            continue;
        }
        for name in rule.settings {
            let concerned = |given: &&Value| rule.value.map_or_else(|| is_on(given), |value| is_about(given, value));
            let Some(given) = typed.get(*name).filter(concerned) else { continue };
            if rule.refused && default(name).as_ref() == Some(given) {
                continue;
            }
            let shown = match given {
                Value::Bool(_) => String::new(),
                Value::String(text) => format!(" {text}"),
                other => format!(" {other}"),
            };
            let message = format!("--{}{shown} has no effect: {}", name.replace('_', "-"), rule.why);
            if !rule.refused {
                idle.warnings.push(format!("{message}; {}", rule.hint));
                continue;
            }
            let error = Error::new(Kind::Usage, message).hint(rule.hint);
            idle.refusal = Some(match idle.refusal.take() {
                Some(first) => first.joined(error),
                None => error,
            });
        }
    }
    idle
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The messages for flags typed for a recipe whose other parameters have these values.
    fn messages(typed: &Value, others: &Value) -> (Option<String>, Vec<String>) {
        let typed: BTreeMap<String, Value> = serde_json::from_value(typed.clone()).unwrap();
        let found = of(&typed, &|name| others.get(name).cloned());
        (found.refusal.map(|error| error.to_string()), found.warnings)
    }

    #[test]
    fn every_rule_reports_a_setting_without_effect_and_no_other() {
        for (typed, idle, counts) in [
            (json!({ "patience": 5 }), json!({ "validation": 0.0 }), json!({ "validation": 0.1 })),
            (
                json!({ "objective": "validation_voicing_error" }),
                json!({ "validation": 0.0 }),
                json!({ "validation": 0.1 }),
            ),
            (json!({ "mel_only": true }), json!({ "validation": 0.0 }), json!({ "validation": 0.1 })),
            (json!({ "f0_method": "rmvpe" }), json!({ "no_f0": true }), json!({ "no_f0": false })),
            (json!({ "f0_unvoiced": "interpolate" }), json!({ "no_f0": true }), json!({ "no_f0": false })),
            (json!({ "target_program": "applio" }), json!({ "no_f0": true }), json!({ "no_f0": false })),
            (
                json!({ "target_program": "webui-2026" }),
                json!({ "content_encoder": "mel" }),
                json!({ "content_encoder": "hubert_base" }),
            ),
            (json!({ "target_lufs": -20.0 }), json!({ "normalization": "rvc" }), json!({ "normalization": "lufs" })),
            (
                json!({ "target_peak_dbfs": -3.0 }),
                json!({ "normalization": "none" }),
                json!({ "normalization": "lufs" }),
            ),
            (json!({ "overlap_seconds": 0.5 }), json!({ "slicing": "none" }), json!({ "slicing": "fixed" })),
            (json!({ "min_slice_seconds": 1.0 }), json!({ "slicing": "none" }), json!({ "slicing": "automatic" })),
            (json!({ "pretrained_g": "default" }), json!({ "preset": "tiny" }), json!({ "preset": "full" })),
            (json!({ "eta": 4 }), json!({ "search": "tpe" }), json!({ "search": "asha" })),
            (json!({ "slurm": "{\"gpus\": 1}" }), json!({ "backend": "local" }), json!({ "backend": "slurm" })),
            (
                json!({ "duration": 60.0 }),
                json!({ "urls": [], "url_file": "" }),
                json!({ "urls": [], "url_file": "l.txt" }),
            ),
            (json!({ "index_rate": 0.5 }), json!({ "index": "none" }), json!({ "index": "" })),
        ] {
            let (refusal, warnings) = messages(&typed, &idle);
            assert_eq!(usize::from(refusal.is_some()) + warnings.len(), 1, "{typed} with {idle}");
            let text = refusal.unwrap_or_else(|| warnings.concat());
            assert!(text.starts_with("--") && text.contains("has no effect: "), "{text}");
            assert_eq!(messages(&typed, &counts), (None, Vec::new()), "{typed} with {counts}");
            assert_eq!(messages(&typed, &json!({})), (None, Vec::new()), "a recipe without the other parameter");
            assert_eq!(messages(&json!({}), &idle), (None, Vec::new()), "nothing was typed");
        }
    }

    #[test]
    fn a_setting_that_is_off_requests_nothing() {
        for typed in [json!({ "patience": 0 }), json!({ "mel_only": false }), json!({ "objective": "loss_mel" })] {
            assert_eq!(messages(&typed, &json!({ "validation": 0.0 })), (None, Vec::new()), "{typed}");
        }
        // Users may have their own base for tiny networks.
        assert_eq!(messages(&json!({ "pretrained_g": "mine.pth" }), &json!({ "preset": "tiny" })), (None, Vec::new()));
    }

    #[test]
    fn a_default_that_was_typed_is_not_refused() {
        let others = json!({ "backend": "local", "slurm": "{}" });
        assert_eq!(messages(&json!({ "slurm": "{}" }), &others), (None, Vec::new()));
        assert!(messages(&json!({ "slurm": "{\"gpus\": 1}" }), &others).0.is_some());
    }

    #[test]
    fn one_error_names_every_refused_setting() {
        let (refusal, _) = messages(&json!({ "patience": 5, "mel_only": true }), &json!({ "validation": 0.0 }));
        let text = refusal.unwrap();
        assert!(text.contains("--patience 5 has no effect") && text.contains("--mel-only has no effect"), "{text}");
    }
}
