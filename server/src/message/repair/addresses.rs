//! Addresses in fields, as devices write them.
//!
//! `printer@school.example <printer@school.example>`, with an unquoted `@` in the name, is no address for any parser, and Exchange
//! refuses it: names are quoted.

use base64::prelude::{BASE64_STANDARD, Engine};

use super::fields::Field;
use crate::message::encoded_words;

/// Bytes in one encoded word.
const WORD_BYTES: usize = 45;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Party {
    /// Decoded.
    pub(super) name: String,
    pub(super) address: String,
}

impl std::fmt::Display for Party {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.name.is_empty() { write!(f, "{}", self.address) } else { write!(f, "{} <{}>", self.name, self.address) }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) parties: Vec<Party>,
    /// A standard parser would not read the same.
    pub(super) repaired: bool,
}

impl Found {
    pub(super) fn is_clean(&self) -> bool {
        !self.repaired
    }
}

/// Where the text between two separators is.
#[derive(Default)]
struct Scan {
    quoted: bool,
    escaped: bool,
    comment: usize,
    angle: bool,
}

impl Scan {
    /// Whether this character is outside of quotes, comments and brackets.
    fn is_plain(&mut self, c: char) -> bool {
        if std::mem::take(&mut self.escaped) {
            return false;
        }
        match c {
            '\\' if self.quoted || self.comment > 0 => self.escaped = true,
            '"' if self.comment == 0 => self.quoted = !self.quoted,
            _ if self.quoted => {}
            '(' => self.comment += 1,
            ')' if self.comment > 0 => self.comment -= 1,
            _ if self.comment > 0 => {}
            '<' => self.angle = true,
            '>' => self.angle = false,
            _ => return !self.angle,
        }
        false
    }
}

fn pieces(text: &str) -> Vec<&str> {
    let (mut pieces, mut begin, mut scan) = (Vec::new(), 0, Scan::default());
    for (at, c) in text.char_indices() {
        if scan.is_plain(c) && matches!(c, ',' | ';') {
            pieces.push(&text[begin..at]);
            begin = at + c.len_utf8();
        }
    }
    pieces.push(&text[begin..]);
    pieces
}

/// Whether SMTP can carry an address; one without a domain may get one.
fn is_address(text: &str) -> bool {
    let (local, domain) = text.rsplit_once('@').unwrap_or((text, "x.example"));
    !local.is_empty()
        && local.len() <= 64
        && !text.contains(|c: char| c.is_whitespace() || c.is_control() || "<>()[],;:\\\"".contains(c))
        && text.parse::<lettre::Address>().or_else(|_| format!("{local}@{domain}").parse()).is_ok()
}

/// One piece of a list: the party, and whether a standard parser reads it so.
fn party(piece: &str) -> Option<(Party, bool)> {
    let piece = piece.trim();
    if let Some((before, after)) = piece.rsplit_once('<') {
        let address = after.split('>').next().unwrap_or_default().trim().to_owned();
        let is_whole = after.trim_end().ends_with('>') && address.contains('@');
        if !is_address(&address) {
            return None;
        }
        let before = before.trim();
        let inner = before.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let is_quoted = inner.is_some_and(|inner| !inner.replace("\\\\", "").replace("\\\"", "").contains('"'));
        let is_atoms = !before.contains(|c: char| "<>()[],;:\\\"@.".contains(c) || c.is_control());
        let name = match inner.filter(|_| is_quoted) {
            Some(inner) => inner.replace("\\\"", "\"").replace("\\\\", "\\"),
            None => before.replace(['"', '<', '>'], ""),
        };
        let name = encoded_words::decoded(&name).trim().to_owned();
        return Some((Party { name, address }, is_whole && (is_quoted || is_atoms)));
    }
    if is_address(piece) {
        return Some((Party { name: String::new(), address: piece.to_owned() }, piece.contains('@')));
    }
    // A name and an address without brackets.
    let words: Vec<&str> = piece.split_whitespace().collect();
    let (at, address) = words.iter().enumerate().find(|(_, word)| word.contains('@') && is_address(word))?;
    let name = words.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, word)| *word);
    let name = name.collect::<Vec<_>>().join(" ").replace(['"', '(', ')'], "");
    Some((Party { name: encoded_words::decoded(&name).trim().to_owned(), address: (*address).to_owned() }, false))
}

/// The addresses of a field. What cannot be read is left out.
pub(super) fn parties(text: &str) -> Found {
    let mut scan = Scan::default();
    // Groups are left to mail servers.
    if text.is_ascii() && text.chars().any(|c| scan.is_plain(c) && c == ':') {
        let found = encoded_words::normalised(format!("To: {text}\r\n\r\n").as_bytes());
        let parsed = mail_parser::MessageParser::default().parse_headers(found.as_bytes());
        let group = parsed.as_ref().and_then(|parsed| parsed.to()?.as_group().map(<[_]>::len));
        if group.is_some_and(|groups| groups > 0) {
            return Found { parties: Vec::new(), repaired: false };
        }
    }
    let mut found = Found { parties: Vec::new(), repaired: false };
    for piece in pieces(text) {
        if piece.trim().is_empty() {
            continue;
        }
        match party(piece) {
            Some((party, clean)) => {
                found.repaired |= !clean;
                found.parties.push(party);
            }
            None => found.repaired = true,
        }
    }
    found.repaired |= found.parties.is_empty();
    // Semicolons separate as in Outlook, not in mail.
    let mut scan = Scan::default();
    found.repaired |= text.chars().any(|c| scan.is_plain(c) && c == ';');
    found
}

/// A name as a quoted string, or in encoded words if it has other letters than ASCII; nothing for an empty one.
fn phrase(name: &str) -> String {
    let shown: String = name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let shown = shown.trim();
    if shown.is_empty() {
        return String::new();
    }
    if shown.is_ascii() {
        let is_atoms = shown.chars().all(|c| c.is_ascii_alphanumeric() || " -_'+".contains(c));
        return if is_atoms {
            shown.to_owned()
        } else {
            format!("\"{}\"", shown.replace('\\', "\\\\").replace('"', "\\\""))
        };
    }
    // Whole, because the rest of a name may need quotes. A word takes 75 letters at most (RFC 2047, 2).
    let (mut words, mut rest) = (Vec::new(), shown);
    while !rest.is_empty() {
        let (word, after) = rest.split_at(rest.floor_char_boundary(WORD_BYTES));
        words.push(format!("=?utf-8?b?{}?=", BASE64_STANDARD.encode(word)));
        rest = after;
    }
    words.join("\r\n ")
}

/// A field of these addresses, with quotes and encoded words where they are needed, one on each line; empty if none can be written.
pub(super) fn field_of(name: &str, parties: &[Party]) -> Field {
    let written = parties.iter().filter_map(|party| {
        let address: lettre::Address = party.address.parse().ok()?;
        Some(match phrase(&party.name).as_str() {
            "" => address.to_string(),
            name => format!("{name} <{address}>"),
        })
    });
    Field::new(name, written.collect::<Vec<_>>().join(",\r\n "))
}
