//! The table of causes and fixes: data rather than code. `{address}`, `{sign_in_name}`, `{redirect_uri}` and
//! `{institution}` are filled in.

mod bounce;
mod imap;
mod registration;
mod sign_in;
mod smtp;

use Mender::{Operator, You};
use Remedy::TryAgain;
use app::model::{Mender, Remedy};

/// A cause.
pub(super) struct Cause {
    /// Its stable name.
    pub name: &'static str,
    /// What it means for the person.
    pub title: &'static str,
    /// More, for a user.
    pub summary: &'static str,
    /// More, for an administrator.
    pub administrator_summary: &'static str,
    /// Who mends it.
    pub mender: Mender,
    /// What to press afterwards.
    pub remedy: Remedy,
    /// How, with commands to copy.
    pub steps: &'static [(&'static str, Option<&'static str>)],
}

const fn cause(
    name: &'static str,
    title: &'static str,
    (summary, administrator_summary): (&'static str, &'static str),
    (mender, remedy): (Mender, Remedy),
    steps: &'static [(&'static str, Option<&'static str>)],
) -> Cause {
    Cause { name, title, summary, administrator_summary, mender, remedy, steps }
}

fn all() -> impl Iterator<Item = &'static Cause> {
    [registration::CAUSES, sign_in::CAUSES, smtp::CAUSES, imap::CAUSES, bounce::CAUSES, OURS].into_iter().flatten()
}

/// The cause of that name; `unknown` for any other.
pub(super) fn find(name: &str) -> &'static Cause {
    all().find(|cause| cause.name == name).unwrap_or(&UNKNOWN)
}

const PROPAGATION: (&str, Option<&str>) =
    ("Allow some time for it to take effect (minutes, sometimes an hour), then press Try again.", None);

static UNKNOWN: Cause = cause(
    "unknown",
    "The check failed for a reason that Entrepost does not know.",
    (
        "Try again. If it fails again, give the evidence below to support.",
        "Try again. If it fails again, give the evidence below to support.",
    ),
    (Operator, TryAgain),
    &[],
);

static OURS: &[Cause] = &[
    cause(
        "interrupted",
        "The test was interrupted.",
        (
            "The server was restarted or took too long. Your sign-in is kept; try again.",
            "The server was restarted or took too long. The sign-in is kept.",
        ),
        (You, TryAgain),
        &[("Press Try again.", None)],
    ),
    cause(
        "our_bug",
        "Entrepost made a mistake.",
        (
            "This should not happen. Please give the evidence below to support.",
            "This should not happen. Please give the evidence below to support.",
        ),
        (Operator, TryAgain),
        &[],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

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
                cause.mender == Mender::Time || cause.name == "our_bug" || !cause.steps.is_empty(),
                "{} says what to do",
                cause.name
            );
        }
    }
}
