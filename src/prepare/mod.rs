//! Recordings to training data, stage by stage, through the cache.
