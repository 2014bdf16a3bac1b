//! Leaky ReLU with a slope, which tch's own lacks.

use std::ffi::c_char;
use tch::Tensor;
use torch_sys::C_tensor;

unsafe extern "C" {
    fn rvc_leaky_relu(x: *mut C_tensor, slope: f64, in_place: i32, out: *mut *mut C_tensor) -> *mut c_char;
    fn rvc_free(message: *mut c_char);
}

/// `max(x, 0) + slope * min(x, 0)` as a new tensor.
pub fn leaky_relu(x: &Tensor, slope: f64) -> Tensor {
    call(x, slope, false)
}

/// The same, written over `x`: no second tensor of that size. `x` must not be needed by an earlier operation's gradient
/// (a convolution's output is not).
pub fn leaky_relu_in_place(x: Tensor, slope: f64) -> Tensor {
    let y = call(&x, slope, true);
    drop(x);
    y
}

fn call(x: &Tensor, slope: f64, in_place: bool) -> Tensor {
    let mut out = std::ptr::null_mut();
    // SAFETY: x is a live tensor; the callee writes a new tensor handle to out unless it returns a message, which it
    // allocated and we free.
    unsafe {
        let message = rvc_leaky_relu(x.as_ptr().cast_mut(), slope, i32::from(in_place), &raw mut out);
        if !message.is_null() {
            let text = std::ffi::CStr::from_ptr(message).to_string_lossy().into_owned();
            rvc_free(message);
            // The same form as tch's own panics, so that guard() reads it.
            panic!("{:?}", tch::TchError::Torch(text));
        }
        Tensor::from_ptr(out)
    }
}
