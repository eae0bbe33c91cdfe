//! Background duties.

pub(super) mod alerts;
pub(super) mod housekeeping;
pub(super) mod polling;
