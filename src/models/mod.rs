//! The networks, one model a file.
