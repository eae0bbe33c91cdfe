//! Concurrency helpers that several layers use.

pub mod backoff;
pub mod keyed_lock;
pub mod lease;
pub mod slots;
pub mod window_counters;
