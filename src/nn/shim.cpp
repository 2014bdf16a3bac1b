// The libtorch calls that tch 0.24 lacks: list operations over all parameters at once (no host read, no launch per
// tensor), setting gradients to none; and glibc's allocator, whose settings need a C header. Tensors come as `at::Tensor *`, as in torch-sys. An error returns a malloc'ed
// message that the caller frees with rvc_free; success returns null.

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <vector>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace {
std::vector<at::Tensor> list(at::Tensor **tensors, int64_t n) {
  std::vector<at::Tensor> out;
  out.reserve(n);
  for (int64_t i = 0; i < n; ++i) out.push_back(*tensors[i]);
  return out;
}

template <typename F> char *guarded(F f) {
  try {
    f();
    return nullptr;
  } catch (const std::exception &e) {
    return strdup(e.what());
  }
}
} // namespace

extern "C" {

void rvc_free(char *message) { free(message); }

// No buffer comes from mmap, the heap grows by 64 MB at a time, and 2 GB free at its end stay.
void rvc_keep_memory() {
#if defined(__GLIBC__)
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, INT_MAX);
  mallopt(M_TOP_PAD, 64 << 20);
#endif
}

void rvc_give_memory_back() {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

// Leaky ReLU with a slope, differentiable, as a new tensor or over its input.
char *rvc_leaky_relu(at::Tensor *x, double slope, int in_place, at::Tensor **out) {
  return guarded([&] { *out = new at::Tensor(in_place ? at::leaky_relu_(*x, slope) : at::leaky_relu(*x, slope)); });
}

// One AdamW update of all parameters, in place: at::_fused_adamw_. `steps` are float32 0-dim tensors, raised by one here.
char *rvc_fused_adamw(at::Tensor **params, at::Tensor **grads, at::Tensor **exp_avgs, at::Tensor **exp_avg_sqs,
                      at::Tensor **steps, int64_t n, double lr, double beta1, double beta2, double weight_decay, double eps) {
  return guarded([&] {
    c10::NoGradGuard no_grad;
    auto step_list = list(steps, n);
    at::_foreach_add_(step_list, 1);
    at::_fused_adamw_(list(params, n), list(grads, n), list(exp_avgs, n), list(exp_avg_sqs, n), {}, step_list, lr, beta1,
                      beta2, weight_decay, eps, /*amsgrad=*/false, /*maximize=*/false);
  });
}

// Moves each average towards its tensor: a += weight * (t - a), in place.
char *rvc_lerp(at::Tensor **averages, at::Tensor **tensors, int64_t n, double weight) {
  return guarded([&] {
    c10::NoGradGuard no_grad;
    at::_foreach_lerp_(list(averages, n), list(tensors, n), weight);
  });
}

// The L2 norm over all tensors together, as a new 0-dim tensor on their device; nothing is read by the host.
char *rvc_norm(at::Tensor **tensors, int64_t n, at::Tensor **out) {
  return guarded([&] {
    c10::NoGradGuard no_grad;
    *out = new at::Tensor(at::stack(at::_foreach_norm(list(tensors, n), 2)).norm());
  });
}

// The gradient of each tensor, as a new tensor each, undefined where there is none.
char *rvc_grads(at::Tensor **tensors, int64_t n, at::Tensor **out) {
  return guarded([&] {
    for (int64_t i = 0; i < n; ++i) out[i] = new at::Tensor(tensors[i]->grad());
  });
}

// Drops the gradients, so that the next backward pass writes instead of adding.
char *rvc_grads_to_none(at::Tensor **tensors, int64_t n) {
  return guarded([&] {
    for (int64_t i = 0; i < n; ++i) tensors[i]->mutable_grad() = at::Tensor();
  });
}
}
