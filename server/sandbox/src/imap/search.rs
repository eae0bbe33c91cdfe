//! SEARCH keys.

use std::num::NonZeroU32;

use imap_codec::imap_types::search::SearchKey as Key;
use imap_codec::imap_types::sequence::{SeqOrUid, Sequence, SequenceSet};

use super::has;
use crate::world::Mail;

/// A message's position in its folder.
pub(super) struct Context {
    pub seq: u32,
    pub largest_seq: usize,
    pub largest_uid: u32,
}

/// Whether a sequence set contains a number. Ranges aren't expanded: clients may send `1:4294967295`.
pub(super) fn in_set(set: &SequenceSet, number: u32, largest: NonZeroU32) -> bool {
    let value = |bound: &SeqOrUid| match bound {
        SeqOrUid::Value(value) => value.get(),
        SeqOrUid::Asterisk => largest.get(),
    };
    set.0.as_ref().iter().any(|sequence| match sequence {
        Sequence::Single(one) => value(one) == number,
        Sequence::Range(from, to) => {
            let (from, to) = (value(from), value(to));
            (from.min(to)..=from.max(to)).contains(&number)
        }
    })
}

fn header<'a>(mail: &'a Mail, name: &str) -> Vec<std::borrow::Cow<'a, str>> {
    let end = mail.raw.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(mail.raw.len());
    let text = String::from_utf8_lossy(&mail.raw[..end]);
    let mut values = Vec::new();
    let mut current: Option<String> = None;
    for line in text.split("\r\n") {
        if line.starts_with([' ', '\t']) {
            if let Some(value) = &mut current {
                value.push_str(line);
            }
            continue;
        }
        values.extend(current.take().map(Into::into));
        if let Some((field, value)) = line.split_once(':')
            && field.trim().eq_ignore_ascii_case(name)
        {
            current = Some(value.trim().to_owned());
        }
    }
    values.extend(current.map(Into::into));
    values
}

fn contains(text: &str, part: &[u8]) -> bool {
    text.to_lowercase().contains(&String::from_utf8_lossy(part).to_lowercase())
}

/// Subject and text, decoded.
fn readable(mail: &Mail) -> String {
    let parsed = mail_parser::MessageParser::default().parse(&mail.raw);
    parsed.map_or_else(String::new, |message| {
        let text = message.body_text(0).unwrap_or_default();
        format!("{} {text}", message.subject().unwrap_or_default())
    })
}

pub(super) fn matches(key: &Key<'_>, mail: &Mail, context: &Context) -> bool {
    let within = |name: &str, part: &[u8]| header(mail, name).iter().any(|value| contains(value, part));
    let received = || chrono::DateTime::from_timestamp(mail.received_at, 0).map(|at| at.date_naive());
    let largest = |n: usize| u32::try_from(n).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
    match key {
        Key::All => true,
        Key::And(keys) => keys.as_ref().iter().all(|key| matches(key, mail, context)),
        Key::Or(one, other) => matches(one, mail, context) || matches(other, mail, context),
        Key::Not(key) => !matches(key, mail, context),
        Key::Header(name, part) => within(&String::from_utf8_lossy(name.as_ref()), part.as_ref()),
        Key::Subject(part) => within("subject", part.as_ref()),
        Key::From(part) => within("from", part.as_ref()),
        Key::To(part) => within("to", part.as_ref()),
        Key::Cc(part) => within("cc", part.as_ref()),
        Key::Text(part) | Key::Body(part) => {
            contains(&String::from_utf8_lossy(&mail.raw), part.as_ref()) || contains(&readable(mail), part.as_ref())
        }
        Key::Seen => has(mail, "\\Seen"),
        Key::Unseen | Key::New => !has(mail, "\\Seen"),
        Key::Flagged => has(mail, "\\Flagged"),
        Key::Unflagged => !has(mail, "\\Flagged"),
        Key::Deleted => has(mail, "\\Deleted"),
        Key::Undeleted => !has(mail, "\\Deleted"),
        Key::Answered => has(mail, "\\Answered"),
        Key::Unanswered => !has(mail, "\\Answered"),
        Key::Larger(size) => mail.raw.len() > *size as usize,
        Key::Smaller(size) => mail.raw.len() < *size as usize,
        Key::Since(date) => received().is_some_and(|day| day >= *date.as_ref()),
        Key::Before(date) => received().is_some_and(|day| day < *date.as_ref()),
        Key::On(date) => received().is_some_and(|day| day == *date.as_ref()),
        Key::SequenceSet(set) => in_set(set, context.seq, largest(context.largest_seq)),
        Key::Uid(set) => in_set(set, mail.uid, largest(context.largest_uid as usize)),
        _ => false,
    }
}
