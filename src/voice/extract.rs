//! Extracts a voice from any generator's checkpoint: RVC's "extract small model" (spec G.3).

use super::beside::Beside;
use super::variant::variant;
use super::{About, embedder_model, speaker_info, write};
use crate::models::{Synthesizer, SynthesizerConfig, weights};
use crate::torchfile::Value;
use crate::{Error, Kind, Result, torchfile};
use std::path::Path;

/// Writes the voice of a G_ checkpoint of RVC, Applio or rvc-run to `out`. Rate, version and pitch come from the weights;
/// `info` is the text in the voice, "<iteration>epoch" by default.
///
/// A checkpoint does not record the methods of its training; they come from the config.json and model_info.json beside it.
///
/// Errors: `checkpoint.mismatch` for any other file, including an exported voice; `checkpoint.damaged`, `not_finite`,
/// `file.*`.
pub fn extract(checkpoint: &Path, out: &Path, info: Option<&str>) -> Result<()> {
    let file = torchfile::read(checkpoint)?;
    let config = variant(&file)?;
    if file.state_dict_prefix(&["weight"]).is_some() {
        return Err(Error::new(
            Kind::CheckpointMismatch,
            format!("{} is already an exported voice", checkpoint.display()),
        )
        .path(checkpoint)
        .hint("give the G_ checkpoint of its training"));
    }
    let sizes = SynthesizerConfig::from_config(&config);
    let generator = Synthesizer::new(&sizes, tch::Device::Cpu, 0)?;
    let prefix = file.state_dict_prefix(&["model", ""]).unwrap_or_default();
    weights::fill(&file, prefix, generator.params())?;
    let info = match (info, file.int(&["iteration"])) {
        (Some(info), _) => info.to_owned(),
        (None, Some(epoch)) => format!("{epoch}epoch"),
        (None, None) => "extracted".into(),
    };
    let mut card = super::card();
    card.insert("extracted_from".into(), super::source(checkpoint)?);
    let beside = checkpoint.parent().map(Beside::of_folder).unwrap_or_default();
    let mut more = Vec::new();
    if let Some(encoder) = beside.content_encoder {
        more.push(("embedder_model".to_owned(), Value::text(embedder_model(&encoder.into()))));
        more.push(("content_encoder".to_owned(), Value::text(encoder.as_str())));
    }
    if let Some(unvoiced) = beside.f0_unvoiced {
        more.push(("f0_unvoiced".to_owned(), Value::text(unvoiced.as_str())));
    }
    more.extend(speaker_info(&beside.speaker_info));
    let named = generator.params().iter().map(|(key, tensor)| (key, tensor.shallow_clone()));
    write(out, named, About { sizes: &sizes, info, more, card })
}
