//! Programs and devices: what administrators do with them, and what the relay asks.

mod admin;
mod log;
mod notices;
mod own;
mod submit;

pub use log::{Origin, RelayLog};
pub use submit::{Accepted, NotTaken, RelayBound, Submission, Submitter};
