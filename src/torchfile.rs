//! PyTorch files.
