//! Changes at Microsoft that administrators should know of, from a data file: date, source, and when the source was read.

use app::model::{CredentialKind, MicrosoftChange};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    date: String,
    title: String,
    text: String,
    source: String,
    as_of: String,
    /// The credential that it concerns; absent: any institution.
    credential: Option<CredentialKind>,
}

fn all() -> Vec<Change> {
    serde_json::from_str(include_str!("microsoft_changes.json")).unwrap_or_default()
}

/// The changes that concern an institution with Exchange Online and this credential; none without a registration.
pub fn of(used: Option<CredentialKind>) -> impl Iterator<Item = MicrosoftChange> {
    let concerns = move |change: &Change| used.is_some() && (change.credential.is_none() || change.credential == used);
    let told = |Change { date, title, text, source, as_of, .. }| MicrosoftChange { date, title, text, source, as_of };
    all().into_iter().filter(concerns).map(told)
}

#[cfg(test)]
mod tests {
    use app::model::CredentialKind;

    #[test]
    fn the_file_is_read() {
        assert!(!super::all().is_empty());
        assert_eq!(super::of(None).count(), 0, "without Exchange Online nothing concerns them");
        assert!(super::of(Some(CredentialKind::Secret)).count() >= 3);
    }
}
