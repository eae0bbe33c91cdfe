//! Repairs what programs and devices submit (RFC 6409, 8): line ends, missing and broken fields, the sender, long lines.
//!
//! A field that is fine stays as it is, byte by byte. Signed parts are never changed.

mod addresses;
mod body;
mod fields;

use app::model::{Repair, SenderRule, Timestamp};
use mail_parser::MessageParser;

use addresses::{Party, field_of};
use fields::{Field, encoded, split};

/// A message with more `Received` fields than this goes in a circle (RFC 5321, 6.3, asks for 100 at least; few mails have ten).
const MOST_HOPS: usize = 50;
/// Largest header, in bytes.
const MOST_HEADER: usize = 256 * 1024;
/// A date further off than this is replaced, in milliseconds: a day. Clocks of devices stop, and Exchange sorts by the date.
const DATE_OFF_MS: i64 = 24 * 60 * 60 * 1000;
/// Longest Message-ID that is kept, in bytes.
const MOST_MESSAGE_ID: usize = 250;

/// Whom a message may come from, and what is added to it.
pub struct Rules<'a> {
    /// Address of the mailbox that it is sent through.
    pub mailbox: &'a str,
    /// Further addresses that the mailbox may send as.
    pub aliases: &'a [String],
    pub rule: SenderRule,
    /// Name for a rewritten sender; empty for the one that the message has.
    pub display_name: &'a str,
    /// Sender of the envelope; empty for none.
    pub mail_from: &'a str,
    pub now: Timestamp,
    /// For a message without a usable one. With angle brackets.
    pub message_id: &'a str,
    /// Whether a usable one stays.
    pub keep_message_id: bool,
    /// The host in the trace.
    pub host: &'a str,
    /// The queue's id in the trace.
    pub id: &'a str,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Repaired {
    pub bytes: Vec<u8>,
    /// With angle brackets.
    pub message_id: String,
    pub repairs: Vec<Repair>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The sender may not send as this address.
    Sender(String),
    Loop,
    HeaderTooLarge,
}

impl Rules<'_> {
    pub fn allows(&self, address: &str) -> bool {
        std::iter::once(self.mailbox)
            .chain(self.aliases.iter().map(String::as_str))
            .any(|own| own.eq_ignore_ascii_case(address))
    }
}

pub fn repair(raw: &[u8], rules: &Rules<'_>) -> Result<Repaired, Refusal> {
    let mut repairs = Vec::new();
    let clean = fields::line_ends(raw, &mut repairs);
    let (mut head, body) = split(&clean, MOST_HEADER, &mut repairs).ok_or(Refusal::HeaderTooLarge)?;
    if head.iter().filter(|field| field.is("Received")).count() > MOST_HOPS {
        return Err(Refusal::Loop);
    }
    for name in ["Bcc", "Resent-Bcc", "Return-Path", "Sender"] {
        head.retain(|field| !field.is(name));
    }
    for name in ["From", "Date", "Message-ID", "Subject", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"] {
        keep_first(&mut head, name);
    }
    let message_id = message_id(&mut head, rules, &mut repairs);
    date(&mut head, rules, &mut repairs);
    from(&mut head, rules, &mut repairs)?;
    recipients(&mut head, rules, &mut repairs);
    for field in &mut head {
        // What has addresses was written anew: other letters are only in addresses that are international themselves (RFC 6532).
        let has_addresses = ["From", "To", "Cc", "Reply-To"].iter().any(|name| field.is(name));
        if !field.value.is_ascii() && !has_addresses {
            *field = encoded(&field.name, &field.text());
            note(&mut repairs, Repair::HeaderEncoded);
        }
    }
    let trace = format!("by {} with ESMTP id {}; {}", rules.host, rules.id, rfc2822(rules.now));
    head.insert(0, Field::new("Received", trace));
    let mut bytes = Vec::with_capacity(clean.len() + 1024);
    for field in &head {
        field.write(&mut bytes);
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    let bytes = body::within_lines(bytes, &mut repairs);
    Ok(Repaired { bytes, message_id, repairs })
}

fn note(repairs: &mut Vec<Repair>, repair: Repair) {
    if !repairs.contains(&repair) {
        repairs.push(repair);
    }
}

fn keep_first(head: &mut Vec<Field>, name: &str) {
    let mut seen = false;
    head.retain(|field| !field.is(name) || !std::mem::replace(&mut seen, true));
}

fn value<'a>(head: &'a [Field], name: &str) -> Option<&'a Field> {
    head.iter().find(|field| field.is(name))
}

fn set(head: &mut Vec<Field>, new: Field) {
    match head.iter_mut().find(|field| field.is(&new.name)) {
        Some(field) => *field = new,
        None => head.push(new),
    }
}

fn message_id(head: &mut Vec<Field>, rules: &Rules<'_>, repairs: &mut Vec<Repair>) -> String {
    let theirs = value(head, "Message-ID").map(|field| field.text().trim().to_owned());
    let is_usable = |id: &String| {
        let inner = id.strip_prefix('<').and_then(|id| id.strip_suffix('>'));
        id.len() <= MOST_MESSAGE_ID
            && inner.is_some_and(|inner| {
                inner.split_once('@').is_some_and(|(left, right)| !left.is_empty() && !right.is_empty())
                    && inner.chars().all(|c| c.is_ascii_graphic() && c != '<' && c != '>')
            })
    };
    let theirs = theirs.filter(is_usable);
    if let Some(id) = theirs.clone().filter(|_| rules.keep_message_id) {
        return id;
    }
    if theirs.is_none() {
        note(repairs, Repair::MessageIdAdded);
    }
    set(head, Field::new("Message-ID", rules.message_id.to_owned()));
    rules.message_id.to_owned()
}

fn rfc2822(at: Timestamp) -> String {
    let moment =
        time::OffsetDateTime::from_unix_timestamp(at.0.div_euclid(1000)).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    moment.format(&time::format_description::well_known::Rfc2822).unwrap_or_default()
}

fn date(head: &mut Vec<Field>, rules: &Rules<'_>, repairs: &mut Vec<Repair>) {
    let theirs = value(head, "Date").map(Field::text);
    let read = theirs.as_ref().and_then(|text| mail_parser::DateTime::parse_rfc822(text.trim()));
    let read = read.filter(mail_parser::DateTime::is_valid).map(|date| date.to_timestamp().saturating_mul(1000));
    if read.is_some_and(|at| rules.now.0.saturating_sub(at).saturating_abs() <= DATE_OFF_MS) {
        return;
    }
    note(repairs, if theirs.is_some() { Repair::DateReplaced } else { Repair::DateAdded });
    set(head, Field::new("Date", rfc2822(rules.now)));
}

/// The sender that people see: one that the mailbox may send as, or the mailbox.
fn from(head: &mut Vec<Field>, rules: &Rules<'_>, repairs: &mut Vec<Repair>) -> Result<(), Refusal> {
    let field = value(head, "From");
    let found = field.map(|field| addresses::parties(&field.text()));
    let is_clean = field.is_some_and(|field| field.value.is_ascii())
        && found.as_ref().is_some_and(|found| found.is_clean() && found.parties.len() == 1);
    let first = found.and_then(|found| found.parties.into_iter().next());
    let first = first.or_else(|| {
        note(repairs, Repair::FromAdded);
        (!rules.mail_from.is_empty()).then(|| Party { name: String::new(), address: rules.mail_from.to_owned() })
    });
    let own = |name: &str| Party { name: name.to_owned(), address: rules.mailbox.to_owned() };
    let Some(theirs) = first else {
        set(head, field_of("From", &[own(rules.display_name)]));
        return Ok(());
    };
    if rules.allows(&theirs.address) {
        if !is_clean {
            note(repairs, Repair::FromRepaired);
            set(head, field_of("From", &[theirs]));
        }
        return Ok(());
    }
    if rules.rule == SenderRule::Refuse {
        return Err(Refusal::Sender(theirs.address));
    }
    note(repairs, Repair::FromRewritten);
    let name = if rules.display_name.is_empty() { theirs.name.as_str() } else { rules.display_name };
    let rewritten = field_of("From", &[own(name)]);
    // An address without a domain reaches no one.
    let is_whole = app::model::EmailAddress::parse(&theirs.address).is_ok();
    if is_whole && value(head, "Reply-To").is_none() {
        head.push(field_of("Reply-To", std::slice::from_ref(&theirs)));
    }
    set(head, encoded("X-Original-From", &theirs.to_string()));
    set(head, rewritten);
    Ok(())
}

/// Fields with recipients. A message needs one of them.
fn recipients(head: &mut Vec<Field>, rules: &Rules<'_>, repairs: &mut Vec<Repair>) {
    let domain = rules.mailbox.rsplit('@').next().unwrap_or_default();
    for name in ["To", "Cc", "Reply-To"] {
        for field in head.iter_mut().filter(|field| field.is(name)) {
            let mut found = addresses::parties(&field.text());
            for party in found.parties.iter_mut().filter(|party| !party.address.contains('@')) {
                party.address = format!("{}@{domain}", party.address);
                found.repaired = true;
            }
            if field.value.is_ascii() && found.is_clean() {
                continue;
            }
            note(repairs, Repair::RecipientsRepaired);
            *field = field_of(name, &found.parties);
        }
        head.retain(|field| !field.is(name) || !field.text().trim().is_empty());
    }
    if !head.iter().any(|field| field.is("To") || field.is("Cc")) {
        note(repairs, Repair::ToAdded);
        head.push(Field::new("To", "undisclosed-recipients:;".to_owned()));
    }
}

/// The parsed message, for parts of its body.
fn parsed(bytes: &[u8]) -> Option<mail_parser::Message<'_>> {
    MessageParser::default().parse(bytes)
}

#[cfg(test)]
mod tests;
