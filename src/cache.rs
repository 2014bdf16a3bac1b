//! Content-addressed stages.
