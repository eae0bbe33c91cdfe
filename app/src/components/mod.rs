//! Markup without state: shared by pages (server) and islands (server and browser).

mod attempt;
#[cfg(feature = "ssr")]
mod fields;
#[cfg(feature = "ssr")]
mod layout;
mod notice;

pub use attempt::{AttemptBody, Postmark, RouteStops, duration};
#[cfg(feature = "ssr")]
pub use fields::{Choice, Field, ErrorSummary, Submit, TextInput};
#[cfg(feature = "ssr")]
pub use layout::{Entrance, Layout, Section, Time};
pub use notice::{Banner, DiagnosisSheet};
