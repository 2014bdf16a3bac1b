//! Whether two digests of content encoders mean the same encoder: content of one is meaningless to a voice of another.
//!
//! The digests are made by `features::content`; the rule is here because training and conversion hold voices to it as well.

use crate::{Error, Kind, Result};

/// Digits of a weights file's SHA-256 that tell it apart in a message.
const SHOWN: usize = 12;

/// Whether content of encoder `a` may be given to a voice that was trained on content of `b`; both are digests.
///
/// Weights, layer and normalisation of the wave must agree. The number format and the version of our own computation may
/// differ: they change the last digits, not what the content means.
pub fn same_encoder(a: &str, b: &str) -> bool {
    meaning(a) == meaning(b)
}

/// Errors: `checkpoint.mismatch` unless the encoder called `name`, of the digest `ours`, is the one of the digest `voices`, which
/// a voice was trained on.
pub fn must_be_same(name: &str, ours: &str, voices: &str) -> Result<()> {
    if same_encoder(ours, voices) {
        return Ok(());
    }
    let message = format!(
        "this voice was trained on the content of {}, but the settings ask for {name}: {}",
        described(voices),
        described(ours)
    );
    Err(Error::new(Kind::CheckpointMismatch, message)
        .hint("set content_encoder and version to what the voice was trained with, or train a new voice"))
}

/// The words of a digest that tell encoders apart: of "hubert-1 <weights> v2 normalised fp32" those between the version of the
/// computation and the number format; of an encoder without weights ("mel-1") the whole.
fn meaning(digest: &str) -> Vec<&str> {
    let words: Vec<&str> = digest.split_whitespace().collect();
    match words.as_slice() {
        [first, middle @ .., _] if first.starts_with("hubert-") && middle.len() >= 2 => middle.to_vec(),
        _ => words,
    }
}

/// "weights f54b40fd2802, v2", or the digest itself.
fn described(digest: &str) -> String {
    match meaning(digest).as_slice() {
        [] => "an unknown encoder".into(),
        [whole] => (*whole).to_owned(),
        [weights, rest @ ..] => {
            format!("weights {}, {}", weights.get(..SHOWN).unwrap_or(weights), rest.join(" "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEIGHTS: &str = "f54b40fd2802423a5643779c4861af1e9ee9c1564dc9d32f54f20b5ffba7db96";

    fn digest(version: u32, weights: &str, rest: &str) -> String {
        format!("hubert-{version} {weights} {rest}")
    }

    #[test]
    fn number_format_and_computation_do_not_make_another_encoder() {
        let one = digest(1, WEIGHTS, "v2 fp32");
        for other in [digest(1, WEIGHTS, "v2 fp32"), digest(1, WEIGHTS, "v2 bf16"), digest(2, WEIGHTS, "v2 fp16")] {
            assert!(same_encoder(&one, &other) && same_encoder(&other, &one), "{other}");
        }
        assert!(same_encoder("mel-1", "mel-1"));
    }

    #[test]
    fn weights_layer_and_normalisation_do() {
        let one = digest(1, WEIGHTS, "v2 fp32");
        let other_weights = WEIGHTS.replace('f', "e");
        for other in [
            digest(1, &other_weights, "v2 fp32"),
            digest(1, WEIGHTS, "v1 fp32"),
            digest(1, WEIGHTS, "v2 normalised fp32"),
            "mel-1".into(),
            String::new(),
            "hubert-1".into(),
        ] {
            assert!(!same_encoder(&one, &other) && !same_encoder(&other, &one), "{other}");
        }
        assert!(!same_encoder("mel-1", "mel-2"));
    }

    #[test]
    fn the_refusal_names_both_encoders() {
        let ours = digest(1, WEIGHTS, "v2 fp32");
        assert!(must_be_same("contentvec", &ours, &digest(1, WEIGHTS, "v2 bf16")).is_ok());
        let error = must_be_same("contentvec", &ours, "mel-1").unwrap_err();
        assert_eq!(error.kind(), Kind::CheckpointMismatch);
        assert_eq!(
            error.message(),
            "this voice was trained on the content of mel-1, but the settings ask for contentvec: weights f54b40fd2802, v2"
        );
        assert!(error.hint_text().is_some());
        let error = must_be_same("mel", "mel-1", "").unwrap_err();
        assert!(error.message().contains("an unknown encoder"), "{error}");
    }
}
