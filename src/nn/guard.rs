//! Turns tch's panics into errors.

use crate::{Error, Kind, Result};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    /// The number of guards around the current code on this thread; the panic hook is silent inside them.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// The result of `f`, with a panic of libtorch (or of our own code) inside it as an error; nothing is printed.
///
/// The thread's gradient mode is restored: `tch::no_grad` leaves it off when its closure panics.
///
/// Errors: `device.memory` if the device is full, `torch` for any other libtorch error, `internal` for a panic of our own code.
pub fn guard<T>(f: impl FnOnce() -> T) -> Result<T> {
    install_hook();
    let grad_mode = set_grad_mode(true);
    set_grad_mode(grad_mode);
    DEPTH.set(DEPTH.get() + 1);
    // No half-written Rust state is used after a panic: the caller gets an error and drops the step.
    let result = catch_unwind(AssertUnwindSafe(f));
    DEPTH.set(DEPTH.get() - 1);
    result.map_err(|payload| {
        set_grad_mode(grad_mode);
        let text = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied())
            .unwrap_or("unknown panic");
        to_error(text)
    })
}

/// Keeps the panic message of guarded code off the terminal; every other panic is shown as before.
fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if DEPTH.get() == 0 {
                previous(info);
            }
        }));
    });
}

fn set_grad_mode(enabled: bool) -> bool {
    // SAFETY: takes and returns a plain number; it only sets a thread-local flag of libtorch.
    unsafe { torch_sys::at_grad_set_enabled(i32::from(enabled)) != 0 }
}

fn to_error(panic_text: &str) -> Error {
    let Some(text) = torch_message(panic_text) else {
        return Error::new(
            Kind::Internal,
            format!("unexpected stop: {}", panic_text.lines().next().unwrap_or_default()),
        );
    };
    let full = ["out of memory", "can't allocate memory", "not enough memory"];
    if full.iter().any(|words| panic_text.to_lowercase().contains(words)) {
        return Error::new(Kind::DeviceMemory, format!("the device is out of memory: {text}"))
            .hint("lower batch_size or segment_size, or close other programs that use the device");
    }
    Error::new(Kind::Torch, format!("libtorch: {text}"))
}

/// The first line of libtorch's own message in a panic made by `unwrap` of a `TchError`: no C++ stack.
fn torch_message(panic_text: &str) -> Option<String> {
    let names = ["Torch(\"", "Convert(\"", "Shape(\"", "Kind(\""];
    let start = names.iter().find_map(|name| panic_text.find(name).map(|at| at + name.len()))?;
    // The message is in Debug form: line breaks are written as \n.
    let text = panic_text[start..].split("\\n").next().unwrap_or_default();
    Some(text.trim_end_matches("\")").replace("\\\"", "\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Tensor;

    #[test]
    fn a_libtorch_error_becomes_an_error_of_one_line() {
        let error =
            guard(|| Tensor::zeros([2, 3], tch::kind::FLOAT_CPU).matmul(&Tensor::ones([2], tch::kind::FLOAT_CPU)))
                .unwrap_err();
        assert_eq!(error.kind(), Kind::Torch);
        assert!(error.message().starts_with("libtorch: ") && !error.message().contains("\\n"), "{error}");
    }

    #[test]
    fn gradients_stay_on_after_a_panic_under_no_grad() {
        let error = guard(|| tch::no_grad(|| panic!("own fault"))).unwrap_err();
        assert_eq!((error.kind(), error.message()), (Kind::Internal, "unexpected stop: own fault"));
        let x = Tensor::ones([1], tch::kind::FLOAT_CPU).set_requires_grad(true);
        assert!((&x * 2.0).requires_grad());
    }
}
