//! Run record: every metric of a run, once, in order.
