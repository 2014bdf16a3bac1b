//! Loads weights of a network that is only run, not trained, from a foreign file.
//!
//! The file's names are first converted to the network's own spelling (prefixes, tools, both spellings of weight norm). The
//! network is then built twice: once with placeholders, to collect the tensors that it needs, and, if the file's headers have them
//! all in the right shape and type, once with the tensors. So a wrong file is found early and its error names everything.

use crate::nn::params::{Misfits, Params};
use crate::torchfile::TorchFile;
use crate::{Error, Kind, Result, files, nn};
use std::cell::RefCell;
use std::collections::HashMap;
use tch::{Device, Tensor};

/// Provides the tensors of a network by key; see [`load`].
pub struct Weights<'a> {
    source: Source<'a>,
    kind: tch::Kind,
    device: Device,
}

enum Source<'a> {
    /// Records the requested tensors.
    Plan(RefCell<Vec<(String, Vec<i64>)>>),
    File {
        file: &'a TorchFile,
        names: &'a HashMap<String, String>,
    },
}

impl Weights<'_> {
    /// The tensor of a key, in the network's type and on its device. During planning it is a placeholder of that shape.
    ///
    /// Errors: `checkpoint.damaged`, `device.memory`.
    pub fn get(&self, key: impl Into<String>, shape: &[i64]) -> Result<Tensor> {
        let key = key.into();
        match &self.source {
            Source::Plan(wanted) => {
                wanted.borrow_mut().push((key, shape.to_vec()));
                nn::guard(|| Tensor::zeros([1], (self.kind, Device::Cpu)).expand(shape, false))
            }
            Source::File { file, names } => {
                let name =
                    names.get(&key).ok_or_else(|| Error::new(Kind::Internal, format!("{key} was not planned")))?;
                let tensor = file.tensor(name)?;
                nn::guard(|| tensor.to_device(self.device).to_kind(self.kind))
            }
        }
    }

    pub fn device(&self) -> Device {
        self.device
    }

    pub fn kind(&self) -> tch::Kind {
        self.kind
    }
}

/// The network that `build` creates from the tensors of a file.
///
/// `canonical` converts a name in the file to the network's key, or None for one that is not part of it but allowed; any
/// other name that `build` does not request is extra and an error. Tensors are converted to `kind`.
///
/// Errors: `checkpoint.mismatch` with everything that is missing, extra, misshapen or not floating point;
/// `checkpoint.damaged`; `device.memory`.
pub fn load<N>(
    file: &TorchFile,
    canonical: impl Fn(&str) -> Option<String>,
    kind: tch::Kind,
    device: Device,
    build: impl Fn(&Weights) -> Result<N>,
) -> Result<N> {
    let mut names = HashMap::new();
    for name in file.names() {
        if let Some(key) = canonical(name)
            && let Some(other) = names.insert(key, name.to_owned())
        {
            return Err(Error::new(Kind::CheckpointMismatch, format!("{other} and {name} are the same weight twice"))
                .path(file.path()));
        }
    }
    let plan = Weights { source: Source::Plan(RefCell::default()), kind, device: Device::Cpu };
    drop(build(&plan)?);
    let Source::Plan(wanted) = plan.source else { return Err(Error::new(Kind::Internal, "the plan is lost")) };
    // These networks have one size: weights that do not fit are another network's.
    check(file, &names, &wanted.into_inner()).map_err(|e| {
        e.hint("the file holds another network; `rvc-run assets verify` finds files that differ from the publisher's")
    })?;
    build(&Weights { source: Source::File { file, names: &names }, kind, device })
}

/// The SHA-256 of a network's weights: keys, shapes and values as float32, in order of the keys. Equal for the same weights in another
/// container, spelling or order; `canonical` as for [`load`].
///
/// Errors: `checkpoint.damaged`, `file.read`.
pub fn digest(file: &TorchFile, canonical: impl Fn(&str) -> Option<String>) -> Result<String> {
    let mut hasher = files::Hasher::default();
    each_sorted(file, canonical, |header, tensor| {
        hasher.update(header.as_bytes());
        hash(&mut hasher, &tensor.to_kind(tch::Kind::Float));
    })?;
    Ok(hasher.finish())
}

/// [`digest`], and the digest of the same weights rounded to half precision: files of both precisions share that one.
///
/// Errors: as [`digest`].
pub fn digests(file: &TorchFile, canonical: impl Fn(&str) -> Option<String>) -> Result<[String; 2]> {
    let (mut exact, mut rounded) = (files::Hasher::default(), files::Hasher::default());
    each_sorted(file, canonical, |header, tensor| {
        let values = tensor.to_kind(tch::Kind::Float);
        for hasher in [&mut exact, &mut rounded] {
            hasher.update(header.as_bytes());
        }
        hash(&mut exact, &values);
        hash(&mut rounded, &values.to_kind(tch::Kind::Half).to_kind(tch::Kind::Float));
    })?;
    Ok([exact.finish(), rounded.finish()])
}

/// Passes on the tensors of a network in order of their keys, each with a line of key and shape.
fn each_sorted(
    file: &TorchFile,
    canonical: impl Fn(&str) -> Option<String>,
    mut take: impl FnMut(String, &Tensor),
) -> Result<()> {
    let mut named: Vec<(String, &str)> =
        file.names().into_iter().filter_map(|name| Some((canonical(name)?, name))).collect();
    named.sort();
    for (key, name) in named {
        let tensor = file.tensor(name)?;
        nn::guard(|| take(format!("{key} {:?}\n", tensor.size()), &tensor))?;
    }
    Ok(())
}

fn hash(hasher: &mut files::Hasher, values: &Tensor) {
    let values = Vec::<f32>::try_from(values.flatten(0, -1)).unwrap_or_default();
    for part in values.chunks(1 << 14) {
        let bytes: Vec<u8> = part.iter().flat_map(|x| x.to_le_bytes()).collect();
        hasher.update(&bytes);
    }
}

/// The network's own spelling of a state-dict key: without the wrapper's prefix of parallel training, weight norm as
/// `weight_g` and `weight_v` (newer PyTorch calls them `parametrizations.weight.original0` and `original1`).
pub fn canonical(name: &str) -> String {
    name.strip_prefix("module.")
        .unwrap_or(name)
        .replace(".parametrizations.weight.original0", ".weight_g")
        .replace(".parametrizations.weight.original1", ".weight_v")
}

/// Fills a network's parameters with the state dict below `prefix` and returns their order in the file.
///
/// The headers are checked first, so a file that does not fit changes nothing.
/// Errors: `checkpoint.mismatch` with everything that does not fit, or a value that is not finite; `checkpoint.damaged`.
pub fn fill(file: &TorchFile, prefix: &str, params: &Params) -> Result<Vec<String>> {
    fill_where(file, prefix, params, |_| true)
}

/// [`fill`] with the tensors of the file whose key `part` accepts; others are allowed.
pub fn fill_where(file: &TorchFile, prefix: &str, params: &Params, part: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let names = file.keys(prefix).into_iter().map(|(key, name)| (canonical(&key), name));
    let names: Vec<(String, String)> = names.filter(|(key, _)| part(key)).collect();
    let wanted: Vec<(String, Vec<i64>)> = params.iter().map(|(key, tensor)| (key.to_owned(), tensor.size())).collect();
    check(file, &names.iter().cloned().collect(), &wanted)?;
    for (key, name) in &names {
        let value = file.tensor(name)?;
        let finite = nn::guard(|| {
            let _no_grad = tch::no_grad_guard();
            let finite = value.isfinite().all().int64_value(&[]) == 1;
            if let Some(target) = params.get(key) {
                // A shallow clone only because copy_ wants a mutable handle.
                target.shallow_clone().copy_(&value);
            }
            finite
        })?;
        if !finite {
            return Err(Error::new(
                Kind::CheckpointMismatch,
                format!("{}: {name} has values that are not finite", file.path().display()),
            )
            .path(file.path())
            .hint("its training diverged; use an earlier file"));
        }
    }
    Ok(names.into_iter().map(|(key, _)| key).collect())
}

/// Errors with everything about `file` that does not fit `wanted`; `names` gives the file's name of each key.
#[allow(clippy::implicit_hasher, reason = "nobody brings another hasher")]
pub fn check(file: &TorchFile, names: &HashMap<String, String>, wanted: &[(String, Vec<i64>)]) -> Result<()> {
    let mut misfits = Misfits::default();
    let mut known = std::collections::HashSet::new();
    for (key, shape) in wanted {
        known.insert(key.as_str());
        let there = names.get(key).and_then(|name| Some((file.shape(name)?, file.kind(name))));
        let there = there.map(|(shape, kind)| (shape.iter().map(|&n| n as i64).collect::<Vec<_>>(), kind));
        misfits.compare(key, shape, there);
    }
    let mut extra: Vec<&String> = names.keys().filter(|key| !known.contains(key.as_str())).collect();
    extra.sort();
    misfits.extra = extra.into_iter().cloned().collect();
    misfits.into_result().map_err(|e| e.path(file.path()).context(file.path().display()))
}
