//! Bodies that SMTP carries: lines of at most 998 bytes, 7 bits. Only parts that need it are encoded again.

use app::model::Repair;
use base64::prelude::{BASE64_STANDARD, Engine};
use mail_parser::{MimeHeaders, PartType};
use std::ops::Range;

use super::fields::{Field, split};
use super::{note, parsed};
use crate::message::model::Encoding;
use crate::message::transfer;

/// Longest line, in bytes without its end (RFC 5322, 2.1.1).
const MOST_LINE: usize = 998;
/// A message beyond these bounds is left as it is: lines that begin with two dashes, and mentions of attached messages.
const MOST_PARTS: usize = 1_000;
const MOST_NESTED: usize = 50;
const NESTED: &[u8] = b"message/";
/// Length of a line of base64 (RFC 2045, 6.8).
const BASE64_LINE: usize = 76;

fn is_carried(bytes: &[u8]) -> bool {
    bytes.is_ascii() && bytes.split(|byte| *byte == b'\n').all(|line| line.len() <= MOST_LINE + 1)
}

/// A part that is encoded anew: its header and its body.
struct Change {
    place: Range<usize>,
    bytes: Vec<u8>,
}

pub(super) fn within_lines(bytes: Vec<u8>, repairs: &mut Vec<Repair>) -> Vec<u8> {
    if is_carried(&bytes) {
        return bytes;
    }
    if !is_simple(&bytes) {
        return bytes;
    }
    let Some(message) = parsed(&bytes) else { return bytes };
    let signed = signed_parts(&message);
    let mut changes = Vec::new();
    for (number, part) in message.parts.iter().enumerate() {
        let is_leaf = !matches!(part.body, PartType::Multipart(_) | PartType::Message(_));
        let (header, body, end) = (part.offset_header as usize, part.offset_body as usize, part.offset_end as usize);
        let Some(content) = bytes.get(body..end).filter(|_| is_leaf && header <= body) else { continue };
        if is_carried(content) || signed.get(number).copied().unwrap_or_default() {
            continue;
        }
        let Some(head) = bytes.get(header..body) else { continue };
        changes.push(Change { place: header..end, bytes: encoded_again(head, content, part, number == 0) });
    }
    drop(message);
    if changes.is_empty() {
        return bytes;
    }
    note(repairs, Repair::BodyEncoded);
    changes.sort_by_key(|change| change.place.start);
    let (mut out, mut at) = (Vec::with_capacity(bytes.len() + bytes.len() / 4), 0);
    for Change { place, bytes: new } in changes {
        // Parts never overlap; a parser that says so is not believed.
        if place.start < at {
            continue;
        }
        out.extend_from_slice(&bytes[at..place.start]);
        out.extend_from_slice(&new);
        at = place.end;
    }
    out.extend_from_slice(&bytes[at..]);
    out
}

/// Whether parsing stays within bounds: mail-parser nests messages in messages without a limit, and frees them by recursion.
fn is_simple(bytes: &[u8]) -> bool {
    let parts = memchr::memmem::find_iter(bytes, b"\n--").take(MOST_PARTS + 1).count();
    let is_message =
        |at: &usize| bytes.get(*at..*at + NESTED.len()).is_some_and(|found| found.eq_ignore_ascii_case(NESTED));
    let nested = memchr::memchr2_iter(b'm', b'M', bytes).filter(is_message).take(MOST_NESTED + 1).count();
    parts <= MOST_PARTS && nested <= MOST_NESTED
}

/// For each part, whether it is signed or encrypted, itself or what it is in: a change would break the signature.
fn signed_parts(message: &mail_parser::Message<'_>) -> Vec<bool> {
    let covers = |part: &mail_parser::MessagePart<'_>| {
        let kind = part.content_type();
        let sub = kind.and_then(mail_parser::ContentType::subtype).unwrap_or_default().to_ascii_lowercase();
        ["signed", "encrypted", "pkcs7-mime", "x-pkcs7-mime"].contains(&sub.as_str())
    };
    let mut parents: Vec<Option<usize>> = vec![None; message.parts.len()];
    for (number, part) in message.parts.iter().enumerate() {
        let PartType::Multipart(children) = &part.body else { continue };
        for child in children {
            if let Some(parent) = parents.get_mut(*child as usize).filter(|_| *child as usize != number) {
                *parent = Some(number);
            }
        }
    }
    let own: Vec<bool> = message.parts.iter().map(covers).collect();
    let inherits = |number: usize| {
        let ancestors = std::iter::successors(Some(number), |at| parents.get(*at).copied().flatten());
        ancestors.take(message.parts.len()).any(|at| own[at])
    };
    (0..message.parts.len()).map(inherits).collect()
}

fn encoded_again(head: &[u8], content: &[u8], part: &mail_parser::MessagePart<'_>, is_whole: bool) -> Vec<u8> {
    let (mut fields, _) = split(head, usize::MAX, &mut Vec::new()).unwrap_or_default();
    let said = fields.iter().find(|field| field.is("Content-Transfer-Encoding")).map(Field::text);
    let plain = match said.map(|said| said.to_ascii_lowercase()).as_deref() {
        Some("base64") => transfer::decode(Encoding::Base64, content).bytes,
        Some("quoted-printable") => transfer::decode(Encoding::QuotedPrintable, content).bytes,
        _ => content.to_vec(),
    };
    let kind = part.content_type();
    let is_text = kind.is_none_or(|kind| kind.ctype().eq_ignore_ascii_case("text"));
    if is_text && kind.is_none_or(|kind| kind.attribute("charset").is_none()) && !plain.is_ascii() {
        let charset = if std::str::from_utf8(&plain).is_ok() { "utf-8" } else { "windows-1252" };
        let given = fields.iter().find(|field| field.is("Content-Type")).map(Field::text);
        let value = format!("{}; charset={charset}", given.as_deref().unwrap_or("text/plain").trim_end_matches(';'));
        fields.retain(|field| !field.is("Content-Type"));
        fields.push(Field::new("Content-Type", value));
    }
    fields.retain(|field| !field.is("Content-Transfer-Encoding"));
    let (encoding, body) =
        if is_text { ("quoted-printable", quoted_printable(&plain)) } else { ("base64", base64(&plain)) };
    fields.push(Field::new("Content-Transfer-Encoding", encoding.to_owned()));
    if is_whole && !fields.iter().any(|field| field.is("MIME-Version")) {
        fields.push(Field::new("MIME-Version", "1.0".to_owned()));
    }
    let mut out = Vec::with_capacity(head.len() + body.len() + 128);
    for field in &fields {
        field.write(&mut out);
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&body);
    out
}

fn quoted_printable(text: &[u8]) -> Vec<u8> {
    let options =
        quoted_printable::Options::default().line_length_limit(76).input_mode(quoted_printable::InputMode::Text);
    quoted_printable::encode_with_options(text, options).into_bytes()
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    let text = BASE64_STANDARD.encode(bytes);
    let mut out = Vec::with_capacity(text.len() + text.len() / BASE64_LINE * 2 + 2);
    for line in text.as_bytes().chunks(BASE64_LINE) {
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
    }
    out
}
