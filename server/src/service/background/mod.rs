//! Background duties.

pub(super) mod alerts;
pub(super) mod housekeeping;
