//! Changes at Microsoft that administrators should know of, from a data file: date, source, and when the source was read.

use app::model::MicrosoftChange;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    date: String,
    title: String,
    text: String,
    source: String,
    as_of: String,
}

pub fn all() -> Vec<MicrosoftChange> {
    let all: Vec<Change> = serde_json::from_str(include_str!("microsoft_changes.json")).unwrap_or_default();
    all.into_iter()
        .map(|Change { date, title, text, source, as_of }| MicrosoftChange { date, title, text, source, as_of })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_file_is_read() {
        assert!(!super::all().is_empty());
    }
}
