//! AdamW with its state in plain tensors, and the learning rate as a pure function of the epoch.
//!
//! Source: spec F.7 (both networks; weight decay on every parameter) and G.2 (the state dict of torch.optim.AdamW).

use crate::config::Config;
use crate::nn::fused;
use crate::torchfile::{TorchFile, Value};
use crate::{Error, Kind, Result, nn};
use tch::Tensor;

/// The step size of an epoch, counted from 1.
///
/// Multiplied epoch by epoch, as torch's ExponentialLR does, so that it is the same number to the last bit.
pub fn learning_rate(config: &Config, epoch: i64) -> f64 {
    (1..epoch).fold(config.learning_rate, |rate, _| rate * config.lr_decay)
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
    /// An optimizer that has made no step. Errors: `device.memory`, `torch`.
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

    /// One update from the gradients; returns their L2 norm over all parameters, a tensor that nobody has read yet.
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

    /// Forgets all gradients. Errors: `torch`.
    pub fn zero_grad(&self) -> Result<()> {
        fused::grads_to_none(&self.params)
    }

    /// The state dict of torch.optim.AdamW (spec G.2); `learning_rate` is that of the last epoch.
    pub fn state_dict(&self, learning_rate: f64) -> Value {
        let moments = |i: usize| {
            Value::dict([
                ("step", Value::Tensor(self.steps[i].shallow_clone())),
                ("exp_avg", Value::Tensor(self.exp_avgs[i].shallow_clone())),
                ("exp_avg_sq", Value::Tensor(self.exp_avg_sqs[i].shallow_clone())),
            ])
        };
        // torch makes a parameter's state at its first update; before that the state is empty.
        let state = if self.steps_done() == 0 {
            Vec::new()
        } else {
            (0..self.params.len()).map(|i| (Value::Int(i as i64), moments(i))).collect()
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

    /// Updates made so far.
    fn steps_done(&self) -> i64 {
        self.steps.first().map_or(0, |step| step.double_value(&[]) as i64)
    }

    /// Takes over the moments and step counts of a G_/D_ file.
    ///
    /// Errors: `checkpoint.mismatch` if the state is of other parameters, `checkpoint.damaged`; the optimizer is then not to be used.
    pub fn load(&mut self, file: &TorchFile) -> Result<()> {
        // A file saved before the first step (G_0) has no state.
        if file.shape("optimizer.state.0.exp_avg").is_none() {
            return Ok(());
        }
        let lists = [("exp_avg", &self.exp_avgs), ("exp_avg_sq", &self.exp_avg_sqs), ("step", &self.steps)];
        for (part, targets) in lists {
            for (i, target) in targets.iter().enumerate() {
                let name = format!("optimizer.state.{i}.{part}");
                let shape: Vec<usize> = target.size().iter().map(|&n| n as usize).collect();
                if file.shape(&name) != Some(&shape) {
                    return Err(Error::new(
                        Kind::CheckpointMismatch,
                        format!("{name} is {:?}, but must be {shape:?}", file.shape(&name)),
                    ));
                }
                let value = file.tensor(&name)?;
                nn::guard(|| tch::no_grad(|| target.shallow_clone().copy_(&value)))?;
            }
        }
        Ok(())
    }
}
