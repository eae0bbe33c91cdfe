//! Queries with their values: `execute!(executor, "… $1 … $2"; id, now)?`, and rows as structs or tuples.
//!
//! sqlx derives rows only of types that decode themselves. Ids and names belong to `app`, and optional ones are foreign types.

use app::model::{
    AttachmentId, AttemptId, AttemptKind, AuditAction, CheckKind, CheckStatus, ClientId, CredentialKind, DeliveryId,
    DeliveryState, DeviceId, DeviceKind, DraftId, FolderRole, GraphUse, GuideStep, InstitutionId, InvitationListId,
    ListedState, MailboxId, MailboxState, Newcomers, Outcome, PasswordRule, Provider, RecipientKind, RecipientRule,
    RecipientState, RegistrationId, RelayEvent, Role, SendWay, SenderRule, SessionId, SigningKeyId, Stage, Superseded,
    TenantId, Timestamp, UserId,
};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Decode, Row, Type};
use uuid::Uuid;

use super::{Result, StoreError};
use crate::diagnosis::Fault;

/// A value as both databases store it: text, or a 64-bit integer.
pub(super) trait Value {
    type Sql<'a>
    where
        Self: 'a;
    fn sql(&self) -> Self::Sql<'_>;
}

/// [`sqlx::query`] with values bound in their order.
macro_rules! query {
    ($text:expr $(; $($value:expr),*)?) => {
        sqlx::query($text)$($(.bind($crate::store::sql::Value::sql(&$value)))*)?
    };
}

/// Runs a statement.
macro_rules! execute {
    ($($statement:tt)*) => { $crate::store::sql::changed!($($statement)*).map(|_| ()) };
}

/// Runs a statement, and returns the number of changed rows.
macro_rules! changed {
    ($executor:expr, $($query:tt)*) => {{
        let done = $crate::store::sql::query!($($query)*).execute($executor).await;
        done.map(|done| done.rows_affected()).map_err($crate::store::StoreError::from)
    }};
}

/// Reads all rows; the type of a row is the caller's.
macro_rules! fetch_all {
    ($executor:expr, $($query:tt)*) => {{
        let rows = $crate::store::sql::query!($($query)*).fetch_all($executor).await;
        $crate::store::sql::read_all(rows)
    }};
}

/// Reads the first row, if there is one.
macro_rules! fetch_optional {
    ($executor:expr, $($query:tt)*) => {{
        let row = $crate::store::sql::query!($($query)*).fetch_optional($executor).await;
        $crate::store::sql::read_optional(row)
    }};
}

macro_rules! fetch_one {
    ($executor:expr, $($query:tt)*) => {{
        let row = $crate::store::sql::query!($($query)*).fetch_one($executor).await;
        $crate::store::sql::read_one(row)
    }};
}

/// A statement with a list of rows in place of `{}`, each row's values bound in their order.
macro_rules! bind_rows {
    ($text:expr; $rows:expr, |$row:ident| $first:expr $(, $value:expr)*) => {{
        let columns = 1 $(+ { let _ = stringify!($value); 1 })*;
        let rows: Vec<_> = $rows.collect();
        // The text is a constant of the store, and the list contains only numbers of parameters.
        let mut query = sqlx::query(sqlx::AssertSqlSafe($text.replace("{}", &$crate::store::sql::row_list(rows.len(), columns))));
        for $row in rows {
            query = query.bind($crate::store::sql::Value::sql(&$first))$(.bind($crate::store::sql::Value::sql(&$value)))*;
        }
        query
    }};
}

/// Inserts rows: one statement for each power of two in their number, so that few texts are prepared.
macro_rules! insert_rows {
    ($executor:expr, $text:expr; $rows:expr, |$row:ident| $($values:tt)*) => {{
        let parts = $crate::store::sql::powers_of_two($rows).map(<[_]>::iter);
        $crate::store::sql::execute_parts!($executor, $text; parts, |$row| $($values)*)
    }};
}

/// Runs a statement for each part of a list of rows.
macro_rules! execute_parts {
    ($executor:expr, $text:expr; $parts:expr, |$row:ident| $($values:tt)*) => {{
        let mut executed = Ok(());
        for part in $parts {
            let query = $crate::store::sql::bind_rows!($text; part, |$row| $($values)*);
            if let Err(error) = query.execute($executor).await {
                executed = Err($crate::store::StoreError::from(error));
                break;
            }
        }
        executed
    }};
}

/// Runs a statement that joins a list of rows. The list is filled up with its last row, so that few texts are prepared: the statement
/// must be the same with a row twice.
macro_rules! execute_rows {
    ($executor:expr, $text:expr; $rows:expr, |$row:ident| $($values:tt)*) => {{
        let parts = $rows.chunks($crate::store::sql::MOST_ROWS).map($crate::store::sql::filled_up);
        $crate::store::sql::execute_parts!($executor, $text; parts, |$row| $($values)*)
    }};
}

/// The same, and reads what the statement returns.
macro_rules! fetch_rows {
    ($executor:expr, $text:expr; $rows:expr, |$row:ident| $($values:tt)*) => {{
        let mut fetched = Ok(Vec::new());
        for part in $rows.chunks($crate::store::sql::MOST_ROWS) {
            let rows = $crate::store::sql::filled_up(part);
            let query = $crate::store::sql::bind_rows!($text; rows, |$row| $($values)*);
            match (query.fetch_all($executor).await, &mut fetched) {
                (Ok(more), Ok(all)) => all.extend(more),
                (more, _) => {
                    fetched = more;
                    break;
                }
            }
        }
        $crate::store::sql::read_all(fetched)
    }};
}

/// The columns of a struct: the names of its fields, or the expression behind a field. They are selected and read in this order.
macro_rules! columns {
    ($name:ident: $first:ident $(= $first_column:literal)? $(, $field:ident $(= $column:literal)?)* $(,)?) => {
        impl $crate::store::sql::Columns for $name {
            const COLUMNS: &'static str = concat!(
                $crate::store::sql::columns!(@ $first $($first_column)?)
                $(, ", ", $crate::store::sql::columns!(@ $field $($column)?))*
            );
        }
        impl $crate::store::sql::FromRow for $name {
            fn from_row(row: &mut $crate::store::sql::Cursor<'_>) -> $crate::store::Result<Self> {
                Ok(Self { $first: row.next()? $(, $field: row.next()?)* })
            }
        }
    };
    (@ $field:ident) => { stringify!($field) };
    (@ $field:ident $column:literal) => { $column };
}
pub(super) use {
    bind_rows, changed, columns, execute, execute_parts, execute_rows, fetch_all, fetch_one, fetch_optional,
    fetch_rows, insert_rows, query,
};

/// Rows of one statement, at most; a row has up to thirteen values, and SQLite takes 32,766.
pub(super) const MOST_ROWS: usize = 512;

/// `($1, $2), ($3, $4)`: the parameters of rows.
pub(super) fn row_list(rows: usize, columns: usize) -> String {
    let row = |row: usize| {
        let parameters: Vec<String> = (1..=columns).map(|column| format!("${}", row * columns + column)).collect();
        format!("({})", parameters.join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
}

/// Rows in parts whose sizes are powers of two.
pub(super) fn powers_of_two<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = 1 << rows.len().min(MOST_ROWS).checked_ilog2()?;
        let (part, rest) = rows.split_at(size);
        rows = rest;
        Some(part)
    })
}

/// Rows, the last one repeated up to a power of two.
pub(super) fn filled_up<T>(rows: &[T]) -> impl Iterator<Item = &T> {
    rows.iter().chain(rows.last().into_iter().cycle()).take(rows.len().next_power_of_two())
}

macro_rules! ids {
    ($($name:ident)*) => {$(
        impl Value for $name {
            type Sql<'a> = String;
            fn sql(&self) -> String {
                self.to_string()
            }
        }
        impl Column for $name {
            type Sql = String;
            fn read(text: String) -> Result<Self> {
                let id = text.parse::<Uuid>().map($name);
                id.map_err(|_| StoreError::Value { kind: stringify!($name), value: text })
            }
        }
    )*};
}
ids!(
    DeviceId InvitationListId AttachmentId AttemptId ClientId TenantId DeliveryId DraftId InstitutionId MailboxId RegistrationId SessionId
    SigningKeyId UserId
);

impl Value for Uuid {
    type Sql<'a> = String;
    fn sql(&self) -> String {
        self.to_string()
    }
}

impl Column for Uuid {
    type Sql = String;
    fn read(text: String) -> Result<Self> {
        text.parse().map_err(|_| StoreError::Value { kind: "Uuid", value: text })
    }
}

macro_rules! named {
    ($($name:ty)*) => {$(
        impl Value for $name {
            type Sql<'a> = &'static str;
            fn sql(&self) -> &'static str {
                self.as_str()
            }
        }
        impl Column for $name {
            type Sql = String;
            fn read(text: String) -> Result<Self> {
                Self::parse(&text).ok_or(StoreError::Value { kind: stringify!($name), value: text })
            }
        }
    )*};
}
named!(
    GraphUse SendWay DeviceKind SenderRule RecipientRule PasswordRule Newcomers AuditAction AttemptKind CheckKind CheckStatus CredentialKind DeliveryState FolderRole GuideStep ListedState MailboxState Outcome Provider
    RecipientKind RecipientState Role Stage
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

impl Value for super::Slot {
    type Sql<'a> = &'static str;
    fn sql(&self) -> &'static str {
        self.as_str()
    }
}

impl Value for super::KeyPurpose {
    type Sql<'a> = &'static str;
    fn sql(&self) -> &'static str {
        self.as_str()
    }
}

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

impl Value for RelayEvent {
    type Sql<'a> = String;
    fn sql(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Column for RelayEvent {
    type Sql = String;
    fn read(text: String) -> Result<Self> {
        serde_json::from_str(&text).map_err(|_| StoreError::Value { kind: "RelayEvent", value: text })
    }
}

impl Value for Superseded {
    type Sql<'a> = String;
    fn sql(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Column for Superseded {
    type Sql = String;
    fn read(text: String) -> Result<Self> {
        serde_json::from_str(&text).map_err(|_| StoreError::Value { kind: "Superseded", value: text })
    }
}

macro_rules! text {
    ($($name:ty)*) => {$(
        impl Value for $name {
            type Sql<'a> = &'a str;
            fn sql(&self) -> &str {
                self
            }
        }
    )*};
}
text!(String str);

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

/// The columns of a struct, and the rest of the statement.
pub(super) fn select<T: Columns>(rest: &'static str) -> AssertSqlSafe<String> {
    // Both parts are constants of the store.
    AssertSqlSafe(format!("SELECT {} {rest}", T::COLUMNS))
}

/// A statement that changes rows and returns them.
pub(super) fn returning<T: Columns>(statement: &'static str) -> AssertSqlSafe<String> {
    // Both parts are constants of the store.
    AssertSqlSafe(format!("{statement} RETURNING {}", T::COLUMNS))
}

/// A value as it is read.
pub(super) trait Column: Sized {
    type Sql: for<'r> Decode<'r, sqlx::Any> + Type<sqlx::Any>;
    fn read(value: Self::Sql) -> Result<Self>;
}

macro_rules! column {
    ($name:ty: $sql:ty, $read:expr) => {
        impl Column for $name {
            type Sql = $sql;
            fn read(value: $sql) -> Result<Self> {
                let read: fn($sql) -> Self = $read;
                Ok(read(value))
            }
        }
    };
}
column!(i64: i64, |value| value);
column!(bool: i64, |value| value != 0);
column!(Timestamp: i64, Timestamp);
column!(String: String, |value| value);
// One per line.
column!(Vec<String>: String, |value| value.lines().map(ToOwned::to_owned).collect());
// One that cannot be read is shown as unknown.
column!(Fault: String, |value| Fault::from_json(&value));

macro_rules! unsigned {
    ($($name:ty),*) => {$(
        impl Column for $name {
            type Sql = i64;
            fn read(value: i64) -> Result<Self> {
                value.try_into().map_err(|_| StoreError::Value { kind: stringify!($name), value: value.to_string() })
            }
        }
    )*};
}
unsigned!(u32, u64);

impl<T: Column> Column for Option<T>
where
    Option<T::Sql>: for<'r> Decode<'r, sqlx::Any> + Type<sqlx::Any>,
{
    type Sql = Option<T::Sql>;
    fn read(value: Option<T::Sql>) -> Result<Self> {
        value.map(T::read).transpose()
    }
}

/// Reads the columns of a row in their order.
pub(super) struct Cursor<'r> {
    row: &'r AnyRow,
    at: usize,
}

impl Cursor<'_> {
    pub(super) fn next<T: FromRow>(&mut self) -> Result<T> {
        T::from_row(self)
    }
}

/// A struct with named columns.
pub(super) trait Columns: FromRow {
    /// The columns of a SELECT, in the order of reading.
    const COLUMNS: &'static str;
}

pub(super) trait FromRow: Sized {
    fn from_row(row: &mut Cursor<'_>) -> Result<Self>;
}

impl<T: Column> FromRow for T {
    fn from_row(row: &mut Cursor<'_>) -> Result<Self> {
        let value = row.row.try_get(row.at)?;
        row.at += 1;
        T::read(value)
    }
}

macro_rules! tuple {
    ($($name:ident),*) => {
        impl<$($name: FromRow),*> FromRow for ($($name,)*) {
            fn from_row(row: &mut Cursor<'_>) -> Result<Self> {
                Ok(($(row.next::<$name>()?,)*))
            }
        }
    };
}
tuple!(A, B);
tuple!(A, B, C);
tuple!(A, B, C, D);
tuple!(A, B, C, D, E);
tuple!(A, B, C, D, E, F);

pub(super) fn read_all<T: FromRow>(rows: sqlx::Result<Vec<AnyRow>>) -> Result<Vec<T>> {
    rows?.iter().map(|row| T::from_row(&mut Cursor { row, at: 0 })).collect()
}

pub(super) fn read_optional<T: FromRow>(row: sqlx::Result<Option<AnyRow>>) -> Result<Option<T>> {
    row?.map(|row| T::from_row(&mut Cursor { row: &row, at: 0 })).transpose()
}

pub(super) fn read_one<T: FromRow>(row: sqlx::Result<AnyRow>) -> Result<T> {
    T::from_row(&mut Cursor { row: &row?, at: 0 })
}
