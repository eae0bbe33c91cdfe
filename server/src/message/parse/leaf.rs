//! A part with content: its header values and its bytes.

use mail_parser::MessagePart;

use super::slice;
use crate::message::fields::Fields;
use crate::message::model::Encoding;
use crate::message::parameters::Parametrised;
use crate::message::{charset, flowed, transfer};

/// A part other than a multipart: its header values and its place.
pub(super) struct Leaf<'a> {
    pub(super) kind: Parametrised,
    pub(super) disposition: Parametrised,
    pub(super) encoding: Encoding,
    pub(super) content_id: Option<String>,
    pub(super) from: u32,
    pub(super) bytes: &'a [u8],
}

impl<'a> Leaf<'a> {
    pub(super) fn new(raw: &'a [u8], part: &MessagePart<'_>) -> Self {
        let fields = Fields(slice(raw, part.offset_header, part.offset_body));
        let mut kind = Parametrised::parse(fields.get("content-type").unwrap_or_default());
        if !kind.value.contains('/') {
            // RFC 2045, 5.2: a missing or unreadable type means plain text.
            kind.value = String::from(if kind.value == "html" { "text/html" } else { "text/plain" });
        }
        let encoding =
            fields.get("content-transfer-encoding").map(|value| String::from_utf8_lossy(value).to_lowercase());
        let first = |value: &str| -> String {
            let value = value.trim().trim_matches('"');
            value.chars().take_while(|c| c.is_alphanumeric() || *c == '-').collect()
        };
        let encoding = Encoding::of(&encoding.as_deref().map(first).unwrap_or_default());
        let content_id = fields.get("content-id").map(|id| String::from_utf8_lossy(id).trim().to_owned());
        Self {
            kind,
            disposition: Parametrised::parse(fields.get("content-disposition").unwrap_or_default()),
            encoding,
            content_id: content_id.map(|id| id.trim_matches(['<', '>']).to_owned()).filter(|id| !id.is_empty()),
            from: part.offset_body,
            bytes: slice(raw, part.offset_body, part.offset_end),
        }
    }

    pub(super) fn decoded(&self) -> transfer::Decoded {
        transfer::decode(self.encoding, self.bytes)
    }

    pub(super) fn name(&self) -> Option<&str> {
        let names = [self.disposition.get("filename"), self.kind.get("name")];
        names.into_iter().flatten().find(|name| !name.trim().is_empty())
    }

    pub(super) fn is_attachment(&self) -> bool {
        self.disposition.value == "attachment" || self.name().is_some()
    }

    pub(super) fn text(&self) -> LeafText {
        let transfer::Decoded { bytes, lost } = self.decoded();
        let label = self.kind.get("charset").and_then(|label| label.split([' ', '(', ';', ',']).next());
        let is_page = self.kind.value.starts_with("multipart/") && begins_as_page(&bytes);
        if self.kind.value == "text/html" || is_page {
            return LeafText { text: charset::decode_html(label, &bytes), lost };
        }
        let text = charset::decode(label, &bytes);
        let is_flowed = self.kind.get("format").is_some_and(|format| format.eq_ignore_ascii_case("flowed"));
        let del_sp = self.kind.get("delsp").is_some_and(|del_sp| del_sp.eq_ignore_ascii_case("yes"));
        LeafText { text: if is_flowed { flowed::unflowed(&text, del_sp) } else { text }, lost }
    }
}

/// `lost`: part of it could not be decoded.
pub(super) struct LeafText {
    pub(super) text: String,
    pub(super) lost: bool,
}

/// Whether bytes begin like an HTML page.
pub(super) fn begins_as_page(bytes: &[u8]) -> bool {
    let start = bytes.trim_ascii_start();
    let start = start[..start.len().min(16)].to_ascii_lowercase();
    start.starts_with(b"<html") || start.starts_with(b"<!doctype html")
}
