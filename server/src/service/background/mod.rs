//! Duties that run without a request.

pub(super) mod alerts;
pub(super) mod housekeeping;
