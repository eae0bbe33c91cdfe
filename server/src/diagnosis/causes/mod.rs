//! The table of causes and fixes: data rather than code. The blanks in braces are filled in by `Fault::explain`.

mod bounce;
mod graph;
mod imap;
mod registration;
mod sign_in;
mod smtp;

use FixedBy::{Operator, You};
use Remedy::TestAgain;
use app::model::{FixedBy, Help, Instruction, Remedy};

use super::blanks::Blanks;

pub(super) struct Cause {
    pub name: &'static str,
    pub title: &'static str,
    pub summary: &'static str,
    pub administrator_summary: &'static str,
    pub fixed_by: FixedBy,
    pub remedy: Remedy,
    pub steps: &'static [HowTo],
}

pub(super) struct HowTo {
    text: &'static str,
    help: HelpTemplate,
    is_option: bool,
    by_administrator: bool,
}

/// What a step shows with its text, before placeholders are replaced.
enum HelpTemplate {
    None,
    Command(&'static str),
    Value(&'static str),
    Link(&'static str),
}

impl HowTo {
    const fn option(self) -> Self {
        Self { is_option: true, ..self }
    }

    /// For an administrator, where the person tries something first.
    const fn by_administrator(self) -> Self {
        Self { by_administrator: true, ..self }
    }

    /// `None` if a value it shows is unknown.
    pub fn filled(&self, blanks: &Blanks) -> Option<Instruction> {
        let help = match self.help {
            HelpTemplate::None => None,
            HelpTemplate::Command(command) if blanks.suffice(command) => {
                Some(Help::Command(blanks.fill_command(command)))
            }
            HelpTemplate::Value(value) if blanks.suffice(value) => Some(Help::Value(blanks.fill(value))),
            HelpTemplate::Link(address) if blanks.suffice(address) => Some(Help::Link(blanks.fill(address))),
            _ => return None,
        };
        Some(Instruction {
            text: blanks.fill(self.text),
            help,
            is_option: self.is_option,
            by_administrator: self.by_administrator,
        })
    }
}

const fn say(text: &'static str) -> HowTo {
    HowTo { text, help: HelpTemplate::None, is_option: false, by_administrator: false }
}

/// A step with a command of Exchange Online PowerShell.
const fn shell(text: &'static str, command: &'static str) -> HowTo {
    HowTo { text, help: HelpTemplate::Command(command), is_option: false, by_administrator: false }
}

const fn value(text: &'static str, value: &'static str) -> HowTo {
    HowTo { text, help: HelpTemplate::Value(value), is_option: false, by_administrator: false }
}

const fn link(text: &'static str, address: &'static str) -> HowTo {
    HowTo { text, help: HelpTemplate::Link(address), is_option: false, by_administrator: false }
}

/// The list of codes that Exchange Online refuses messages with.
const NDR_LIST: &str =
    "https://learn.microsoft.com/exchange/troubleshoot/email-delivery/ndr/non-delivery-reports-in-exchange-online";

const fn cause(
    name: &'static str,
    title: &'static str,
    summary: &'static str,
    administrator_summary: &'static str,
    fixed_by: FixedBy,
    remedy: Remedy,
    steps: &'static [HowTo],
) -> Cause {
    Cause { name, title, summary, administrator_summary, fixed_by, remedy, steps }
}

/// Titles for people who know nothing of the app and its ways: an administrator reads those of the table.
const FOR_PEOPLE: &[(&str, &str)] = &[
    ("secret_wrong", "Your institution's app can't sign in at Microsoft."),
    ("secret_expired", "Your institution's app can no longer sign in at Microsoft."),
    ("client_unknown", "Microsoft doesn't find your institution's app."),
    ("tenant_unknown", "Microsoft doesn't find your institution."),
    ("tenant_unfit", "Your institution's app isn't set up right yet."),
    ("other_cloud", "Your institution's app isn't set up right yet."),
    ("redirect_uri", "Your institution's app isn't set up right yet."),
    ("issuer_unreachable", "Your institution's app can't sign in at Microsoft."),
    ("federated_credential", "Your institution's app can't sign in at Microsoft."),
    ("client_assertion", "Your institution's app can't sign in at Microsoft."),
    ("certificate_expired", "Your institution's app can no longer sign in at Microsoft."),
    ("credential_forbidden", "Your institution's app may not sign in at Microsoft."),
    ("public_client", "Your institution's app can't sign in at Microsoft."),
    ("single_tenant", "Your institution's app isn't set up right yet."),
    ("ids_swapped", "Your institution's app isn't set up right yet."),
    ("redirect_spa", "Your institution's app isn't set up right yet."),
    ("service_principal", "Your institution's app isn't set up right yet."),
    ("graph_consent", "Your institution's app may not send for you yet."),
    ("graph_denied", "Your institution's app may not send for you."),
    ("graph_no_mailbox", "Microsoft finds no mailbox for your account."),
    ("graph_throttled", "Microsoft is slowing this mailbox down."),
    ("graph_unreachable", "Microsoft can't be reached for sending."),
    ("graph_refused", "Microsoft refused this message."),
    ("exchange_missing", "Your institution has no Exchange Online."),
    ("no_room", "New mail isn't listed for now."),
];

pub(super) fn title_for_people(cause: &Cause) -> &'static str {
    FOR_PEOPLE.iter().find(|(name, _)| *name == cause.name).map_or(cause.title, |(_, title)| title)
}

fn all() -> impl Iterator<Item = &'static Cause> {
    [registration::CAUSES, sign_in::CAUSES, smtp::CAUSES, graph::CAUSES, imap::CAUSES, bounce::CAUSES, OURS]
        .into_iter()
        .flatten()
}

#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    all().map(|cause| cause.name)
}

/// The cause of that name; `unknown` for any other.
pub(super) fn find(name: &str) -> &'static Cause {
    all().find(|cause| cause.name == name).unwrap_or(&UNKNOWN)
}

const PROPAGATION: HowTo = say("Wait until it takes effect (minutes, sometimes an hour), then test again.");

static UNKNOWN: Cause = cause(
    "unknown",
    "The check failed for an unknown reason.",
    "Try again. If it fails again, send the technical details below to support.",
    "Try again. If it fails again, send the technical details below to support.",
    Operator,
    TestAgain,
    &[],
);

static OURS: &[Cause] = &[
    cause(
        "interrupted",
        "The test was interrupted.",
        "The server restarted or took too long. You don't need to sign in again; just test again.",
        "The server restarted or took too long. No one has to sign in again.",
        You,
        TestAgain,
        &[say("Test again.")],
    ),
    cause(
        "no_room",
        "New mail isn't listed: this server's disk is nearly full.",
        "Nothing is lost: it's in your mailbox, and is listed here when there is room.",
        "New mail stays at Microsoft and is listed when there is room.",
        Operator,
        TestAgain,
        &[say("Free space on the database's disk, or use a larger disk. Deleting drafts and files also helps.")],
    ),
    cause(
        "our_bug",
        "Entrepost made a mistake.",
        "This shouldn't happen. Please send the technical details below to support.",
        "This shouldn't happen. Please send the technical details below to support.",
        Operator,
        TestAgain,
        &[],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// What the app's registration, the server and the protocols are called: only an administrator knows these words.
    const SERVER_WORDS: &[&str] = &[
        "Client ID",
        "Client Secret",
        "client secret",
        "Tenant ID",
        "tenant",
        "redirect",
        "credential",
        "certificate",
        "SMTP AUTH",
        "token",
        "scope",
        "issuer",
        "assertion",
        "service principal",
        "OAuth",
        "DNS",
        "TLS",
        "Graph",
    ];

    #[test]
    fn no_person_reads_server_words() {
        for cause in all() {
            let told = format!("{} {}", title_for_people(cause), cause.summary);
            for word in SERVER_WORDS {
                assert!(!told.contains(word), "{}: {told}", cause.name);
            }
        }
        for (name, _) in FOR_PEOPLE {
            assert!(all().any(|cause| cause.name == *name), "{name}");
        }
    }

    #[test]
    fn names_are_unique_and_every_text_is_there() {
        let mut names: Vec<_> = all().map(|cause| cause.name).collect();
        names.sort_unstable();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before);
        for cause in all() {
            assert!(
                cause.title.ends_with('.') && !cause.summary.is_empty() && !cause.administrator_summary.is_empty(),
                "{}",
                cause.name
            );
            assert!(
                cause.fixed_by == FixedBy::Time || cause.name == "our_bug" || !cause.steps.is_empty(),
                "{} says what to do",
                cause.name
            );
        }
    }
}
