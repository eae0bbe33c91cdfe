//! Stateless markup. All but the route is rendered on the server only.

#[cfg(feature = "ssr")]
mod attempt;
#[cfg(feature = "ssr")]
mod badges;
#[cfg(feature = "ssr")]
mod chart;
#[cfg(feature = "ssr")]
mod fields;
#[cfg(feature = "ssr")]
mod history;
#[cfg(feature = "ssr")]
mod layout;
#[cfg(feature = "ssr")]
mod mail_nav;
#[cfg(feature = "ssr")]
mod notice;
mod route;

#[cfg(feature = "ssr")]
pub use attempt::{AttemptBody, Postmark, day};
#[cfg(feature = "ssr")]
pub use badges::{badge, delivery_badge, state_badge};
#[cfg(feature = "ssr")]
pub use chart::CountChart;
#[cfg(feature = "ssr")]
pub use fields::{ErrorSummary, Field, RadioGroup, Submit, TextInput};
#[cfg(feature = "ssr")]
pub use history::{attempt_lines, history};
#[cfg(feature = "ssr")]
pub use layout::{GuestLayout, Layout, Section, Time, TimeFormat};
#[cfg(feature = "ssr")]
pub use mail_nav::{MailNav, MailTab};
#[cfg(feature = "ssr")]
pub use notice::{Banner, DiagnosisSheet, PlainDiagnosis, Remedies, copyable};
pub use route::{RouteStops, duration};
