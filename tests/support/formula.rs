//! Weights and inputs by formula: golden README sections 1 and 2.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use tch::Tensor;

fn fmix32(mut h: u32) -> u32 {
    h ^= h >> 16;
    h = h.wrapping_mul(0x85EB_CA6B);
    h ^= h >> 13;
    h = h.wrapping_mul(0xC2B2_AE35);
    h ^ (h >> 16)
}

/// The `n` numbers u in [-1, 1) of a key.
pub fn uniform(salt: &str, key: &str, n: usize) -> impl Iterator<Item = f64> + use<> {
    let crc = crc32fast::hash(format!("{salt}{key}").as_bytes());
    (0..n).map(move |i| f64::from(fmix32(crc ^ (i as u32).wrapping_mul(0x9E37_79B9))) / 2f64.powi(31) - 1.0)
}

fn count(shape: &[i64]) -> usize {
    shape.iter().product::<i64>() as usize
}

/// "fill KEY shape, scale a, offset b": `offset + scale * u`.
pub fn fill(salt: &str, key: &str, shape: &[i64], scale: f64, offset: f64) -> Tensor {
    let values: Vec<f32> = uniform(salt, key, count(shape)).map(|u| (offset + scale * u) as f32).collect();
    Tensor::from_slice(&values).view(shape)
}

/// "integers KEY shape in low..high-1".
pub fn integers(salt: &str, key: &str, shape: &[i64], low: i64, high: i64) -> Tensor {
    let span = (high - low) as f64;
    let values: Vec<i64> =
        uniform(salt, key, count(shape)).map(|u| (low as f64 + (u / 2.0 + 0.5) * span).floor() as i64).collect();
    Tensor::from_slice(&values).view(shape)
}

/// A sweep with harmonics and noise, "glide from f1 to f2" of the golden README section 2.
pub struct Glide {
    pub from_hz: f64,
    pub to_hz: f64,
    pub harmonics: u32,
    pub amplitude: f64,
    pub noise: f64,
    pub sample_rate: f64,
}

impl Glide {
    /// `n` samples as float32, each a multiple of 1 / 32768; `key` names the noise.
    pub fn samples(&self, salt: &str, key: &str, n: usize) -> Vec<f32> {
        let duration = n as f64 / self.sample_rate;
        let slope = (self.to_hz - self.from_hz) / (2.0 * duration);
        uniform(salt, key, n)
            .enumerate()
            .map(|(k, u)| {
                let t = k as f64 / self.sample_rate;
                let phase = std::f64::consts::TAU * (self.from_hz * t + slope * t * t);
                let sum: f64 = (1..=self.harmonics).map(|j| (f64::from(j) * phase).sin() / f64::from(j)).sum();
                let value = self.amplitude * sum + self.noise * u;
                ((value * 32768.0).round_ties_even().clamp(-32768.0, 32767.0) / 32768.0) as f32
            })
            .collect()
    }
}

/// Fills every parameter by the weight rule, on all cores: 100 million numbers take about a second.
pub fn fill_params<'a>(salt: &str, params: impl IntoIterator<Item = (&'a str, &'a Tensor)>) {
    let params: Vec<(&str, Tensor)> = params.into_iter().map(|(k, t)| (k, t.shallow_clone())).collect();
    let shapes: Vec<(&str, Vec<i64>)> = params.iter().map(|(k, t)| (*k, t.size())).collect();
    let filled = fill_rule(salt, &shapes);
    tch::no_grad(|| {
        for ((_, mut tensor), values) in params.into_iter().zip(filled) {
            let values = Tensor::from_slice(&values).view(tensor.size().as_slice());
            tensor.copy_(&values);
        }
    });
}

/// The values of tensors of these keys and shapes, row-major, by the weight rule.
pub fn fill_rule(salt: &str, shapes: &[(&str, Vec<i64>)]) -> Vec<Vec<f32>> {
    let is_g = |key: &str| key.rsplit('.').next() == Some("weight_g");
    let mut filled = parallel(shapes, |(key, shape)| if is_g(key) { Vec::new() } else { rule(salt, key, shape) });
    let place: HashMap<&str, usize> = shapes.iter().enumerate().map(|(i, (key, _))| (*key, i)).collect();
    for (i, (key, shape)) in shapes.iter().enumerate().filter(|(_, (key, _))| is_g(key)) {
        let v_key = format!("{}weight_v", key.strip_suffix("weight_g").unwrap());
        let v = place[v_key.as_str()];
        let norms = norms(&filled[v], &shapes[v].1, shape);
        filled[i] =
            uniform(salt, key, count(shape)).zip(norms).map(|(u, norm)| (norm * (1.0 + 0.2 * u)) as f32).collect();
    }
    filled
}

/// Norms of `v` over every dimension in which `g_shape` has size 1 (weight norm keeps one dimension).
fn norms(v: &[f32], v_shape: &[i64], g_shape: &[i64]) -> Vec<f64> {
    let kept = g_shape.iter().position(|&n| n != 1).unwrap_or(0);
    let n = g_shape[kept] as usize;
    let inner: usize = v_shape[kept + 1..].iter().product::<i64>() as usize;
    let mut squares = vec![0.0; n];
    for (row, values) in v.chunks_exact(inner.max(1)).enumerate() {
        squares[row % n] += values.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
    }
    squares.into_iter().map(f64::sqrt).collect()
}

/// Every line of the rule's table but num_batches_tracked (an integer) and weight_g (needs its weight_v).
fn rule(salt: &str, key: &str, shape: &[i64]) -> Vec<f32> {
    let mut parts = key.rsplit('.');
    let (leaf, parent) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let n = count(shape);
    let flat = shape.len() == 1;
    let values = uniform(salt, key, n);
    if leaf == "running_mean" {
        return values.map(|u| (0.1 * u) as f32).collect();
    }
    if leaf == "running_var" {
        return values.map(|u| (1.0 + 0.5 * u.abs()) as f32).collect();
    }
    if leaf == "gamma" || (leaf == "weight" && flat) {
        return values.map(|u| (1.0 + 0.1 * u) as f32).collect();
    }
    if leaf == "beta" {
        return values.map(|u| (0.1 * u) as f32).collect();
    }
    if leaf.starts_with("bias") || flat {
        return values.map(|u| (0.05 * u) as f32).collect();
    }
    let first = shape[0] as f64;
    let (gain, fan) = gain(key, parent, n as f64 / first, first);
    let scale = (gain / fan).sqrt();
    values.map(|u| (u * scale) as f32).collect()
}

fn gain(key: &str, parent: &str, fan: f64, first: f64) -> (f64, f64) {
    if key.contains(".ups.") || key.ends_with(".conv1.0.weight") {
        (6.0, 2.0 * first)
    } else if key.starts_with("discriminators.") || key.starts_with("feature_extractor.") {
        (6.0, fan)
    } else if parent == "proj" {
        (0.2, fan)
    } else if parent == "conv_post" {
        (0.5, fan)
    } else if key.contains(".noise_convs.") {
        (100.0, fan)
    } else if parent.starts_with("emb_") && parent != "emb_phone" {
        (0.25, 1.0)
    } else if key.starts_with("unet.") {
        (2.0, fan)
    } else if key == "cnn.weight" {
        (0.3, fan)
    } else if key == "fc.1.weight" {
        (12.0, fan)
    } else {
        (3.0, fan)
    }
}

/// `f` of each item on all cores, in order.
pub fn parallel<T: Sync, R: Send>(items: &[T], f: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let mut done: Vec<(usize, R)> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..workers)
            .map(|_| {
                scope.spawn(|| {
                    let mut mine = Vec::new();
                    while let Some((i, item)) = {
                        let i = next.fetch_add(1, Ordering::Relaxed);
                        items.get(i).map(|item| (i, item))
                    } {
                        mine.push((i, f(item)));
                    }
                    mine
                })
            })
            .collect();
        handles.into_iter().flat_map(|h| h.join().unwrap()).collect()
    });
    done.sort_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, r)| r).collect()
}
