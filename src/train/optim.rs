//! AdamW with its state in plain tensors, and the learning rate as a pure function of the epoch.
//!
//! Source: spec F.7 (both networks; weight decay on every parameter) and G.2 (the state dict of torch.optim.AdamW).

use crate::config::Config;
use crate::nn::{Params, fused};
use crate::torchfile::{TorchFile, Value};
use crate::{Error, Kind, Result, nn};
use std::collections::HashMap;
use tch::Tensor;

/// The learning rate of an epoch, counted from 1.
///
/// Multiplied epoch by epoch, as torch's ExponentialLR does, so that it is the same number to the last bit.
pub fn learning_rate(config: &Config, epoch: i64) -> f64 {
    (1..epoch).fold(config.learning_rate, |rate, _| rate * config.lr_decay)
}

/// The update count of the optimizer in a G_ or D_ file; 0 before the first, and if the file has none.
pub fn steps_in(file: &TorchFile) -> i64 {
    let path = ["optimizer", "state", "0", "step"];
    // A tensor since PyTorch 2, a number before.
    let plain = file.int(&path).or_else(|| file.float(&path).map(|steps| steps as i64));
    let read = || {
        let tensor = file.tensor(&path.join(".")).ok()?;
        nn::guard(|| (tensor.numel() == 1).then(|| tensor.double_value(&[]) as i64)).ok()?
    };
    plain.or_else(read).unwrap_or(0).max(0)
}

/// The parameters of one network, in state-dict order, with their two moments and step counts.
pub struct AdamW {
    params: Vec<Tensor>,
    exp_avgs: Vec<Tensor>,
    exp_avg_sqs: Vec<Tensor>,
    steps: Vec<Tensor>,
    betas: [f64; 2],
    eps: f64,
    weight_decay: f64,
    initial_learning_rate: f64,
}

impl AdamW {
    /// A new optimizer. Errors: `device.memory`, `torch`.
    pub fn new(params: Vec<Tensor>, config: &Config) -> Result<Self> {
        let (exp_avgs, exp_avg_sqs, steps) = nn::guard(|| {
            let _no_grad = tch::no_grad_guard();
            let zeros = || params.iter().map(Tensor::zeros_like).collect::<Vec<_>>();
            let steps = params.iter().map(|p| Tensor::zeros([] as [i64; 0], (tch::Kind::Float, p.device()))).collect();
            (zeros(), zeros(), steps)
        })?;
        Ok(Self {
            params,
            exp_avgs,
            exp_avg_sqs,
            steps,
            betas: config.betas,
            eps: config.eps,
            weight_decay: config.weight_decay,
            initial_learning_rate: config.learning_rate,
        })
    }

    /// One update from the gradients; returns their L2 norm over all parameters, a tensor still on the device.
    ///
    /// Nothing is clipped, as in RVC. Errors: `internal` if a parameter has no gradient; `torch`, `device.memory`.
    pub fn step(&mut self, learning_rate: f64) -> Result<Tensor> {
        let grads = fused::grads(&self.params)?;
        let norm = fused::norm(&grads)?;
        let with = fused::AdamW { learning_rate, betas: self.betas, weight_decay: self.weight_decay, eps: self.eps };
        fused::adamw(&self.params, &grads, &self.exp_avgs, &self.exp_avg_sqs, &self.steps, with)?;
        Ok(norm)
    }

    /// The running means of the gradients, one for each parameter.
    pub fn exp_avgs(&self) -> &[Tensor] {
        &self.exp_avgs
    }

    /// Clears all gradients. Errors: `torch`.
    pub fn zero_grad(&self) -> Result<()> {
        fused::grads_to_none(&self.params)
    }

    /// The state dict of torch.optim.AdamW (spec G.2); `learning_rate` is the last epoch's, `order` the order of the parameters
    /// in the file.
    pub fn state_dict(&self, learning_rate: f64, order: &Order) -> Value {
        let moments = |i: usize| {
            Value::dict([
                ("step", Value::Tensor(self.steps[i].shallow_clone())),
                ("exp_avg", Value::Tensor(self.exp_avgs[i].shallow_clone())),
                ("exp_avg_sq", Value::Tensor(self.exp_avg_sqs[i].shallow_clone())),
            ])
        };
        // torch creates a parameter's state at its first update; before that the state is empty.
        let state = if self.steps_done() == 0 {
            Vec::new()
        } else {
            order.places().enumerate().map(|(place, i)| (Value::Int(place as i64), moments(i))).collect()
        };
        let group = Value::dict([
            ("lr", Value::Float(learning_rate)),
            ("betas", Value::Tuple(self.betas.map(Value::Float).into())),
            ("eps", Value::Float(self.eps)),
            ("weight_decay", Value::Float(self.weight_decay)),
            ("amsgrad", Value::Bool(false)),
            ("maximize", Value::Bool(false)),
            ("foreach", Value::None),
            ("capturable", Value::Bool(false)),
            ("differentiable", Value::Bool(false)),
            ("fused", Value::None),
            ("decoupled_weight_decay", Value::Bool(true)),
            ("initial_lr", Value::Float(self.initial_learning_rate)),
            ("params", Value::ints(0..self.params.len() as i64)),
        ]);
        Value::dict([("state", Value::Dict(state)), ("param_groups", Value::List(vec![group]))])
    }

    /// Updates so far.
    pub fn steps_done(&self) -> i64 {
        self.steps.iter().map(|step| step.double_value(&[]) as i64).max().unwrap_or(0)
    }

    /// Loads the moments and step counts of a G_/D_ file whose parameters are in `order`.
    ///
    /// Errors: `checkpoint.mismatch` if the state is for other parameters, `checkpoint.damaged`; the optimizer must not be used after an error.
    pub fn load(&mut self, file: &TorchFile, order: &Order) -> Result<()> {
        // A file saved before the first step (G_0) has no state.
        if file.shape("optimizer.state.0.exp_avg").is_none() {
            return Ok(());
        }
        let beyond = format!("optimizer.state.{}.exp_avg", self.params.len());
        if file.shape(&beyond).is_some() {
            return Err(Error::new(
                Kind::CheckpointMismatch,
                format!("its optimizer has more than the {} parameters of the network", self.params.len()),
            ));
        }
        for (place, i) in order.places().enumerate() {
            copy(file, &format!("optimizer.state.{place}.exp_avg"), &self.exp_avgs[i])?;
            copy(file, &format!("optimizer.state.{place}.exp_avg_sq"), &self.exp_avg_sqs[i])?;
            self.load_step(file, place, i)?;
        }
        Ok(())
    }

    /// Before PyTorch 1.12 a step count was a plain number.
    fn load_step(&mut self, file: &TorchFile, place: usize, i: usize) -> Result<()> {
        let key = place.to_string();
        match file.float(&["optimizer", "state", &key, "step"]) {
            Some(steps) => nn::guard(|| tch::no_grad(|| drop(self.steps[i].shallow_clone().fill_(steps)))),
            None => copy(file, &format!("optimizer.state.{place}.step"), &self.steps[i]),
        }
    }
}

fn copy(file: &TorchFile, name: &str, target: &Tensor) -> Result<()> {
    let shape: Vec<usize> = target.size().iter().map(|&n| n as usize).collect();
    if file.shape(name) != Some(&shape) {
        return Err(Error::new(
            Kind::CheckpointMismatch,
            format!("{name} is {:?}, but must be {shape:?}", file.shape(name)),
        ));
    }
    let value = file.tensor(name)?;
    nn::guard(|| tch::no_grad(|| target.shallow_clone().copy_(&value)))
}

/// The order of a network's parameters in its files.
///
/// The state of torch's optimizers identifies parameters only by their index, which differs by tool and date (spec E.8):
/// the order of a file's own state dict is the order of its optimizer, for every program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order(Vec<usize>);

impl Order {
    /// The network's own order, which is RVC's.
    pub fn own(params: &Params) -> Self {
        Self((0..params.len()).collect())
    }

    /// The order of the parameters in `keys`. Errors: `internal` if they are not the network's keys.
    pub fn of_keys(params: &Params, keys: &[String]) -> Result<Self> {
        let place: HashMap<&str, usize> = params.iter().enumerate().map(|(i, (key, _))| (key, i)).collect();
        let order: Option<Vec<usize>> = keys.iter().map(|key| place.get(key.as_str()).copied()).collect();
        let order = order.filter(|order| order.len() == params.len());
        order.map(Self).ok_or_else(|| Error::new(Kind::Internal, "the keys are not those of the network"))
    }

    /// Applio's order (commit b9c0ccb, 2026-08): enc_p first, and `dec.noise_convs` after `dec.ups`. D's is RVC's.
    pub fn applio(params: &Params) -> Self {
        const PARTS: [&str; 11] = [
            "enc_p.",
            "dec.m_source.",
            "dec.conv_pre.",
            "dec.ups.",
            "dec.noise_convs.",
            "dec.resblocks.",
            "dec.conv_post.",
            "dec.cond.",
            "enc_q.",
            "flow.",
            "emb_g.",
        ];
        let rank = |key: &str| PARTS.iter().position(|part| key.starts_with(part)).unwrap_or(PARTS.len());
        let mut order: Vec<(usize, usize)> = params.iter().enumerate().map(|(i, (key, _))| (rank(key), i)).collect();
        order.sort_unstable();
        Self(order.into_iter().map(|(_, i)| i).collect())
    }

    /// For each index in the file the parameter's index in the network.
    pub fn places(&self) -> impl Iterator<Item = usize> {
        self.0.iter().copied()
    }
}
