//! What lists show of messages.

use app::model::{HeaderView, Timestamp};

use crate::mail::imap::{Flags, Listed};
use crate::message;

const UNREADABLE: &str = "(The mail server cannot show this message.)";

pub(super) fn header(listed: &Listed) -> HeaderView {
    let summary = message::header::summary(&listed.header);
    HeaderView {
        uid: listed.uid,
        from: summary.from,
        from_address: summary.from_address,
        recipients: summary.recipients,
        subject: summary.subject,
        received_at: Timestamp(listed.received_ms),
        size: i64::from(listed.size),
        seen: listed.flags.seen,
        flagged: listed.flags.flagged,
        answered: listed.flags.answered,
        attachments: summary.attachments,
    }
}

/// Whether this is the placeholder of a message that the server cannot return.
pub(super) fn is_unreadable(header: &HeaderView) -> bool {
    header.size == 0 && header.from_address.is_empty() && header.subject == UNREADABLE
}

/// Row of a message the server can't return.
pub(super) fn unreadable(uid: u32, flags: Flags, now: Timestamp) -> HeaderView {
    HeaderView {
        uid,
        from: String::new(),
        from_address: String::new(),
        recipients: String::new(),
        subject: UNREADABLE.to_owned(),
        received_at: now,
        size: 0,
        seen: flags.seen,
        flagged: flags.flagged,
        answered: flags.answered,
        attachments: false,
    }
}
