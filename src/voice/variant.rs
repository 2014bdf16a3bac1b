//! Which of RVC's networks a generator's weights are, from their names and shapes alone.

use super::WRAPPERS;
use crate::config::Config;
use crate::models::weights;
use crate::torchfile::TorchFile;
use crate::{Error, Kind, Result};
use std::collections::HashMap;

/// The settings that give a generator of these weights: sample_rate, version, if_f0, preset, spk_embed_dim; all else is the
/// default. The weights may be an exported voice's, a checkpoint's, or bare.
///
/// Errors: `checkpoint.mismatch` if they are of no generator of RVC.
///
/// Source: spec D.2 and E.6. The first kernel tells the rates of version 2 apart; in version 1, where 32k and 48k share their
/// kernels, the spectrogram's bins do, or, without the posterior encoder, the stride of the first noise convolution, or what the
/// voice itself says.
pub fn variant(file: &TorchFile) -> Result<Config> {
    let Some(prefix) = file.state_dict_prefix(&WRAPPERS) else { return Err(no_generator(file, "it holds no weights")) };
    let shapes: HashMap<String, &[usize]> = file
        .keys(prefix)
        .into_iter()
        .filter_map(|(key, name)| Some((weights::canonical(&key), file.shape(&name)?)))
        .collect();
    let size = |key: &str, axis: usize| shapes.get(key).and_then(|shape| shape.get(axis)).copied();
    let (Some(hidden), Some(content), Some(speakers), Some(kernel)) = (
        size("enc_p.emb_phone.weight", 0),
        size("enc_p.emb_phone.weight", 1),
        size("emb_g.weight", 0),
        size("dec.ups.0.weight_v", 2),
    ) else {
        return Err(no_generator(file, "enc_p.emb_phone, emb_g or dec.ups are not there"));
    };
    let version = match content {
        768 => "v2",
        256 => "v1",
        _ => return Err(no_generator(file, &format!("its content frames have {content} values, not 768 or 256"))),
    };
    let preset = match hidden {
        192 => "full",
        32 => "tiny",
        _ => return Err(no_generator(file, &format!("it has {hidden} hidden channels, not 192"))),
    };
    let five_stages = shapes.contains_key("dec.ups.4.weight_v");
    let sample_rate = match (version, five_stages, kernel) {
        (_, false, 16) => 40000,
        ("v2", false, 24) => 48000,
        ("v2", false, 20) => 32000,
        ("v1", true, 16) => {
            match (size("enc_q.pre.weight", 1), size("dec.noise_convs.0.weight", 2), file.int(&["config", "17"])) {
                (Some(1025), ..) | (None, Some(96), _) | (None, None, Some(48000)) => 48000,
                (Some(513), ..) | (None, Some(64), _) | (None, None, Some(32000)) => 32000,
                _ => return Err(no_generator(file, "32k and 48k cannot be told apart")),
            }
        }
        _ => return Err(no_generator(file, &format!("no {version} network begins with a kernel of {kernel}"))),
    };
    let spk_embed_dim = i64::try_from(speakers).unwrap_or(i64::MAX);
    let if_f0 = shapes.contains_key("enc_p.emb_pitch.weight");
    Ok(Config {
        sample_rate,
        version: version.into(),
        preset: preset.into(),
        if_f0,
        spk_embed_dim,
        ..Config::default()
    })
}

fn no_generator(file: &TorchFile, why: &str) -> Error {
    Error::new(Kind::CheckpointMismatch, format!("{} is no voice or generator of RVC: {why}", file.path().display()))
        .path(file.path())
        .hint("give a voice (.pth of RVC WebUI, Applio or rvc-run) or a G_ checkpoint")
}
