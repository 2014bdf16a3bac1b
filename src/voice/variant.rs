//! Recognises RVC's networks by the names and shapes of a generator's weights.

use super::WRAPPERS;
use crate::config::Config;
use crate::config::choices::{Preset, Version};
use crate::models::weights;
use crate::torchfile::{Plain, TorchFile};
use crate::{Error, Kind, Result, recognise, shown};
use std::collections::HashMap;

/// Weight name prefix, name and programs of each other vocoder.
const VOCODERS: [(&str, &str, &str); 4] = [
    ("dec.mel_conv.", "RefineGAN", "Applio"),
    ("dec.mrfs.", "MRF HiFi-GAN", "Applio"),
    ("dec.activation_post.", "BigVGAN", "Applio or codename-rvc-fork"),
    ("dec.reflection_pad.", "RingFormer", "codename-rvc-fork"),
];
/// Applio's names of RVC's vocoder.
pub(super) const HIFI_GAN: &str = "HiFi-GAN";

/// The settings of a generator with these weights: sample_rate, version, if_f0, preset, spk_embed_dim; the others have their
/// defaults. The weights may be an exported voice's, a checkpoint's, or bare.
///
/// Errors: `checkpoint.mismatch` if they are not RVC's generator; the message names their kind, if it is recognised.
///
/// Source: spec D.2 and E.6; Applio's configs/24000.json. The first two kernels identify the rate in version 2. In version 1
/// 32k and 48k share their kernels; there the spectrogram's bins identify it, or, without the posterior encoder, the stride of the
/// first noise convolution, or the voice's own entry.
pub fn variant(file: &TorchFile) -> Result<Config> {
    let Some(prefix) = file.state_dict_prefix(&WRAPPERS) else { return Err(no_generator(file, "it holds no weights")) };
    let shapes: HashMap<String, &[usize]> = file
        .keys(prefix)
        .into_iter()
        .filter_map(|(key, name)| Some((weights::canonical(&key), file.shape(&name)?)))
        .collect();
    let size = |key: &str, axis: usize| shapes.get(key).and_then(|shape| shape.get(axis)).copied();
    let (Some(hidden), Some(content), Some(speakers)) =
        (size("enc_p.emb_phone.weight", 0), size("enc_p.emb_phone.weight", 1), size("emb_g.weight", 0))
    else {
        return Err(no_generator(file, "enc_p.emb_phone or emb_g is missing"));
    };
    let Some(kernel) = size("dec.ups.0.weight_v", 2) else { return Err(other_vocoder(file, &shapes)) };
    let version = match content {
        768 => Version::V2,
        256 => Version::V1,
        _ => return Err(no_generator(file, &format!("its content frames have {content} values, not 768 or 256"))),
    };
    let preset = match hidden {
        192 => Preset::Full,
        32 => Preset::Tiny,
        _ => return Err(no_generator(file, &format!("it has {hidden} hidden channels, not 192"))),
    };
    let five_stages = shapes.contains_key("dec.ups.4.weight_v");
    let second = size("dec.ups.1.weight_v", 2).unwrap_or(0);
    let sample_rate = match (version, five_stages, kernel) {
        (_, false, 16) => 40000,
        (Version::V2, false, 24) => 48000,
        (Version::V2, false, 20) if second == 12 => 24000,
        (Version::V2, false, 20) => 32000,
        (Version::V1, true, 16) => {
            match (size("enc_q.pre.weight", 1), size("dec.noise_convs.0.weight", 2), rate(file)) {
                (Some(1025), ..) | (None, Some(96), _) | (None, None, Some(48000)) => 48000,
                (Some(513), ..) | (None, Some(64), _) | (None, None, Some(32000)) => 32000,
                _ => return Err(no_generator(file, "its rate may be 32k or 48k")),
            }
        }
        _ => return Err(no_generator(file, &format!("no {version} network begins with a kernel of {kernel}"))),
    };
    let spk_embed_dim = i64::try_from(speakers).unwrap_or(i64::MAX);
    let if_f0 = shapes.contains_key("enc_p.emb_pitch.weight");
    Ok(Config { sample_rate, version, if_f0, spk_embed_dim, preset, ..Config::default() })
}

/// The vocoder of a generator by its weights, else by the file's entry; None if neither shows it.
pub(super) fn vocoder(file: &TorchFile) -> Option<String> {
    let names = file.names();
    let has = |part: &str| names.iter().any(|name| name.contains(part));
    if has("dec.ups.0.weight_v") || has("dec.ups.0.parametrizations.") {
        return Some(HIFI_GAN.to_owned());
    }
    let by_weights = VOCODERS.iter().find(|(part, ..)| has(part)).map(|(_, name, _)| (*name).to_owned());
    let stated = file
        .text(&["vocoder"])
        .filter(|name| !name.eq_ignore_ascii_case(HIFI_GAN))
        .map(|name| shown::line(name).into_owned());
    by_weights.or(stated)
}

/// The error for a voice with another vocoder than RVC's.
fn other_vocoder(file: &TorchFile, shapes: &HashMap<String, &[usize]>) -> Error {
    if !shapes.keys().any(|key| key.starts_with("dec.")) {
        return no_generator(file, "its vocoder (dec) is missing");
    }
    let name = vocoder(file);
    let program = name.as_deref().and_then(|name| VOCODERS.iter().find(|(_, known, _)| *known == name));
    let program = program.map_or("the program that it comes from", |(_, _, program)| program);
    let name = name.map_or_else(|| "another vocoder than HiFi-GAN".to_owned(), |name| format!("the vocoder {name}"));
    Error::new(
        Kind::CheckpointMismatch,
        format!("{} is a voice with {name}, but rvc-run has only HiFi-GAN", file.path().display()),
    )
    .path(file.path())
    .hint(format!(
        "convert with it in {program}, or train it again with the vocoder HiFi-GAN, which every program can open"
    ))
}

fn no_generator(file: &TorchFile, why: &str) -> Error {
    let names = file.names();
    // If it looks like a generator, the reason is more useful.
    let known = !names.iter().any(|name| name.contains("enc_p.emb_phone."));
    match recognise::network(&file.entries(&[]).unwrap_or_default(), &names).filter(|_| known) {
        Some(found) => found.refused(Kind::CheckpointMismatch, file.path(), "a voice or a G_ checkpoint of RVC"),
        None => Error::new(
            Kind::CheckpointMismatch,
            format!("{} is not a voice or generator of RVC: {why}", file.path().display()),
        )
        .path(file.path())
        .hint("give a voice (.pth of RVC WebUI, Applio or rvc-run) or a G_ checkpoint"),
    }
}

/// The file's rate in Hz, in any spelling: 40000, 40000.0, "40000", "40k".
fn rate(file: &TorchFile) -> Option<i64> {
    let last = last_of_config(file);
    last.and_then(|last| hertz(file.value(&["config", &last])?)).or_else(|| hertz(file.value(&["sr"])?))
}

pub(super) fn last_of_config(file: &TorchFile) -> Option<String> {
    file.entries(&["config"])?.pop()
}

/// A rate in Hz, in any spelling.
pub(super) fn hertz(value: Plain) -> Option<i64> {
    match value {
        Plain::Int(n) => Some(n),
        Plain::Float(x) if x.fract() == 0.0 && x.abs() < 1e9 => Some(x as i64),
        Plain::Text(text) => {
            let text = text.trim().to_lowercase();
            let text = text.strip_suffix("hz").unwrap_or(&text).trim();
            let (number, factor) = text.strip_suffix('k').map_or((text, 1.0), |number| (number, 1000.0));
            let hz = number.trim().parse::<f64>().ok()? * factor;
            (hz.fract() == 0.0 && hz.abs() < 1e9).then_some(hz as i64)
        }
        _ => None,
    }
}
