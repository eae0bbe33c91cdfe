//! Attachments of messages within messages.

use std::sync::Arc;

use super::slice;
use crate::message::model::ParsedMessage;
use crate::message::transfer;

/// Shifts places in a nested message to places in the whole message; an encoded message has none.
pub(super) fn shift(message: &mut ParsedMessage, by: Option<u32>) {
    for part in &mut message.parts {
        match by {
            Some(by) => part.from = part.from.saturating_add(by),
            None => part.length = 0,
        }
    }
    message.parts.retain(|part| part.length > 0 || part.bytes.is_some());
    for nested in &mut message.nested {
        shift(nested, by);
    }
}

/// Keeps the bytes of attachments without a place in the raw message.
pub(super) fn keep_bytes(message: &mut ParsedMessage, raw: &[u8], room: &mut usize) {
    for part in message.parts.iter_mut().filter(|part| part.bytes.is_none()) {
        let encoded = slice(raw, part.from, part.from.saturating_add(part.length));
        let bytes = transfer::decode(part.encoding, encoded).bytes;
        if let Some(left) = room.checked_sub(bytes.len()) {
            *room = left;
            part.bytes = Some(Arc::new(bytes));
        }
    }
    message.parts.retain(|part| part.bytes.is_some());
    for nested in &mut message.nested {
        keep_bytes(nested, raw, room);
    }
}
