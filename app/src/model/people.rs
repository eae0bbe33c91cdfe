//! The list of people: search, filters, order, pages; and lists of people to invite.

use serde::{Deserialize, Serialize};

use super::{InvitationListId, Role, Timestamp, UserId};

/// The state of a person's own mailboxes: of several, the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum PersonState {
    NotConnected,
    Connected,
    Blocked,
    NeedsReconnect,
    /// The account is disabled.
    Disabled,
    /// Microsoft says that the account ended; no administrator has confirmed it yet.
    Left,
}

impl PersonState {
    /// In the order of the filters. The store counts on the position.
    pub const ALL: [Self; 6] =
        [Self::NotConnected, Self::Connected, Self::Blocked, Self::NeedsReconnect, Self::Disabled, Self::Left];

    pub fn label(self) -> &'static str {
        match self {
            Self::NotConnected => "Not connected",
            Self::Connected => "Connected",
            Self::Blocked => "A check fails",
            Self::NeedsReconnect => "Must sign in again",
            Self::Disabled => "Disabled",
            Self::Left => "Has left?",
        }
    }
}

#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, strum::EnumString, strum::IntoStaticStr,
)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum PeopleOrder {
    #[default]
    Address,
    Name,
    /// Those who never signed in, or not for the longest time, first.
    LastSignIn,
}

impl PeopleOrder {
    pub const ALL: [Self; 3] = [Self::Address, Self::Name, Self::LastSignIn];

    pub fn label(self) -> &'static str {
        match self {
            Self::Address => "Address",
            Self::Name => "Name",
            Self::LastSignIn => "Longest without sign-in",
        }
    }
}

/// What of the list is shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeopleQuery {
    /// Part of a name or address.
    pub search: String,
    pub state: Option<PersonState>,
    /// A cause of a mailbox's problem.
    pub cause: Option<String>,
    pub order: PeopleOrder,
    /// The last person of the page before.
    pub after: Option<UserId>,
}

impl PeopleQuery {
    /// The query of a URL, or of a form that returns to the list. What cannot be read is left out.
    pub fn parse(get: impl Fn(&str) -> Option<String>) -> Self {
        // PostgreSQL stores no NUL.
        let search = get("q").unwrap_or_default().replace(char::is_control, " ");
        let search: String = search.trim().chars().take(100).collect();
        let cause = get("cause").filter(|cause| {
            !cause.is_empty() && cause.len() < 60 && cause.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        });
        Self {
            search,
            state: get("state").and_then(|text| PersonState::parse(&text)),
            cause,
            order: get("order").and_then(|text| PeopleOrder::parse(&text)).unwrap_or_default(),
            after: get("after").and_then(|text| text.parse().ok()),
        }
    }

    /// The address of this view.
    pub fn path(&self) -> String {
        let order = (self.order != PeopleOrder::default()).then(|| self.order.as_str().to_owned());
        let parts = [
            ("q", Some(self.search.clone()).filter(|text| !text.is_empty())),
            ("state", self.state.map(|state| state.as_str().to_owned())),
            ("cause", self.cause.clone()),
            ("order", order),
            ("after", self.after.map(|id| id.to_string())),
        ];
        let parts: Vec<String> =
            parts.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", super::escaped(&value?)))).collect();
        let question = if parts.is_empty() { "" } else { "?" };
        format!("{}{question}{}", super::USERS_PATH, parts.join("&"))
    }
}

/// One line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonRow {
    pub id: UserId,
    pub address: String,
    pub name: String,
    pub role: Role,
    pub has_password: bool,
    pub state: PersonState,
    /// Why a mailbox does not work, in one sentence.
    pub problem: Option<String>,
    /// Expiry of a pending link.
    pub invited_until: Option<Timestamp>,
    /// The day of the last sign-in.
    pub last_sign_in_at: Option<Timestamp>,
    /// Our last email to them was not delivered.
    pub undelivered: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeoplePage {
    /// People in each state, whatever the search.
    pub counts: Vec<(PersonState, i64)>,
    pub rows: Vec<PersonRow>,
    pub more: bool,
    /// Of those who are not connected, how many were not reminded within the last day.
    pub to_remind: i64,
    /// Lists of people that are being invited.
    pub inviting: Vec<InvitationListId>,
}

impl PeoplePage {
    pub fn count(&self, state: PersonState) -> i64 {
        self.counts.iter().find(|(known, _)| *known == state).map_or(0, |(_, count)| *count)
    }

    pub fn all(&self) -> i64 {
        self.counts.iter().map(|(_, count)| count).sum()
    }
}

/// What an administrator does to several people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum PeopleAction {
    Remind,
    NewLink,
    Disable,
    Disconnect,
    /// Everybody who is not connected.
    RemindAll,
}

/// What becomes of a line of a pasted list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum ListedState {
    New,
    /// Has an account.
    Known,
    Repeated,
    NotAnAddress,
    Invited,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedPerson {
    pub line: String,
    pub name: String,
    pub address: String,
    pub role: Role,
    pub state: ListedState,
}

/// A list of people to invite: what was pasted, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvitationList {
    pub id: InvitationListId,
    pub confirmed_at: Option<Timestamp>,
    pub counts: Vec<(ListedState, i64)>,
    /// How many of the new people would be administrators.
    pub administrators: i64,
    /// Lines that are not invited, and some of the others.
    pub rows: Vec<ListedPerson>,
    /// Who the emails come from; `None`: none can be sent.
    pub from: Option<String>,
    /// Everyone signs in with Microsoft, so what is downloaded holds no links.
    pub without_links: bool,
    pub messages_per_minute: i64,
    /// Emails of this list that wait, arrived, failed.
    pub waiting: i64,
    pub sent: i64,
    pub failed: i64,
}

impl InvitationList {
    pub fn count(&self, state: ListedState) -> i64 {
        self.counts.iter().find(|(known, _)| *known == state).map_or(0, |(_, count)| *count)
    }
}

/// Most people of one list.
pub const MOST_LISTED: usize = 10_000;

/// Reads a pasted list, or a CSV file: one person a line, as an address, `Name <address>`, or name, address and role in any order,
/// separated by commas, semicolons or tabs. Under a line of headings only known columns count. `role`: of lines without one.
pub fn read_people(text: &str, role: Role) -> Vec<ListedPerson> {
    let mut seen = std::collections::HashMap::new();
    let mut people: Vec<ListedPerson> = Vec::new();
    let plain = || text.lines().map(trimmed).filter(|line| !line.is_empty());
    let columns = plain().next().and_then(columns);
    let all = match &columns {
        Some(_) => plain().skip(1).map(ToOwned::to_owned).collect(),
        None => lines(text),
    };
    for line in all {
        let mut person = match &columns {
            Some(columns) => read_row(&line, columns, role),
            None => read_line(&line, role),
        };
        if person.state == ListedState::NotAnAddress && is_heading(&line) {
            continue;
        }
        if person.state == ListedState::New {
            let first = *seen.entry(person.address.to_lowercase()).or_insert(people.len());
            if let Some(first) = people.get_mut(first) {
                person.state = ListedState::Repeated;
                // Where one line has only the address, the other's name counts.
                if first.name.is_empty() {
                    first.name.clone_from(&person.name);
                }
            }
        }
        people.push(person);
        // One more, so that it is seen.
        if people.len() > MOST_LISTED {
            break;
        }
    }
    people
}

fn trimmed(line: &str) -> &str {
    line.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}')
}

/// What a column of a table holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    Address,
    SignInName,
    Name,
    FirstName,
    LastName,
    Role,
    Other,
}

/// The columns that a line of headings names: one of them is an address, and no cell is.
fn columns(line: &str) -> Option<Vec<Column>> {
    let cells = cells(line);
    let column = |cell: &String| match cell.to_lowercase().as_str() {
        "email"
        | "e-mail"
        | "mail"
        | "email address"
        | "e-mail address"
        | "emailaddress"
        | "address"
        | "primary smtp address"
        | "primarysmtpaddress" => Column::Address,
        "userprincipalname" | "user principal name" | "user name" | "username" => Column::SignInName,
        "name" | "full name" | "fullname" | "display name" | "displayname" => Column::Name,
        "first name" | "firstname" | "given name" | "givenname" => Column::FirstName,
        "last name" | "lastname" | "surname" => Column::LastName,
        "role" => Column::Role,
        _ => Column::Other,
    };
    let columns: Vec<Column> = cells.iter().map(column).collect();
    let has_address = columns.iter().any(|column| matches!(column, Column::Address | Column::SignInName));
    (cells.len() > 1 && has_address && !cells.iter().any(|cell| cell.contains('@'))).then_some(columns)
}

/// A line below headings.
fn read_row(line: &str, columns: &[Column], role: Role) -> ListedPerson {
    let cells = cells(line);
    let of = |wanted: Column| {
        let found = columns.iter().zip(&cells).filter(move |(column, _)| **column == wanted);
        found.map(|(_, cell)| cell.as_str()).find(|cell| !cell.is_empty()).unwrap_or_default()
    };
    let (mut person, named) = (read_line(of(Column::Address), role), of(Column::Name));
    if person.state == ListedState::NotAnAddress {
        person = read_line(of(Column::SignInName), role);
    }
    let parts = if named.is_empty() { [of(Column::FirstName), of(Column::LastName)] } else { [named, ""] };
    let name = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
    ListedPerson {
        line: shown(line),
        name: if name.is_empty() { person.name } else { person_name(&name) },
        role: role_named(of(Column::Role)).unwrap_or(role),
        ..person
    }
}

/// A line as the page shows it.
fn shown(line: &str) -> String {
    line.replace(char::is_control, " ").chars().take(300).collect()
}

/// The lines, and the addresses of lines that hold several and nothing else.
fn lines(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    for line in text.lines() {
        let line = trimmed(line);
        if line.is_empty() {
            continue;
        }
        let parts = cells(line);
        let given: Vec<&String> = parts.iter().filter(|part| !part.is_empty()).collect();
        // A name with two addresses is one person.
        if given.len() > 1 && given.iter().all(|part| part.contains('@')) {
            all.extend(parts.into_iter().filter(|part| !part.is_empty()));
        } else {
            all.push(line.to_owned());
        }
    }
    all
}

/// The cells of a line of a table. Quotes hold separators (RFC 4180), and stay where they stand in a name.
fn cells(line: &str) -> Vec<String> {
    let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' | ';' | '\t' if !quoted => cells.push(std::mem::take(&mut cell)),
            c => cell.push(c),
        }
    }
    cells.push(cell);
    cells.into_iter().map(|cell| cell.trim().to_owned()).collect()
}

/// Names of columns, as directories and spreadsheets write them.
const HEADINGS: [&str; 18] = [
    "email",
    "e-mail",
    "mail",
    "email address",
    "e-mail address",
    "address",
    "primary smtp address",
    "name",
    "full name",
    "display name",
    "displayname",
    "first name",
    "given name",
    "last name",
    "surname",
    "role",
    "userprincipalname",
    "user principal name",
];

fn is_heading(line: &str) -> bool {
    let cells = cells(line);
    cells.iter().all(|cell| cell.is_empty() || HEADINGS.contains(&cell.to_lowercase().as_str()))
}

fn read_line(line: &str, role: Role) -> ListedPerson {
    let (mut name, mut address, mut given) = (Vec::new(), None, None);
    for cell in cells(line) {
        // `Name <address>`.
        let (before, inner) = match cell.split_once('<') {
            Some((before, rest)) => (before.trim().to_owned(), rest.trim_end_matches('>').trim().to_owned()),
            None => (String::new(), cell.clone()),
        };
        match (super::EmailAddress::parse(&inner).ok(), role_named(&cell)) {
            (Some(found), _) => {
                // Of a sign-in name and an address, directories have the address last or outside onmicrosoft.com.
                let found = found.to_string();
                if !found.to_lowercase().ends_with(".onmicrosoft.com") || address.is_none() {
                    address = Some(found);
                }
                name.push(before);
            }
            (None, Some(role)) if given.is_none() => given = Some(role),
            (None, _) => name.push(cell),
        }
    }
    let name = name.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
    let state = if address.is_some() { ListedState::New } else { ListedState::NotAnAddress };
    ListedPerson {
        line: shown(line),
        name: person_name(&name),
        address: address.unwrap_or_default(),
        role: given.unwrap_or(role),
        state,
    }
}

/// A person's name as it is stored.
pub fn person_name(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control()).take(100).collect()
}

fn role_named(text: &str) -> Option<Role> {
    match text.to_lowercase().as_str() {
        "administrator" | "admin" => Some(Role::Administrator),
        "user" => Some(Role::User),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_people_paste_them() {
        let read = |text: &str| -> Vec<(String, String, Role)> {
            let people = read_people(text, Role::User);
            people
                .into_iter()
                .filter(|person| person.state == ListedState::New)
                .map(|person| (person.name, person.address, person.role))
                .collect()
        };
        let ann = |name: &str| (name.to_owned(), "ann@school.example".to_owned(), Role::User);
        for text in [
            "ann@school.example",
            "\u{feff}Email\r\nann@school.example\r\n",
            "  ann@school.example ;",
            "ann@school.example\nANN@school.example",
        ] {
            assert_eq!(read(text), [ann("")], "{text:?}");
        }
        for text in [
            "Ann Brook <ann@school.example>",
            "name,email,role\n\"Ann Brook\",ann@school.example,user",
            "Ann;Brook;ann@school.example",
            "ann@school.example\tAnn Brook",
        ] {
            assert_eq!(read(text), [ann("Ann Brook")], "{text:?}");
        }
        assert_eq!(read("\"Brook, Ann\" <ann@school.example>"), [ann("Brook, Ann")]);
        assert_eq!(read("ann@school.example, bob@school.example; cy@school.example").len(), 3);
        assert_eq!(read("Ann <ann@school.example>, Bob <bob@school.example>").len(), 2);
        assert_eq!(read("ann@school.example,Admin")[0].2, Role::Administrator);
        for text in [
            "displayName,userPrincipalName,mail\nAnn Brook,ann@school.onmicrosoft.com,ann@school.example",
            "Ann Brook;ann@school.example;ann@school.onmicrosoft.com",
        ] {
            assert_eq!(read(text), [ann("Ann Brook")], "{text:?}");
        }
        assert_eq!(
            read("ann@school.example\nAnn Brook,ANN@school.example"),
            [ann("Ann Brook")],
            "the name of the other line"
        );
        // Under headings a column that is not known is nobody's name or role.
        for text in [
            "displayName,department,userPrincipalName\nAnn Brook,Admin,ann@school.example",
            "Surname;First name;Room;Email;Role\nBrook;Ann;Room 3;ann@school.example;user",
            "mail,userPrincipalName,name\n,ann@school.example,Ann Brook",
            "userPrincipalName,mail,name,office\nann@school.onmicrosoft.com,ann@school.example,Ann Brook,admin",
        ] {
            assert_eq!(read(text), [ann("Ann Brook")], "{text:?}");
        }
        assert_eq!(read("name,role,email\nAnn,Administrator,ann@school.example")[0].2, Role::Administrator);
        assert_eq!(read_people("name,email\nAnn,nothing", Role::User)[0].state, ListedState::NotAnAddress);
        for no_heading in ["not an address", "first name of Ann", "mail me"] {
            assert_eq!(read_people(no_heading, Role::User).len(), 1, "{no_heading}");
        }
        let states: Vec<ListedState> =
            read_people("a@x.example\nnobody\nA@X.example\n\n", Role::User).iter().map(|person| person.state).collect();
        assert_eq!(states, [ListedState::New, ListedState::NotAnAddress, ListedState::Repeated]);
    }
}
