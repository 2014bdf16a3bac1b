//! The losses of one training step (spec F.6), each a 0-dim tensor on the device: nothing is read by the host.

use tch::{Kind, Reduction, Tensor};

/// Mean squared distance of a discriminator's score from `target` (1 real, 0 generated).
pub fn least_squares(score: &Tensor, target: f64) -> Tensor {
    (score.to_kind(Kind::Float) - target).square().mean(Kind::Float)
}

/// The distance from `target` of the score of each of D's parts.
pub fn of_parts(scores: &[Tensor], target: f64) -> Vec<Tensor> {
    scores.iter().map(|score| least_squares(score, target)).collect()
}

/// D's loss: scores of real sound should be 1, of generated sound 0; summed over D's parts.
pub fn discriminator_loss(real: &[Tensor], fake: &[Tensor]) -> Tensor {
    sum_of_pairs(&of_parts(real, 1.0), &of_parts(fake, 0.0))
}

/// The sum over D's parts of their losses on real and on generated sound.
pub fn sum_of_pairs(real: &[Tensor], fake: &[Tensor]) -> Tensor {
    sum(real.iter().zip(fake).map(|(real, fake)| real + fake))
}

/// G's adversarial loss: scores of generated sound should be 1; summed over D's parts.
pub fn generator_loss(fake: &[Tensor]) -> Tensor {
    sum_of(&of_parts(fake, 1.0))
}

/// The sum over D's parts.
pub fn sum_of(parts: &[Tensor]) -> Tensor {
    sum(parts.iter().map(Tensor::shallow_clone))
}

/// Twice the sum, over D's parts and their layers, of the mean distance of feature maps. Real maps get no gradient.
pub fn feature_loss(real: &[Vec<Tensor>], fake: &[Vec<Tensor>]) -> Tensor {
    let maps = real.iter().flatten().zip(fake.iter().flatten());
    sum(maps.map(|(real, fake)| fake.l1_loss(&real.detach(), Reduction::Mean))) * 2.0
}

/// Kullback-Leibler divergence of posterior and prior, summed over channels, averaged over the frames of `mask`; times c_kl it is
/// the reference's loss.
///
/// Shapes: [batch, channels, frames], mask [batch, 1, frames]
pub fn kl_loss(z_p: &Tensor, logs_q: &Tensor, m_p: &Tensor, logs_p: &Tensor, mask: &Tensor) -> Tensor {
    let distance = (z_p - m_p).square() * (logs_p * -2.0).exp() * 0.5;
    let kl = logs_p - logs_q - 0.5 + distance;
    (kl * mask).sum(Kind::Float) / mask.sum(Kind::Float)
}

/// Mean distance of log-mels; times c_mel it is the reference's loss.
pub fn mel_l1(y_mel: &Tensor, y_hat_mel: &Tensor) -> Tensor {
    y_hat_mel.l1_loss(y_mel, Reduction::Mean)
}

fn sum(terms: impl Iterator<Item = Tensor>) -> Tensor {
    terms.reduce(|sum, term| sum + term).expect("a discriminator has at least one part")
}
