//! Operations over all parameters at once: AdamW, averages, norms and gradients without a host read or a launch for each tensor.
//!
//! Safe Rust over shim.cpp, which calls libtorch functions that tch does not bind (`_fused_adamw_`, `_foreach_norm`, `_foreach_lerp_`).

use crate::{Error, Kind, Result};
use std::ffi::{CStr, c_char};
use tch::Tensor;
use torch_sys::C_tensor;

unsafe extern "C" {
    fn rvc_free(message: *mut c_char);
    #[allow(clippy::too_many_arguments)] // mirrors shim.cpp
    fn rvc_fused_adamw(
        params: *mut *mut C_tensor,
        grads: *mut *mut C_tensor,
        exp_avgs: *mut *mut C_tensor,
        exp_avg_sqs: *mut *mut C_tensor,
        steps: *mut *mut C_tensor,
        n: i64,
        lr: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        eps: f64,
    ) -> *mut c_char;
    fn rvc_lerp(averages: *mut *mut C_tensor, tensors: *mut *mut C_tensor, n: i64, weight: f64) -> *mut c_char;
    fn rvc_norm(tensors: *mut *mut C_tensor, n: i64, out: *mut *mut C_tensor) -> *mut c_char;
    fn rvc_grads(tensors: *mut *mut C_tensor, n: i64, out: *mut *mut C_tensor) -> *mut c_char;
    fn rvc_grads_to_none(tensors: *mut *mut C_tensor, n: i64) -> *mut c_char;
}

/// The settings of one AdamW update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    pub learning_rate: f64,
    pub betas: [f64; 2],
    pub weight_decay: f64,
    pub eps: f64,
}

/// Updates all `params` in place from `grads` and raises every entry of `steps` by one.
///
/// Shapes: grads, exp_avgs, exp_avg_sqs as params; steps: float32 without dimensions. All on one device.
/// Errors: `internal` if the lists differ in length; `torch`, `device.memory`.
/// Source: p ← p(1 − lr·wd); m ← β1 m + (1−β1)g; v ← β2 v + (1−β2)g²; p ← p − lr/(1−β1^t) · m/(√v/√(1−β2^t) + eps).
pub fn adamw(
    params: &[Tensor],
    grads: &[Tensor],
    exp_avgs: &[Tensor],
    exp_avg_sqs: &[Tensor],
    steps: &[Tensor],
    with: AdamW,
) -> Result<()> {
    let n = params.len();
    if [grads.len(), exp_avgs.len(), exp_avg_sqs.len(), steps.len()] != [n; 4] {
        return Err(Error::new(Kind::Internal, "the optimizer's lists differ in length"));
    }
    let (mut p, mut g, mut m, mut v, mut s) =
        (pointers(params), pointers(grads), pointers(exp_avgs), pointers(exp_avg_sqs), pointers(steps));
    // SAFETY: each list holds n valid tensors that outlive the call; the shim keeps none of them.
    check(unsafe {
        rvc_fused_adamw(
            p.as_mut_ptr(),
            g.as_mut_ptr(),
            m.as_mut_ptr(),
            v.as_mut_ptr(),
            s.as_mut_ptr(),
            n as i64,
            with.learning_rate,
            with.betas[0],
            with.betas[1],
            with.weight_decay,
            with.eps,
        )
    })
}

/// Moves each of `averages` towards its tensor: a ← a + weight (t − a), in place.
///
/// Errors: `internal` if the lists differ in length; `torch`.
pub fn lerp(averages: &[Tensor], tensors: &[Tensor], weight: f64) -> Result<()> {
    if averages.len() != tensors.len() {
        return Err(Error::new(Kind::Internal, "the lists of an average differ in length"));
    }
    let (mut a, mut t) = (pointers(averages), pointers(tensors));
    // SAFETY: both lists hold as many valid tensors, which outlive the call; the shim keeps none of them.
    check(unsafe { rvc_lerp(a.as_mut_ptr(), t.as_mut_ptr(), averages.len() as i64, weight) })
}

/// The L2 norm over all tensors together, a tensor without dimensions on their device. Errors: `torch`, `device.memory`.
pub fn norm(tensors: &[Tensor]) -> Result<Tensor> {
    let mut out = std::ptr::null_mut();
    let mut list = pointers(tensors);
    // SAFETY: the list holds valid tensors; on success `out` is a new tensor that we own.
    unsafe {
        check(rvc_norm(list.as_mut_ptr(), tensors.len() as i64, &raw mut out))?;
        Ok(Tensor::from_ptr(out))
    }
}

/// The gradient of each tensor. Errors: `internal` if one has none, naming its position; `torch`.
pub fn grads(tensors: &[Tensor]) -> Result<Vec<Tensor>> {
    let mut out = vec![std::ptr::null_mut(); tensors.len()];
    let mut list = pointers(tensors);
    // SAFETY: both lists have the same length; on success each entry of `out` is a new tensor that we own.
    let grads: Vec<Tensor> = unsafe {
        check(rvc_grads(list.as_mut_ptr(), tensors.len() as i64, out.as_mut_ptr()))?;
        out.into_iter().map(|pointer| Tensor::from_ptr(pointer)).collect()
    };
    match grads.iter().position(|g| !g.defined()) {
        None => Ok(grads),
        Some(i) => Err(Error::new(Kind::Internal, format!("parameter {i} of {} has no gradient", tensors.len()))),
    }
}

/// Drops all gradients, so that the next backward pass writes instead of adding. Errors: `torch`.
pub fn grads_to_none(tensors: &[Tensor]) -> Result<()> {
    let mut list = pointers(tensors);
    // SAFETY: the list holds valid tensors that outlive the call.
    check(unsafe { rvc_grads_to_none(list.as_mut_ptr(), tensors.len() as i64) })
}

fn pointers(tensors: &[Tensor]) -> Vec<*mut C_tensor> {
    tensors.iter().map(|tensor| tensor.as_ptr().cast_mut()).collect()
}

fn check(message: *mut c_char) -> Result<()> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: the shim returns a malloc'ed, terminated text, freed here once.
    let text = unsafe {
        let text = CStr::from_ptr(message).to_string_lossy().into_owned();
        rvc_free(message);
        text
    };
    // libtorch appends a C++ stack trace after the first line.
    let line = text.lines().next().unwrap_or_default();
    let kind = if line.contains("out of memory") { Kind::DeviceMemory } else { Kind::Torch };
    Err(Error::new(kind, format!("libtorch: {line}")))
}
