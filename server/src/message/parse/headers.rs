//! The header of a message.

use app::model::Timestamp;
use mail_parser::{HeaderValue, MessageParser};

use crate::message::model::ParsedMessage;
use crate::message::{encoded_words, header};

pub(super) fn headers(raw: &[u8]) -> ParsedMessage {
    let normalised = encoded_words::normalised(raw);
    let Some(parsed) = MessageParser::default().parse_headers(&normalised).filter(|parsed| !parsed.parts.is_empty())
    else {
        return ParsedMessage::default();
    };
    let mut references = ids(parsed.references());
    if references.is_empty() {
        references = ids(parsed.in_reply_to());
    }
    ParsedMessage {
        from: header::parties(parsed.from()),
        reply_to: header::parties(parsed.reply_to()),
        to: header::parties(parsed.to()),
        cc: header::parties(parsed.cc()),
        subject: header::shown_line(parsed.subject().unwrap_or_default()),
        date: parsed.date().map(|date| Timestamp(date.to_timestamp().saturating_mul(1000))),
        message_id: parsed.message_id().map(header::line).filter(|id| is_id(id)).map(|id| format!("<{id}>")),
        references,
        ..ParsedMessage::default()
    }
}

fn ids(value: &HeaderValue<'_>) -> Vec<String> {
    let bare: Vec<&str> = match value {
        HeaderValue::Text(text) => vec![text],
        HeaderValue::TextList(list) => list.iter().map(AsRef::as_ref).collect(),
        _ => Vec::new(),
    };
    // Shortens long References in the middle, which RFC 5322 permits.
    let skip = bare.len().saturating_sub(20);
    let kept = bare.iter().enumerate().filter(|(at, _)| *at == 0 || *at > skip).map(|(_, id)| id);
    kept.map(|id| header::line(id)).filter(|id| is_id(id)).map(|id| format!("<{id}>")).collect()
}

/// Whether a text is valid between the angle brackets of a Message-ID.
fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() < 300 && id.is_ascii() && !id.contains(['<', '>', ' ', ',', '"', '\\'])
}
