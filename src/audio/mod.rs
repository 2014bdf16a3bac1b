//! Sound: load, resample, filter, slice.
