//! Header fields: position, addresses, text.

use mail_parser::{Address, MessageParser};

use super::fields::Fields;
use super::model::Party;
use super::{direction, encoded_words, parameters};

/// Characters of one header field that are kept.
const FIELD: usize = 1_000;
/// Addresses read per field.
const ADDRESSES: usize = 500;

/// One line, of bounded length, without control characters.
pub fn line(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(FIELD).collect();
    clean.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// One line that others wrote: characters that change the text direction are made visible.
pub fn shown_line(text: &str) -> String {
    direction::shown(&line(text))
}

pub fn text(field: &[u8]) -> String {
    shown_line(&encoded_words::decoded(&super::charset::header_text(field)))
}

/// Names and addresses in a field; empty entries are skipped.
pub fn parties(field: Option<&Address<'_>>) -> Vec<Party> {
    let each = field.into_iter().flat_map(Address::iter).take(ADDRESSES);
    each.map(|one| {
        let (name, address) = (one.name().unwrap_or_default(), one.address().unwrap_or_default());
        let (name, address) = (shown_line(name), shown_line(address));
        // A word without @ is a name, whatever the grammar makes of it.
        if address.contains('@') || !name.is_empty() {
            Party { name, address }
        } else {
            Party { name: address, address: String::new() }
        }
    })
    .map(|party| if party.address.contains('@') { party } else { Party { address: String::new(), ..party } })
    .filter(|party| !party.name.is_empty() || !party.address.is_empty())
    .collect()
}

pub fn names(all: &[Party]) -> String {
    let named =
        all.iter().map(|party| if party.name.is_empty() { party.address.as_str() } else { party.name.as_str() });
    line(&named.collect::<Vec<_>>().join(", "))
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    pub from: String,
    /// Address of the first author.
    pub from_address: String,
    pub recipients: String,
    pub subject: String,
    pub attachments: bool,
}

pub fn summary(header: &[u8]) -> Summary {
    let normalised = encoded_words::normalised(header);
    let Some(parsed) = MessageParser::default().parse_headers(&normalised).filter(|parsed| !parsed.parts.is_empty())
    else {
        return Summary::default();
    };
    let from = parties(parsed.from());
    let kind = parameters::Parametrised::parse(Fields(header).get("content-type").unwrap_or_default()).value;
    let alone = ["application/", "image/", "audio/", "video/"].iter().any(|main| kind.starts_with(main));
    Summary {
        from_address: from.first().map(|party| party.address.clone()).unwrap_or_default(),
        from: names(&from),
        recipients: names(&parties(parsed.to())),
        subject: shown_line(parsed.subject().unwrap_or_default()),
        attachments: kind == "multipart/mixed" || alone,
    }
}
