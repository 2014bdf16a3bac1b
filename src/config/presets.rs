//! Settings that belong together, by name: the only place that defines presets.

use super::choices::{EncoderName, F0Method, Preset};
use crate::error::nearest;
use crate::{Error, Kind, Result};
use serde_json::{Map, Value, json};

/// RVC's settings, with the pretrained networks that the field trains on: RMVPE for pitch, HuBERT for content, RVC's base to start from.
pub const RVC: &str = "rvc";

/// Values that need no download: signal processing for pitch, the demo encoder for content, random initial weights.
const OFFLINE: &str = "offline";

/// Few channels: trains in minutes on a CPU, with the quality of a demo.
const TINY: &str = Preset::Tiny.as_str();

/// RVC's networks.
const FULL: &str = Preset::Full.as_str();

/// The settings of the preset `name`; the others keep their defaults.
///
/// Errors: `config.value` with the nearest name.
pub fn named(name: &str) -> Result<Map<String, Value>> {
    let settings = match name {
        RVC => json!({
            "f0_method": F0Method::Rmvpe, "content_encoder": EncoderName::HubertBase,
            "pretrained_g": "default", "pretrained_d": "default"
        }),
        OFFLINE => {
            json!({
                "f0_method": F0Method::Pm, "content_encoder": EncoderName::Mel,
                "pretrained_g": "none", "pretrained_d": "none"
            })
        }
        // Few channels learn in few steps only with a larger learning rate, ten times RVC's.
        TINY => json!({ "preset": TINY, "learning_rate": 0.001 }),
        FULL => json!({}),
        other => {
            let known = [RVC, OFFLINE, TINY, FULL];
            let error = Error::new(Kind::ConfigValue, format!("there is no preset {other:?}"));
            return Err(match nearest(other, known) {
                Some(near) => error.hint(format!("did you mean {near:?}?")),
                None => error.hint(format!("presets are: {}", known.join(", "))),
            });
        }
    };
    Ok(settings.as_object().cloned().unwrap_or_default())
}
