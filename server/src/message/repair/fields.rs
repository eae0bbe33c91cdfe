//! The fields of a header, as bytes.

use app::model::Repair;
use lettre::message::header::{HeaderName, HeaderValue, Headers};

use super::note;
use crate::message::charset;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    /// From behind the colon to before the line end, with folds.
    pub(super) value: Vec<u8>,
}

impl Field {
    pub(super) fn new(name: &str, value: String) -> Self {
        Self { name: name.to_owned(), value: format!(" {value}").into_bytes() }
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// Without folds; UTF-8, or else Windows-1252. Encoded words stay.
    pub(super) fn text(&self) -> String {
        charset::header_text(&self.value).replace("\r\n", "").trim().to_owned()
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.name.as_bytes());
        out.push(b':');
        out.extend_from_slice(&self.value);
        out.extend_from_slice(b"\r\n");
    }
}

/// A field of text, with encoded words where it needs them (RFC 2047), folded.
pub(super) fn encoded(name: &str, text: &str) -> Field {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let Ok(header) = HeaderName::new_from_ascii(name.to_owned()) else { return Field::new(name, String::new()) };
    let mut headers = Headers::new();
    headers.insert_raw(HeaderValue::new(header, text));
    let text = headers.to_string();
    let value = text.split_once(':').map_or("", |(_, value)| value.trim_end_matches("\r\n"));
    Field { name: name.to_owned(), value: value.as_bytes().to_vec() }
}

/// Every line ends with CRLF, and no NUL is left.
pub(super) fn line_ends(raw: &[u8], repairs: &mut Vec<Repair>) -> Vec<u8> {
    let mut clean = Vec::with_capacity(raw.len() + raw.len() / 64);
    let mut rest = raw;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        clean.extend_from_slice(&rest[..at]);
        let used = match &rest[at..] {
            [0, ..] => {
                note(repairs, Repair::NulRemoved);
                1
            }
            [b'\r', b'\n', ..] => {
                clean.extend_from_slice(b"\r\n");
                2
            }
            _ => {
                note(repairs, Repair::LineEnds);
                clean.extend_from_slice(b"\r\n");
                1
            }
        };
        rest = &rest[at + used..];
    }
    clean.extend_from_slice(rest);
    if !clean.ends_with(b"\r\n") {
        clean.extend_from_slice(b"\r\n");
    }
    clean
}

/// The name of the field that a line begins.
fn name(line: &[u8]) -> Option<&[u8]> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    // Blanks before the colon are obsolete syntax (RFC 5322, 4.5).
    let name = line[..colon].trim_ascii_end();
    (!name.is_empty() && name.iter().all(u8::is_ascii_graphic)).then_some(name)
}

/// Fields and body of a message whose lines end with CRLF. A line that is no field ends the header, as if a blank one were before it.
/// `None`: the header has more bytes than `most`.
pub(super) fn split<'a>(clean: &'a [u8], most: usize, repairs: &mut Vec<Repair>) -> Option<(Vec<Field>, &'a [u8])> {
    let mut fields: Vec<Field> = Vec::new();
    let mut rest = clean;
    let mut is_first = true;
    loop {
        if clean.len() - rest.len() > most {
            return None;
        }
        let end = rest.windows(2).position(|pair| pair == b"\r\n");
        let Some(end) = end else { return Some((fields, rest)) };
        let (line, after) = (&rest[..end], &rest[end + 2..]);
        // The envelope line of a mailbox file.
        let is_envelope = std::mem::take(&mut is_first) && line.starts_with(b"From ");
        match (line, fields.last_mut()) {
            _ if is_envelope => {}
            ([], _) => return Some((fields, after)),
            ([b' ' | b'\t', ..], Some(field)) if !line.trim_ascii().is_empty() => {
                field.value.extend_from_slice(b"\r\n");
                field.value.extend_from_slice(line);
            }
            // A fold of nothing but blanks.
            ([b' ' | b'\t', ..], Some(_)) => {}
            _ => match name(line) {
                Some(name) => {
                    let colon = line.iter().position(|byte| *byte == b':').unwrap_or_default();
                    let name = String::from_utf8_lossy(name).into_owned();
                    fields.push(Field { name, value: line[colon + 1..].to_vec() });
                }
                None => {
                    note(repairs, Repair::HeaderEnded);
                    return Some((fields, rest));
                }
            },
        }
        rest = after;
    }
}
