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

use crate::config::{Config, is_path};

/// The names of the files that training with these settings needs, without built-in methods and files that the settings
/// give by path.
pub fn needed(config: &Config) -> Vec<String> {
    let mut names = Vec::new();
    match config.content_encoder.as_str() {
        "mel" => {}
        given if is_path(given) => {}
        "hubert_base" => names.push("hubert_base.pt".to_owned()),
        name => names.push(name.to_owned()),
    }
    let f0_file = match config.f0_method.as_str() {
        "rmvpe" => Some("rmvpe.pt"),
        "fcpe" => Some("fcpe.pt"),
        "crepe" => Some("crepe_full.pth"),
        "crepe-tiny" => Some("crepe_tiny.pth"),
        _ => None,
    };
    names.extend(f0_file.filter(|_| config.if_f0).map(str::to_owned));
    // No base fits the tiny preset, where "default" means "none".
    for (given, network) in [(&config.pretrained_g, "G"), (&config.pretrained_d, "D")] {
        if given == "default" && config.preset != "tiny" {
            names.push(config.pretrained_name(network));
        }
    }
    names
}

/// The field's usual settings, train_voice's defaults (stdlib/presets.rhai).
pub fn usual() -> Config {
    Config {
        content_encoder: "hubert_base".into(),
        f0_method: "rmvpe".into(),
        pretrained_g: "default".into(),
        pretrained_d: "default".into(),
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_settings_need_encoder_pitch_and_both_bases() {
        let expected = ["hubert_base.pt", "rmvpe.pt", "pretrained_v2/f0G40k.pth", "pretrained_v2/f0D40k.pth"];
        assert_eq!(needed(&usual()), expected);
    }

    #[test]
    fn a_voice_without_pitch_needs_no_pitch_network() {
        let config = Config { if_f0: false, version: "v1".into(), sample_rate: 48000, ..usual() };
        assert_eq!(needed(&config), ["hubert_base.pt", "pretrained/G48k.pth", "pretrained/D48k.pth"]);
    }

    #[test]
    fn built_in_methods_and_given_paths_need_nothing() {
        assert!(needed(&Config::default()).is_empty());
        let config = Config {
            content_encoder: "./mine.pt".into(),
            f0_method: "harvest".into(),
            pretrained_g: "g.pth".into(),
            pretrained_d: "none".into(),
            ..usual()
        };
        assert!(needed(&config).is_empty());
        let tiny = Config { preset: "tiny".into(), ..usual() };
        assert_eq!(needed(&tiny), ["hubert_base.pt", "rmvpe.pt"]);
    }
}
