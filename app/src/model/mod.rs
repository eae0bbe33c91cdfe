//! Domain types and validation. Serde only: nothing here knows a database, a protocol or a browser.

mod address;
mod attempt;
mod audit;
mod credential;
mod device;
mod diagnosis;
mod email_state;
mod flash;
mod graph;
mod health;
mod ids;
mod inbox;
mod mail;
mod message;
pub mod pasted;
mod path;
mod people;
mod registration;
mod relay_event;
mod sender_domain;
mod settings;
mod sign_in_settings;
mod time;
mod users;

pub use address::{AddressError, EmailAddress};
pub use attempt::{
    AccountChoice, AttemptKind, AttemptSummary, AttemptView, CheckKind, CheckStatus, CheckView, Outcome, Stage,
};
pub use audit::{AuditAction, AuditGroup, AuditPage, AuditQuery, AuditRow};
pub use credential::{
    CertificateView, CredentialKind, CredentialUses, CredentialsView, FederationView, Superseded, read_secret_list,
};
pub use device::{
    DeviceForm, DeviceKind, DeviceMessage, DeviceRow, DeviceSettings, DeviceState, DeviceView, LogPage, LogPlace,
    OwnProgram, OwnProgramsView, PER_HOUR, PasswordView, ProgramsView, RecipientRule, RelayAddress, RelayLine,
    SenderRule, device_path, login_of,
};
pub use diagnosis::{BEFORE_COMMANDS, Diagnosis, Evidence, FixedBy, Help, Instruction, Remedy};
pub use email_state::{EmailState, Stopped};
pub use flash::{FieldError, Flash, FormName, Notice, Tone, Undo};
pub use graph::{GraphUse, GraphView, SendWay};
pub use health::{CauseRow, HealthOverview, MailCounts, MailHealth, MicrosoftChange, QueueHealth};
pub use ids::{
    AttachmentId, AttemptId, DeliveryId, DeviceId, DraftId, InstitutionId, InvitationListId, MailboxId, RegistrationId,
    SessionId, SigningKeyId, UserId,
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
pub use people::{
    InvitationList, ListedPerson, ListedState, MOST_LISTED, PeopleAction, PeopleOrder, PeoplePage, PeopleQuery,
    PersonRow, PersonState, person_name, read_people,
};
pub use registration::{ClientId, ClientSecret, RegistrationError, SecretExpiry, Tenant, TenantId, portal_page};
pub use relay_event::{RelayEvent, Repair, masked};
pub use sender_domain::{DomainRecord, SenderDomain, Verdict};
pub use settings::{
    EmailConfigForm, EmailConfigView, GuideStep, GuideStepView, MOST_ADDRESSES, NotificationView, OWN_CLOUD, Provider,
    RegistrationView, SETUP_STEP,
};
pub use sign_in_settings::{Newcomers, PasswordRule, SignInSettings, SignInSettingsView, read_domains};
pub use time::{Timestamp, UtcOffset, in_days};
pub use users::{AccountView, InvitationView, MailboxState, MailboxView, Role, UserRow, people};

/// The `state` of a shared consent link, opened by anyone.
pub const SHARED_CONSENT: &str = "consent-for-all";

/// Query parameter of requests that refresh the live part of an open page.
pub const LIVE: &str = "live=1";

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
    AuditAction,
    AuditGroup,
    AttemptKind,
    Stage,
    Outcome,
    CheckKind,
    CheckStatus,
    CredentialKind,
    FolderRole,
    DeliveryState,
    RecipientKind,
    RecipientState,
    Provider,
    GraphUse,
    SendWay,
    PasswordRule,
    Newcomers,
    GuideStep,
    Role,
    DeviceKind,
    SenderRule,
    RecipientRule,
    PersonState,
    PeopleOrder,
    PeopleAction,
    ListedState,
    MailboxState
);
