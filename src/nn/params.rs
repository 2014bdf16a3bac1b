//! Named parameters in state-dict order, and their builder.
//!
//! Networks hold shallow clones of these tensors (same storage, same gradient), so loading, freezing and optimising need only
//! [`Params`].

use super::random::SplitMix;
use crate::{Error, Kind, Result};
use std::collections::HashMap;
use tch::{Device, Tensor};

/// All parameters of a network under their state-dict keys, in state-dict order.
pub struct Params {
    list: Vec<(String, Tensor)>,
    index: HashMap<String, usize>,
}

impl Params {
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.list.iter().map(|(key, tensor)| (key.as_str(), tensor))
    }

    pub fn get(&self, key: &str) -> Option<&Tensor> {
        self.index.get(key).map(|&i| &self.list[i].1)
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Total number of values.
    pub fn numel(&self) -> usize {
        self.list.iter().map(|(_, tensor)| tensor.numel()).sum()
    }

    /// Shallow clones of the tensors, in order.
    pub fn tensors(&self) -> Vec<Tensor> {
        self.list.iter().map(|(_, tensor)| tensor.shallow_clone()).collect()
    }

    /// Lets operations on the parameters record gradients, or not; a frozen network costs no weight gradients.
    pub fn set_requires_grad(&self, yes: bool) {
        for (_, tensor) in &self.list {
            let _same_tensor = tensor.set_requires_grad(yes);
        }
    }

    /// Copies `given` into the parameters. Keys and shapes must be exactly ours; half precision is converted.
    ///
    /// Errors: `checkpoint.mismatch` with everything that is missing, extra, of a wrong shape or not floating point; nothing is changed then.
    pub fn load<'a>(&self, given: impl IntoIterator<Item = (&'a str, &'a Tensor)>) -> Result<()> {
        let given: HashMap<&str, &Tensor> = given.into_iter().collect();
        self.check(&given)?;
        crate::nn::guard(|| {
            let _no_grad = tch::no_grad_guard();
            for (key, tensor) in &self.list {
                // check() has seen every key; shallow_clone only because copy_ wants a mutable handle.
                if let Some(source) = given.get(key.as_str()) {
                    tensor.shallow_clone().copy_(source);
                }
            }
        })
    }

    fn check(&self, given: &HashMap<&str, &Tensor>) -> Result<()> {
        let mut misfits = Misfits::default();
        for (key, tensor) in &self.list {
            misfits.compare(key, &tensor.size(), given.get(key.as_str()).map(|t| (t.size(), Some(t.kind()))));
        }
        misfits.extra =
            given.keys().filter(|key| !self.index.contains_key(**key)).map(|key| (*key).to_owned()).collect();
        misfits.extra.sort();
        misfits.into_result()
    }
}

/// The mismatches between given weights and a network.
#[derive(Debug, Default)]
pub struct Misfits {
    pub missing: Vec<String>,
    pub extra: Vec<String>,
    pub misshapen: Vec<String>,
    pub not_float: Vec<String>,
}

impl Misfits {
    /// Records a mismatch of the tensor for `key`, if any; `given` is its shape and type.
    pub fn compare(&mut self, key: &str, shape: &[i64], given: Option<(Vec<i64>, Option<tch::Kind>)>) {
        use tch::Kind::{BFloat16, Double, Float, Half};
        match given {
            None => self.missing.push(key.to_owned()),
            Some((given, _)) if given != shape => {
                self.misshapen.push(format!("{key} is {given:?}, but must be {shape:?}"));
            }
            Some((_, Some(Float | Half | BFloat16 | Double))) => {}
            Some((_, kind)) => {
                self.not_float.push(kind.map_or_else(|| key.to_owned(), |kind| format!("{key} is {kind:?}")));
            }
        }
    }

    /// Errors: `checkpoint.mismatch` that names the first few of each sort.
    pub fn into_result(self) -> Result<()> {
        let parts: Vec<String> = [
            ("missing", self.missing),
            ("not part of this network", self.extra),
            ("of another shape", self.misshapen),
            ("not floating point", self.not_float),
        ]
        .into_iter()
        .filter(|(_, keys)| !keys.is_empty())
        .map(|(what, keys)| {
            let more = if keys.len() > 3 { ", ..." } else { "" };
            format!("{} {what} ({}{more})", keys.len(), keys[..keys.len().min(3)].join(", "))
        })
        .collect();
        if parts.is_empty() {
            return Ok(());
        }
        Err(Error::new(Kind::CheckpointMismatch, format!("the weights do not fit this network: {}", parts.join("; ")))
            .hint("the file was made with another sample_rate, version or preset"))
    }
}

/// How a new parameter is filled.
pub enum Init {
    /// Uniform in -bound..bound.
    Uniform(f64),
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
    /// All the same.
    Constant(f64),
}

/// Creates parameters one by one; the order of the calls is the state-dict order.
///
/// Values depend only on (seed, key), not on the order, other networks or libtorch's generator.
pub struct Builder {
    list: Vec<(String, Tensor)>,
    seed: i64,
    device: Device,
}

impl Builder {
    pub fn new(device: Device, seed: i64) -> Self {
        Self { list: Vec::new(), seed, device }
    }

    /// A builder with the same seed on the CPU, for values that another parameter is computed from.
    #[must_use]
    pub fn aside(&self) -> Self {
        Self::new(Device::Cpu, self.seed)
    }

    pub fn device(&self) -> Device {
        self.device
    }

    /// A new float32 parameter.
    pub fn add(&mut self, key: String, shape: &[i64], init: &Init) -> Tensor {
        let n = shape.iter().product::<i64>() as usize;
        let mut random = SplitMix::new(self.seed, &key);
        let values: Vec<f32> = match *init {
            Init::Uniform(bound) => (0..n).map(|_| ((2.0 * random.uniform() - 1.0) * bound) as f32).collect(),
            Init::Normal(std) => (0..n).map(|_| (random.normal() * std) as f32).collect(),
            Init::Constant(value) => vec![value as f32; n],
        };
        self.add_tensor(key, &Tensor::from_slice(&values).view(shape))
    }

    /// A new parameter with the values of `values`.
    pub fn add_tensor(&mut self, key: String, values: &Tensor) -> Tensor {
        let tensor = values.to_device(self.device).set_requires_grad(true);
        self.list.push((key, tensor.shallow_clone()));
        tensor
    }

    pub fn finish(self) -> Params {
        let index = self.list.iter().enumerate().map(|(i, (key, _))| (key.clone(), i)).collect();
        Params { list: self.list, index }
    }
}
