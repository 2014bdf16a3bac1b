//! libtorch helpers: guard, device, named parameters, random numbers, fused operations, spectra.
//!
//! Operations here panic as tch's do; callers outside wrap their whole use of a network in one [`guard`].

pub mod activation;
pub mod allocator;
pub mod attention;
pub mod conv;
pub mod fused;
pub mod generator;
mod guard;
pub mod pace;
pub mod params;
pub mod random;
pub mod runtime;
pub mod slices;
pub mod spectral;

pub use guard::guard;
pub use params::Params;
pub use spectral::Spectral;
