//! libtorch helpers: guard, device, named parameters, fused operations, spectra.
