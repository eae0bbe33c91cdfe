//! Queries with their values: `sql!("… $1 … $2"; id, now)`.

use app::model::{
    AttachmentId, AttemptId, AttemptKind, CheckKind, CheckStatus, ClientId, DeliveryId, DeliveryState, DraftId,
    FolderRole, GuideStep, InstitutionId, MailboxId, MailboxState, Outcome, Provider, RecipientKind, RecipientState,
    RegistrationId, Role, SessionId, Stage, TenantId, Timestamp, UserId,
};
use uuid::Uuid;

use crate::diagnosis::Fault;

/// A value as both databases store it: text, or a 64-bit integer.
pub(super) trait Value {
    type Sql<'a>
    where
        Self: 'a;
    fn sql(&self) -> Self::Sql<'_>;
}

/// [`sqlx::query`] with values bound in their order.
macro_rules! sql {
    ($text:expr; $($value:expr),*) => {
        sqlx::query($text)$(.bind($crate::store::sql::Value::sql(&$value)))*
    };
}
pub(super) use sql;

macro_rules! text {
    ($($name:ty),*) => {$(
        impl Value for $name {
            type Sql<'a> = String;
            fn sql(&self) -> String {
                self.to_string()
            }
        }
    )*};
}
text!(
    AttachmentId,
    AttemptId,
    ClientId,
    TenantId,
    DeliveryId,
    DraftId,
    InstitutionId,
    MailboxId,
    RegistrationId,
    SessionId,
    UserId,
    Uuid
);

macro_rules! named {
    ($($name:ty),*) => {$(
        impl Value for $name {
            type Sql<'a> = &'static str;
            fn sql(&self) -> &'static str {
                self.as_str()
            }
        }
    )*};
}
named!(
    super::Slot,
    AttemptKind,
    CheckKind,
    CheckStatus,
    DeliveryState,
    FolderRole,
    GuideStep,
    MailboxState,
    Outcome,
    Provider,
    RecipientKind,
    RecipientState,
    Role,
    Stage
);

macro_rules! integer {
    ($($name:ty),*) => {$(
        impl Value for $name {
            type Sql<'a> = i64;
            fn sql(&self) -> i64 {
                i64::from(*self)
            }
        }
    )*};
}
integer!(i64, u32, bool);

impl Value for Timestamp {
    type Sql<'a> = i64;
    fn sql(&self) -> i64 {
        self.0
    }
}

impl Value for Fault {
    type Sql<'a> = String;
    fn sql(&self) -> String {
        self.to_json()
    }
}

impl Value for String {
    type Sql<'a> = &'a str;
    fn sql(&self) -> &str {
        self
    }
}

impl Value for str {
    type Sql<'a> = &'a str;
    fn sql(&self) -> &str {
        self
    }
}

impl<T: Value + ?Sized> Value for &T {
    type Sql<'a>
        = T::Sql<'a>
    where
        Self: 'a;
    fn sql(&self) -> T::Sql<'_> {
        (**self).sql()
    }
}

impl<T: Value> Value for Option<T> {
    type Sql<'a>
        = Option<T::Sql<'a>>
    where
        Self: 'a;
    fn sql(&self) -> Option<T::Sql<'_>> {
        self.as_ref().map(Value::sql)
    }
}
