//! f0 and content features.
