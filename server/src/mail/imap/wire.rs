//! IMAP syntax: folder names and roles, quoted strings, sequence sets.

use app::model::FolderRole;
use async_imap::imap_proto::NameAttribute;
use base64::prelude::{BASE64_STANDARD_NO_PAD, Engine};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    pub name: String,
    pub role: FolderRole,
    pub selectable: bool,
}

/// Role of a folder: from its special-use attribute (RFC 6154; then the flag is set), or from its name.
pub(super) fn role(name: &str, attributes: &[NameAttribute<'_>]) -> (FolderRole, bool) {
    if name.eq_ignore_ascii_case("INBOX") {
        return (FolderRole::Inbox, true);
    }
    let told = attributes.iter().find_map(|attribute| match attribute {
        NameAttribute::Sent => Some(FolderRole::Sent),
        NameAttribute::Drafts => Some(FolderRole::Drafts),
        NameAttribute::Junk => Some(FolderRole::Junk),
        NameAttribute::Trash => Some(FolderRole::Trash),
        NameAttribute::Archive => Some(FolderRole::Archive),
        // Without a backslash the library treats it as an extension; Exchange has written it so.
        NameAttribute::Extension(word) => FolderRole::parse(&word.trim_start_matches('\\').to_lowercase()),
        _ => None,
    });
    if let Some(told) = told {
        return (told, true);
    }
    (usual_role(name), false)
}

/// The role that a folder's name implies, in the languages of Outlook.
fn usual_role(name: &str) -> FolderRole {
    let name = readable(name).to_lowercase();
    // Some servers keep every folder below INBOX.
    let name = ["inbox.", "inbox/"].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(&name);
    let known = super::folder_names::NAMES.iter().find(|(_, names)| names.contains(&name));
    known.map_or(FolderRole::Other, |(role, _)| *role)
}

/// A readable name: IMAP encodes other letters than ASCII in modified UTF-7 (RFC 3501, 5.1.3).
pub fn readable(name: &str) -> String {
    let mut read = String::new();
    let mut rest = name;
    while let Some((before, after)) = rest.split_once('&') {
        read.push_str(before);
        let Some((code, next)) = after.split_once('-') else {
            read.push('&');
            rest = after;
            continue;
        };
        let decoded = BASE64_STANDARD_NO_PAD.decode(code.replace(',', "/")).unwrap_or_default();
        let units: Vec<u16> = decoded.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
        match String::from_utf16(&units) {
            _ if code.is_empty() => read.push('&'),
            Ok(text) if !text.is_empty() => read.push_str(&text),
            // Undecodable text stays as it is.
            _ => read.extend(["&", code, "-"]),
        }
        rest = next;
    }
    read + rest
}

pub(super) fn quoted(text: &str) -> String {
    let clean: String = text.chars().filter(|c| !c.is_control()).collect();
    format!("\"{}\"", clean.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A sequence set with ranges: single numbers could exceed the server's line length.
pub(super) fn set_of(uids: &[u32]) -> String {
    let mut sorted = uids.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for uid in sorted {
        match ranges.last_mut() {
            Some((_, end)) if *end + 1 == uid => *end = uid,
            _ => ranges.push((uid, uid)),
        }
    }
    let written = ranges.iter().map(|(from, to)| if from == to { from.to_string() } else { format!("{from}:{to}") });
    written.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_short_and_nothing_ends_a_quoted_text() {
        assert_eq!(set_of(&[5, 3, 4, 9, 9, 1]), "1,3:5,9");
        assert_eq!(quoted("a\"b\\c\r\nA1 LOGOUT"), "\"a\\\"b\\\\cA1 LOGOUT\"");
    }

    #[test]
    fn folder_names_are_read_and_known() {
        assert_eq!(readable("Entw&APw-rfe"), "Entwürfe");
        assert_eq!(readable("R&-D"), "R&D");
        assert_eq!(readable("&U,BTFw-"), "台北");
        for odd in ["&", "A&B", "&A-", "&!!-x"] {
            assert_eq!(readable(odd), odd);
        }
        assert_eq!(role("Gesendet", &[NameAttribute::Sent]), (FolderRole::Sent, true));
        assert_eq!(role("Deleted Items", &[]), (FolderRole::Trash, false));
        for (name, known) in [
            ("Gel&APY-schte Elemente", FolderRole::Trash),
            ("Gesendete Elemente", FolderRole::Sent),
            ("&AMk-l&AOk-ments supprim&AOk-s", FolderRole::Trash),
            ("INBOX.Papierkorb", FolderRole::Trash),
            ("&UkqWZG4IMH8wojCkMMYw4A-", FolderRole::Trash),
            ("Elementy usuni&ARk-te", FolderRole::Trash),
        ] {
            assert_eq!(role(name, &[]).0, known, "{}", readable(name));
        }
        assert_eq!(role("Projects", &[NameAttribute::Marked]), (FolderRole::Other, false));
    }
}
