//! FETCH: items of a message.

use imap_codec::imap_types::IntoStatic;
use imap_codec::imap_types::core::NString;
use imap_codec::imap_types::datetime::DateTime;
use imap_codec::imap_types::envelope::{Address, Envelope};
use imap_codec::imap_types::fetch::{
    MacroOrMessageDataItemNames, MessageDataItem, MessageDataItemName as Item, Section,
};
use imap_codec::imap_types::flag::{Flag, FlagFetch};
use mail_parser::MessageParser;
use std::num::NonZeroU32;

use crate::world::Mail;

pub(super) type Name<'a> = Item<'a>;

pub(super) fn names(asked: MacroOrMessageDataItemNames<'static>, uid: bool) -> Vec<Name<'static>> {
    let mut names: Vec<Name<'static>> = match asked {
        MacroOrMessageDataItemNames::Macro(short) => short.expand().into_iter().map(IntoStatic::into_static).collect(),
        MacroOrMessageDataItemNames::MessageDataItemNames(names) => names,
    };
    if uid && !names.contains(&Item::Uid) {
        names.push(Item::Uid);
    }
    names
}

/// Whether fetching it marks as read.
pub(super) fn sets_seen(name: &Name<'_>) -> bool {
    matches!(name, Item::BodyExt { peek: false, .. } | Item::Rfc822 | Item::Rfc822Text)
}

/// Whether it needs the message's bytes.
pub(super) fn reads(name: &Name<'_>) -> bool {
    matches!(name, Item::BodyExt { .. } | Item::Rfc822 | Item::Rfc822Text | Item::Rfc822Header)
}

pub(super) fn flags(flags: &[String]) -> MessageDataItem<'static> {
    MessageDataItem::Flags(wire_flags(flags))
}

fn text(bytes: &[u8]) -> NString<'static> {
    // Literals can't contain NUL.
    let clean: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
    NString::try_from(clean).unwrap_or_default()
}

fn split(raw: &[u8]) -> (&[u8], &[u8]) {
    let end = raw.windows(4).position(|four| four == b"\r\n\r\n").map_or(raw.len(), |at| at + 4);
    raw.split_at(end)
}

pub(super) fn item(name: &Name<'_>, mail: &Mail) -> Option<MessageDataItem<'static>> {
    let (header, body) = split(&mail.raw);
    Some(match name {
        Item::Uid => MessageDataItem::Uid(NonZeroU32::new(mail.uid)?),
        Item::Flags => flags(&mail.flags),
        Item::Rfc822Size => MessageDataItem::Rfc822Size(u32::try_from(mail.raw.len()).ok()?),
        Item::InternalDate => {
            let at = chrono::DateTime::from_timestamp(mail.received_at, 0)?.fixed_offset();
            MessageDataItem::InternalDate(DateTime::try_from(at).ok()?)
        }
        Item::Rfc822 => MessageDataItem::Rfc822(text(&mail.raw)),
        Item::Rfc822Header => MessageDataItem::Rfc822Header(text(header)),
        Item::Rfc822Text => MessageDataItem::Rfc822Text(text(body)),
        Item::Envelope => MessageDataItem::Envelope(envelope(&mail.raw)?),
        Item::BodyExt { section, partial, .. } => {
            let data = match section {
                None => mail.raw.clone(),
                Some(Section::Header(None)) => header.to_vec(),
                Some(Section::Text(None)) => body.to_vec(),
                Some(Section::HeaderFields(None, fields)) => {
                    let names: Vec<String> = fields
                        .as_ref()
                        .iter()
                        .map(|field| String::from_utf8_lossy(field.as_ref()).to_lowercase())
                        .collect();
                    header_fields(header, &names)
                }
                Some(_) => return None,
            };
            let (origin, data) = match partial {
                Some((start, length)) => {
                    let from = usize::try_from(*start).ok()?.min(data.len());
                    let to = from.saturating_add(usize::try_from(length.get()).ok()?).min(data.len());
                    (Some(*start), data[from..to].to_vec())
                }
                None => (None, data),
            };
            MessageDataItem::BodyExt {
                section: section.clone().map(IntoStatic::into_static),
                origin,
                data: text(&data),
            }
        }
        _ => return None,
    })
}

fn header_fields(header: &[u8], names: &[String]) -> Vec<u8> {
    let text = String::from_utf8_lossy(header);
    let (mut kept, mut keeping) = (String::new(), false);
    for line in text.split_inclusive("\r\n") {
        if !line.starts_with([' ', '\t']) {
            let name = line.split(':').next().unwrap_or_default().trim().to_lowercase();
            keeping = names.contains(&name);
        }
        if keeping {
            kept.push_str(line);
        }
    }
    kept.push_str("\r\n");
    kept.into_bytes()
}

fn envelope(raw: &[u8]) -> Option<Envelope<'static>> {
    let message = MessageParser::default().parse(raw)?;
    let string =
        |text: Option<String>| text.and_then(|text| NString::try_from(text.into_bytes()).ok()).unwrap_or_default();
    let addresses = |list: Option<&mail_parser::Address<'_>>| -> Vec<Address<'static>> {
        list.map(|list| {
            list.iter()
                .map(|address| {
                    let (local, host) = address.address().and_then(|text| text.rsplit_once('@')).unwrap_or_default();
                    Address {
                        name: string(address.name().map(ToOwned::to_owned)),
                        adl: NString::default(),
                        mailbox: string(Some(local.to_owned())),
                        host: string(Some(host.to_owned())),
                    }
                })
                .collect()
        })
        .unwrap_or_default()
    };
    Some(Envelope {
        date: string(message.header_raw("Date").map(|date| date.trim().to_owned())),
        subject: string(message.header_raw("Subject").map(|subject| subject.trim().to_owned())),
        from: addresses(message.from()),
        sender: addresses(message.from()),
        reply_to: addresses(message.from()),
        to: addresses(message.to()),
        cc: addresses(message.cc()),
        bcc: Vec::new(),
        in_reply_to: string(message.header_raw("In-Reply-To").map(|id| id.trim().to_owned())),
        message_id: string(message.header_raw("Message-ID").map(|id| id.trim().to_owned())),
    })
}

/// Flags as in FETCH responses.
fn wire_flags(flags: &[String]) -> Vec<FlagFetch<'static>> {
    flags
        .iter()
        .filter_map(|flag| Flag::try_from(flag.as_str()).ok().map(|flag| FlagFetch::Flag(flag.into_static())))
        .collect()
}
