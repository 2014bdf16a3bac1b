//! Pretrained files: which ones the settings need, where rvc-run looks for them, how it fetches and verifies them.
//!
//! [`Catalog`] lists them, [`Store`] finds them on this machine, [`fetch`](fetch::fetch) downloads missing ones, [`verify`](verify::verify)
//! compares them with their digests.

pub mod catalog;
pub mod fetch;
mod http;
mod part;
pub mod store;
pub mod verify;

pub use catalog::Catalog;
pub use store::Store;

use crate::config::Config;
use crate::config::choices::{ContentEncoder, EncoderName, F0Method, Preset};

/// The names of the files that training with these settings needs, without built-in methods and files that the settings
/// give by path (see [`given`]).
pub fn needed(config: &Config) -> Vec<String> {
    let mut names = Vec::new();
    match config.content_encoder {
        ContentEncoder::Named(EncoderName::Mel) | ContentEncoder::Path(_) => {}
        ContentEncoder::Named(name) => names.push(encoder_file(name).to_owned()),
    }
    names.extend(f0_file(config.f0_method).filter(|_| config.if_f0).map(str::to_owned));
    // No base fits the tiny preset, where "default" means "none".
    for (given, network) in [(&config.pretrained_g, "G"), (&config.pretrained_d, "D")] {
        if given == "default" && config.preset != Preset::Tiny {
            names.push(config.pretrained_name(network));
        }
    }
    names
}

/// The file of a pitch network; None for the methods of signal processing.
pub fn f0_file(method: F0Method) -> Option<&'static str> {
    match method {
        F0Method::Rmvpe => Some("rmvpe.pt"),
        F0Method::Fcpe => Some("fcpe.pt"),
        F0Method::Crepe => Some("crepe_full.pth"),
        F0Method::CrepeTiny => Some("crepe_tiny.pth"),
        F0Method::Pm | F0Method::Yin | F0Method::Harvest | F0Method::Dio => None,
    }
}

/// The file or folder of an encoder that is a network. RVC's is fairseq's file, which it used until 2025, or the folder of RVC 2026: the same
/// weights in two containers, see [`Store::locate_or_twin`].
pub fn encoder_file(name: EncoderName) -> &'static str {
    if name == EncoderName::HubertBase { "hubert_base.pt" } else { name.as_str() }
}

/// The files that the settings give by path: the setting, and the path.
pub fn given(config: &Config) -> Vec<(&'static str, &str)> {
    let mut paths = Vec::new();
    if let ContentEncoder::Path(path) = &config.content_encoder {
        paths.push(("content_encoder", path.as_str()));
    }
    for (setting, given) in [("pretrained_g", &config.pretrained_g), ("pretrained_d", &config.pretrained_d)] {
        if !["default", "none"].contains(&given.as_str()) {
            paths.push((setting, given));
        }
    }
    paths
}

/// The field's usual settings, train_voice's defaults (stdlib/presets.rhai).
pub fn usual() -> Config {
    Config {
        content_encoder: EncoderName::HubertBase.into(),
        f0_method: F0Method::Rmvpe,
        pretrained_g: "default".into(),
        pretrained_d: "default".into(),
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::choices::Version;

    #[test]
    fn the_usual_settings_need_encoder_pitch_and_both_bases() {
        let expected = ["hubert_base.pt", "rmvpe.pt", "pretrained_v2/f0G40k.pth", "pretrained_v2/f0D40k.pth"];
        assert_eq!(needed(&usual()), expected);
    }

    #[test]
    fn a_voice_without_pitch_needs_no_pitch_network() {
        let config = Config { if_f0: false, version: Version::V1, sample_rate: 48000, ..usual() };
        assert_eq!(needed(&config), ["hubert_base.pt", "pretrained/G48k.pth", "pretrained/D48k.pth"]);
    }

    #[test]
    fn built_in_methods_and_given_paths_need_nothing() {
        assert!(needed(&Config::default()).is_empty());
        let config = Config {
            content_encoder: ContentEncoder::Path("./mine.pt".into()),
            f0_method: F0Method::Harvest,
            pretrained_g: "g.pth".into(),
            pretrained_d: "none".into(),
            ..usual()
        };
        assert!(needed(&config).is_empty());
        assert_eq!(given(&config), [("content_encoder", "./mine.pt"), ("pretrained_g", "g.pth")]);
        let tiny = Config { preset: Preset::Tiny, ..usual() };
        assert_eq!(needed(&tiny), ["hubert_base.pt", "rmvpe.pt"]);
    }
}
