//! Compares digests of content encoders: a voice cannot use content features of another encoder.
//!
//! `features::content` makes the digests; the rule is here because training and conversion use it as well.

use crate::{Error, Kind, Result};

/// Digits of a weights file's SHA-256 in messages.
const SHOWN: usize = 12;

/// Whether a voice trained on content features of `b` can use those of encoder `a`; both are digests.
///
/// Weights, layer and normalisation of the wave must agree. The number format, the version of our own computation and rounding of
/// the weights to half precision may differ: they change only the last digits.
pub fn same_encoder(a: &str, b: &str) -> bool {
    let (one, two) = (meaning(a), meaning(b));
    match (one.as_slice(), two.as_slice()) {
        ([a, one @ ..], [b, two @ ..]) => {
            one == two && a.split('/').any(|known| b.split('/').any(|other| other == known))
        }
        _ => one == two,
    }
}

/// Whether the weights of two equal encoders differ by rounding to half precision: RVC's file of HuBERT has half the precision
/// of Applio's folder.
pub fn differ_by_rounding(a: &str, b: &str) -> bool {
    same_encoder(a, b) && exact_words(a) != exact_words(b)
}

/// The part of a digest that decides values to their last digit: without the digest of the rounded weights.
pub fn exact(digest: &str) -> String {
    digest.split(' ').map(|word| word.split('/').next().unwrap_or_default()).collect::<Vec<_>>().join(" ")
}

fn exact_words(digest: &str) -> Vec<String> {
    meaning(digest).into_iter().map(exact).collect()
}

/// Errors: `checkpoint.mismatch` unless the encoder `name` with the digest `ours` is the encoder of a voice's training, with
/// the digest `voices`.
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
        .hint("set content_encoder and version to those of the voice's training, or train a new voice"))
}

/// The words of a digest that identify the encoder: in "hubert-1 <weights> v2 normalised fp32" those between the version of the
/// computation and the number format; all words for an encoder without weights ("mel-1").
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
    fn weights_that_differ_by_rounding_are_the_same_encoder() {
        let (file, folder) = (WEIGHTS, format!("{}/{WEIGHTS}", WEIGHTS.replace('f', "e")));
        let [file, folder] = [file, &folder].map(|weights| digest(1, weights, "v2 fp32"));
        assert!(same_encoder(&file, &folder) && same_encoder(&folder, &file));
        assert!(differ_by_rounding(&file, &folder) && differ_by_rounding(&folder, &file));
        assert!(!differ_by_rounding(&file, &file) && !differ_by_rounding("mel-1", "mel-1"));
        // A voice that was trained with the folder before both digests were written down.
        let before = digest(1, &WEIGHTS.replace('f', "e"), "v2 fp32");
        assert!(same_encoder(&before, &folder) && !differ_by_rounding(&before, &folder));
        assert!(exact(&folder) == before && exact(&before) == before && exact("mel-1 v1") == "mel-1 v1");
        let v1 = folder.replace(" v2 ", " v1 ");
        assert!(!same_encoder(&file, &v1), "another layer");
        let other = digest(1, &format!("{}/{}", "a".repeat(64), "b".repeat(64)), "v2 fp32");
        assert!(!same_encoder(&other, &folder) && !differ_by_rounding(&other, &folder));
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
