//! Domain types and validation. Serde only: nothing here knows a database, a protocol or a browser.

mod address;
mod attempt;
mod diagnosis;
mod flash;
mod ids;
mod inbox;
mod mail;
mod message;
pub mod pasted;
mod path;
mod registration;
mod settings;
mod users;

pub use address::{AddressError, EmailAddress};
pub use attempt::{
    AttemptKind, AttemptSummary, AttemptView, CheckKind, CheckStatus, CheckView, Choice, Outcome, Stage,
};
pub use diagnosis::{BEFORE_COMMANDS, Diagnosis, Evidence, FixedBy, Help, Remedy, Step};
pub use flash::{FieldError, Flash, FormName, Notice, Tone, Undo};
pub use ids::{
    AttachmentId, AttemptId, DeliveryId, DraftId, InstitutionId, MailboxId, RegistrationId, SessionId, UserId,
};
pub use inbox::{
    FolderRole, FolderView, HeaderView, InboxQuery, InboxView, MailAction, MessageRef, ReplyKind, SEARCHED_HEADERS,
    SEARCHED_TEXTS, escaped,
};
pub use mail::{
    AttachmentView, ComposeForm, ComposeView, DeliveryState, DeliveryView, DraftView, FormVersion, RecipientKind,
    RecipientState, RecipientView, Resubmission, SentMessageView, size_in_words,
};
pub use message::{
    BodyView, EventTime, Invitation, InvitationKind, MessageView, NestedView, PartView, Protection, TextPiece,
};
pub use path::*;
pub use registration::{ClientId, ClientSecret, RegistrationError, SecretExpiry, Tenant, TenantId};
pub use settings::{
    EmailConfigForm, EmailConfigView, GuideStep, GuideStepView, NotificationView, Provider, RegistrationView,
};
pub use users::{AccountView, InvitationView, MailboxState, MailboxView, Role, UserRow, people};

/// The `state` of a shared consent link: the person who opens it may be a stranger.
pub const SHARED_CONSENT: &str = "consent-for-all";

/// Query parameter of requests that refresh the live part of an open page.
pub const LIVE: &str = "live=1";

/// A moment, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The moment `milliseconds` later (earlier, if negative).
    pub fn plus_ms(self, milliseconds: i64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }
    /// Milliseconds from `earlier` to this moment.
    pub fn since_ms(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
    /// `2026-11-26T07:15:04Z`, for `<time>` and scripts.
    pub fn iso(self) -> String {
        let format = time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
        time::OffsetDateTime::from_unix_timestamp(self.0.div_euclid(1000))
            .ok()
            .and_then(|at| at.format(format).ok())
            .unwrap_or_default()
    }
    /// The time in words, in a zone or in UTC, without seconds: `26 November 2026, 08:15`, `26 November 2026, 07:15 UTC`.
    pub fn text(self, zone: Option<UtcOffset>) -> String {
        let words = time::macros::format_description!("[day padding:none] [month repr:long] [year], [hour]:[minute]");
        let minutes = zone.map_or(0, |zone| i64::from(zone.0));
        let text = time::OffsetDateTime::from_unix_timestamp(self.0.div_euclid(1000) + minutes * 60)
            .ok()
            .and_then(|at| at.format(words).ok());
        match (text, zone) {
            (Some(text), None) => format!("{text} UTC"),
            (text, _) => text.unwrap_or_default(),
        }
    }
    /// The time in words, in UTC and with seconds: `26 November 2026, 07:15:04 UTC`. Empty beyond the year 9999.
    pub fn utc_text(self) -> String {
        let words = time::macros::format_description!(
            "[day padding:none] [month repr:long] [year], [hour]:[minute]:[second] UTC"
        );
        time::OffsetDateTime::from_unix_timestamp(self.0.div_euclid(1000))
            .ok()
            .and_then(|at| at.format(words).ok())
            .unwrap_or_default()
    }
}

/// Minutes a zone is ahead of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UtcOffset(i16);

impl UtcOffset {
    /// Zones are between UTC−12 and UTC+14.
    pub fn parse(minutes: &str) -> Option<Self> {
        minutes.parse().ok().filter(|minutes| (-12 * 60..=14 * 60).contains(minutes)).map(Self)
    }
}

/// `today`, `in 1 day`, `in 12 days`
pub fn in_days(days: i64) -> String {
    match days {
        ..=0 => "today".to_owned(),
        1 => "in 1 day".to_owned(),
        _ => format!("in {days} days"),
    }
}

/// Gives enums their names in the store, in forms and in markup.
macro_rules! named {
    ($($name:ty),*) => {$(
        impl $name {
            pub fn as_str(self) -> &'static str {
                self.into()
            }

            pub fn parse(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        }
    )*};
}
named!(
    AttemptKind,
    Stage,
    Outcome,
    CheckKind,
    CheckStatus,
    FolderRole,
    DeliveryState,
    RecipientKind,
    RecipientState,
    Provider,
    GuideStep,
    Role,
    MailboxState
);
