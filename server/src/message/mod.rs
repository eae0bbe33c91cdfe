//! Messages: parsed, decoded, sanitised. Pure: no clock, no store, no network.

pub mod addresses;
pub mod build;
mod calendar;
pub(crate) mod charset;
mod contrast;
mod css;
pub(crate) mod detach;
mod direction;
pub(crate) mod dsn;
mod encoded_words;
pub mod escape;
mod fields;
mod file_name;
mod flowed;
pub mod header;
mod html_complexity;
mod html_text;
mod model;
mod parameters;
mod parse;
pub(crate) mod pictures;
pub(crate) mod recipients;
pub mod repair;
mod sanitize;
mod smime;
mod transfer;

pub use dsn::FailedRecipient;
pub use file_name::file_name;
pub use flowed::pieces;
pub use html_text::html_text;
pub use model::{Encoding, ParsedMessage, Part, Party, Picture};
pub use parse::parse;
pub use sanitize::{document, has_remote_images};
pub use transfer::{Decoder, decode};

/// The first text of a message that Entrepost wrote, whole.
pub fn whole_text(raw: &[u8]) -> Option<String> {
    mail_parser::MessageParser::default().parse(raw)?.body_text(0).map(std::borrow::Cow::into_owned)
}

/// The bytes of a part of a message.
pub fn bytes_of(raw: &[u8], part: &Part) -> Vec<u8> {
    let (from, to) = (part.from as usize, part.from.saturating_add(part.length) as usize);
    match &part.bytes {
        Some(bytes) => bytes.to_vec(),
        None => decode(part.encoding, raw.get(from..to.min(raw.len())).unwrap_or_default()).bytes,
    }
}
