//! Messages that came in, taken apart. Whatever they are made of, this neither fails nor takes long.

use std::collections::HashSet;

use app::model::{HeaderView, Timestamp};
use mail_parser::{Address, HeaderValue, Message, MessageParser, MimeHeaders, PartType};

use crate::mail::imap::{Flags, Listed};
use crate::markup::escaped;

/// Characters of one header field that are kept.
const FIELD: usize = 1_000;
/// Characters of a message's text that are shown.
const TEXT: usize = 500_000;
/// Characters of HTML that are looked at.
const HTML: usize = 2_000_000;
/// Tags of HTML: how long they take to sort grows with their square where they are nested.
const TAGS: usize = 20_000;
/// Attachments that are listed.
const PARTS: usize = 200;
/// Octets of inline pictures, all together.
pub(super) const PICTURES: usize = 6 * 1024 * 1024;
/// Octets of a Content-ID.
const CONTENT_ID: usize = 300;
/// Addresses of one field that are looked at.
const ADDRESSES: usize = 500;

/// How the octets of a part were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As they are.
    Identity,
    /// Base64 (RFC 2045, 6.8).
    Base64,
    /// Quoted-printable (RFC 2045, 6.7).
    QuotedPrintable,
}

/// An attachment: where its octets lie within the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its file name.
    pub name: String,
    /// Its type, as the sender called it.
    pub content_type: String,
    /// First octet.
    pub from: u32,
    /// Octets, as they were sent.
    pub length: u32,
    /// How they were written.
    pub encoding: Encoding,
}

impl Part {
    /// Octets after decoding, about.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self.encoding {
            // Four characters are three octets, and a line of 76 has two more.
            Encoding::Base64 => u64::from(self.length) * 76 / 78 * 3 / 4,
            _ => u64::from(self.length),
        }
    }
}

/// A picture that the HTML names by its Content-ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    pub(super) id: String,
    pub(super) content_type: &'static str,
    pub(super) octets: Vec<u8>,
}

/// A message, taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opened {
    /// Name and address of its writer.
    pub from: (String, String),
    /// Where answers go: name and address of each.
    pub reply_to: Vec<(String, String)>,
    /// To.
    pub to: Vec<(String, String)>,
    /// Cc.
    pub cc: Vec<(String, String)>,
    /// Subject.
    pub subject: String,
    /// Date, as its writer's clock had it.
    pub date: Option<Timestamp>,
    /// Message-ID, with angle brackets.
    pub message_id: Option<String>,
    /// Messages it answers, with angle brackets, oldest first.
    pub references: Vec<String>,
    /// Text for people to read as it is.
    pub text: Option<String>,
    /// HTML, as it came.
    pub html: Option<String>,
    /// Its inline pictures.
    pub pictures: Vec<Picture>,
    /// Attachments.
    pub parts: Vec<Part>,
    /// Only its beginning was looked at.
    pub truncated: bool,
}

impl Opened {
    /// About how much memory it takes.
    pub(super) fn octets(&self) -> usize {
        let text = self.text.as_ref().map_or(0, String::len) + self.html.as_ref().map_or(0, String::len);
        let pictures: usize = self.pictures.iter().map(|picture| picture.octets.len()).sum();
        text + pictures + 4096 + (self.to.len() + self.cc.len() + self.parts.len()) * 100
    }
}

/// One line, of bounded length, without control characters.
fn line(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(FIELD).collect();
    clean.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn addresses(field: Option<&Address<'_>>) -> Vec<(String, String)> {
    let each = field.into_iter().flat_map(Address::iter).take(ADDRESSES);
    each.map(|one| (line(one.name().unwrap_or_default()), line(one.address().unwrap_or_default())))
        .filter(|(name, address)| !name.is_empty() || !address.is_empty())
        .collect()
}

/// Names, or else addresses, for a list.
fn names(all: &[(String, String)]) -> String {
    let named = all.iter().map(|(name, address)| if name.is_empty() { address.as_str() } else { name.as_str() });
    line(&named.collect::<Vec<_>>().join(", "))
}

/// What a list shows of a message.
pub(super) fn header(listed: &Listed) -> HeaderView {
    let parsed = MessageParser::default().parse_headers(&listed.header).filter(|parsed| !parsed.parts.is_empty());
    let parsed = parsed.as_ref();
    let from = parsed.map(|parsed| addresses(parsed.from())).unwrap_or_default();
    let (name, address) = from.into_iter().next().unwrap_or_default();
    let mixed = parsed.and_then(MimeHeaders::content_type).is_some_and(|kind| {
        kind.ctype().eq_ignore_ascii_case("multipart")
            && kind.subtype().is_some_and(|sub| sub.eq_ignore_ascii_case("mixed"))
            || ["application", "image", "audio", "video"].iter().any(|main| kind.ctype().eq_ignore_ascii_case(main))
    });
    HeaderView {
        uid: listed.uid,
        from: if name.is_empty() { address.clone() } else { name },
        from_address: address,
        recipients: names(&parsed.map(|parsed| addresses(parsed.to())).unwrap_or_default()),
        subject: line(parsed.and_then(Message::subject).unwrap_or_default()),
        received_at: Timestamp(listed.received_ms),
        size: i64::from(listed.size),
        seen: listed.flags.seen,
        flagged: listed.flags.flagged,
        answered: listed.flags.answered,
        attachments: mixed,
    }
}

const UNREADABLE: &str = "(The mail server cannot show this message.)";

/// Whether this stands for a message that the server could not give.
pub(super) fn is_unreadable(header: &HeaderView) -> bool {
    header.size == 0 && header.from_address.is_empty() && header.subject == UNREADABLE
}

/// What a list shows of a message that the server has, and cannot give.
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

fn ids(value: &HeaderValue<'_>) -> Vec<String> {
    let bare: Vec<&str> = match value {
        HeaderValue::Text(text) => vec![text],
        HeaderValue::TextList(list) => list.iter().map(AsRef::as_ref).collect(),
        _ => Vec::new(),
    };
    // A chain that is too long keeps its beginning and its end (RFC 5322 leaves that to us).
    let skip = bare.len().saturating_sub(20);
    let kept = bare.iter().enumerate().filter(|(at, _)| *at == 0 || *at > skip).map(|(_, id)| id);
    kept.map(|id| line(id)).filter(|id| is_id(id)).map(|id| format!("<{id}>")).collect()
}

/// What may stand between the angle brackets of a Message-ID.
fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() < 300 && id.is_ascii() && !id.contains(['<', '>', ' ', ',', '"', '\\'])
}

/// A picture's type, of those that browsers show and that hold no script.
fn picture_type(part: &mail_parser::MessagePart<'_>) -> Option<&'static str> {
    let kind = part.content_type().filter(|kind| kind.ctype().eq_ignore_ascii_case("image"))?;
    match kind.subtype()?.to_lowercase().as_str() {
        "png" => Some("image/png"),
        "jpeg" | "jpg" => Some("image/jpeg"),
        "gif" => Some("image/gif"),
        "webp" => Some("image/webp"),
        _ => None,
    }
}

/// A file's name that is one on every system.
fn file_name(name: &str, content_type: &str, number: usize) -> String {
    let name = line(name);
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default().trim_matches(['.', ' ']);
    let clean: String = name
        .chars()
        .map(|c| if matches!(c, '<' | '>' | ':' | '"' | '|' | '?' | '*') { '_' } else { c })
        // What turns the direction of writing makes `exe` look like `pdf`.
        .filter(|c| !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}'))
        .take(150)
        .collect();
    if !clean.is_empty() {
        return clean;
    }
    let ending = match content_type {
        "message/rfc822" => "eml",
        "text/plain" => "txt",
        "text/html" => "html",
        "image/png" => "png",
        "image/jpeg" => "jpg",
        "application/pdf" => "pdf",
        "text/calendar" => "ics",
        _ => "bin",
    };
    format!("attachment-{number}.{ending}")
}

fn part(message: &Message<'_>, id: u32, number: usize) -> Option<Part> {
    let part = message.parts.get(id as usize)?;
    let kind = part.content_type();
    let content_type = match (kind, &part.body) {
        (Some(kind), _) => format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or("octet-stream")).to_lowercase(),
        (None, PartType::Message(_)) => "message/rfc822".to_owned(),
        (None, _) => "application/octet-stream".to_owned(),
    };
    let length = part.raw_end_offset().saturating_sub(part.raw_body_offset());
    Some(Part {
        name: file_name(part.attachment_name().unwrap_or_default(), &content_type, number),
        content_type: line(&content_type),
        from: part.raw_body_offset(),
        length,
        encoding: match part.encoding {
            mail_parser::Encoding::None => Encoding::Identity,
            mail_parser::Encoding::QuotedPrintable => Encoding::QuotedPrintable,
            mail_parser::Encoding::Base64 => Encoding::Base64,
        },
    })
}

/// Content-IDs that HTML shows as pictures, as they are (RFC 2392 has them percent-encoded).
fn named_pictures(html: &str) -> HashSet<String> {
    let octets = html.as_bytes();
    let ends = |octet: &u8| matches!(octet, b'"' | b'\'' | b' ' | b'>' | b'\n' | b'\r' | b'\t');
    let mut named = HashSet::new();
    // Each is looked at once, however many stand in one word.
    let mut at = 0;
    while let Some(found) = octets[at..].windows(4).position(|four| four.eq_ignore_ascii_case(b"cid:")) {
        let from = at + found + 4;
        let length = octets[from..].iter().take(CONTENT_ID).position(ends).unwrap_or(CONTENT_ID);
        let written = String::from_utf8_lossy(&octets[from..(from + length).min(octets.len())]);
        named.insert(super::html::picture_id(&written));
        named.insert(written.into_owned());
        at = from;
        if named.len() > PARTS * 4 {
            break;
        }
    }
    named
}

fn cut(text: &str, most: usize) -> String {
    text.chars().filter(|c| *c != '\0').take(most).collect()
}

/// Takes a message apart.
pub(super) fn open(raw: &[u8], truncated: bool) -> Opened {
    let Some(message) = MessageParser::default().parse(raw).filter(|message| !message.parts.is_empty()) else {
        return Opened { text: Some(cut(&String::from_utf8_lossy(raw), TEXT)), truncated, ..Opened::default() };
    };
    let designed = message.html_bodies().any(mail_parser::MessagePart::is_text_html);
    // Text that stands beside HTML belongs to what is read, too.
    let bodies = message.html_bodies().filter_map(|part| match &part.body {
        PartType::Html(html) => Some(html.to_string()),
        PartType::Text(text) => Some(format!("<div style=\"white-space:pre-wrap\">{}</div>", escaped(text))),
        _ => None,
    });
    let html = if designed { cut(&bodies.collect::<Vec<_>>().join("<hr>"), HTML) } else { String::new() };
    // HTML that is made to be slow, or that is empty, is shown as text.
    let has_html = !html.is_empty() && html.matches('<').count() <= TAGS && super::weight::is_modest(&html);
    let as_text = (!html.is_empty() && !has_html).then(|| super::as_text(&html));
    let html = has_html.then_some(html);
    let plain: Vec<&str> = message
        .text_bodies()
        .filter(|part| matches!(part.body, PartType::Text(_)))
        .filter_map(|part| part.text_contents())
        .collect();
    let text = (!plain.is_empty()).then(|| plain.join("\n\n")).or(as_text).map(|text| cut(&text, TEXT));
    let shown = html.as_deref().map(named_pictures).unwrap_or_default();
    let mut pictures = Vec::new();
    let mut room = PICTURES;
    let mut parts = Vec::new();
    for (number, id) in message.attachments.iter().take(PARTS).enumerate() {
        let Some(found) = message.parts.get(*id as usize) else { continue };
        let name = found.content_id().map(|id| id.trim_matches(['<', '>']).to_owned());
        if let (Some(id), Some(content_type), true) = (name, picture_type(found), has_html)
            && shown.contains(&id)
            && found.contents().len() <= room
        {
            room -= found.contents().len();
            pictures.push(Picture { id, content_type, octets: found.contents().to_vec() });
            if found.content_disposition().is_none_or(mail_parser::ContentType::is_inline) {
                continue;
            }
        }
        parts.extend(part(&message, *id, number + 1));
    }
    let from = addresses(message.from()).into_iter().next().unwrap_or_default();
    let mut references = ids(message.references());
    if references.is_empty() {
        references = ids(message.in_reply_to());
    }
    let message_id = message.message_id().map(line).filter(|id| is_id(id)).map(|id| format!("<{id}>"));
    Opened {
        reply_to: addresses(message.reply_to()),
        to: addresses(message.to()),
        cc: addresses(message.cc()),
        subject: line(message.subject().unwrap_or_default()),
        date: message.date().map(|date| Timestamp(date.to_timestamp().saturating_mul(1000))),
        from,
        message_id,
        references,
        text,
        html,
        pictures,
        parts,
        truncated,
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_message_with_everything() {
        let raw = "From: =?utf-8?q?J=C3=BCrgen?= <j@x.example>\r\nTo: a@x.example, Team: b@x.example;\r\nSubject: =?utf-8?b?R3LDvMOfZQ==?=\r\n\
            Message-ID: <2@x.example>\r\nIn-Reply-To: <1@x.example>\r\nReferences: <0@x.example> <1@x.example>\r\n\
            Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\nContent-Type: multipart/related; boundary=r\r\n\r\n\
            --r\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n--a\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nSch=F6n\r\n\
            --a\r\nContent-Type: text/html\r\n\r\n<p>Schoen <img src=\"cid:pic@x\"></p>\r\n--a--\r\n\
            --r\r\nContent-Type: image/png\r\nContent-ID: <pic@x>\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0K\r\n--r--\r\n\
            --m\r\nContent-Type: application/pdf; name=\"../../etc/plan.pdf\"\r\nContent-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERi0x\r\n--m--\r\n";
        let opened = open(raw.as_bytes(), false);
        assert_eq!(opened.from, ("Jürgen".into(), "j@x.example".into()));
        assert_eq!(opened.to.len(), 2);
        assert_eq!(opened.subject, "Grüße");
        assert_eq!(opened.text.as_deref().map(str::trim), Some("Schön"));
        assert!(opened.html.as_deref().unwrap().contains("cid:pic@x"));
        assert_eq!(opened.message_id.as_deref(), Some("<2@x.example>"));
        assert_eq!(opened.references, ["<0@x.example>", "<1@x.example>"]);
        assert_eq!(opened.pictures.len(), 1);
        let [part] = opened.parts.as_slice() else { panic!("{:?}", opened.parts) };
        assert_eq!((part.name.as_str(), part.encoding), ("plan.pdf", Encoding::Base64));
        let octets = &raw.as_bytes()[part.from as usize..(part.from + part.length) as usize];
        assert_eq!(String::from_utf8_lossy(octets).trim(), "JVBERi0x");
    }

    #[test]
    fn text_beside_html_is_shown_and_pictures_that_nothing_shows_are_listed() {
        let raw = "Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\nContent-Type: text/plain\r\n\r\nFirst <line>\r\n\
            --m\r\nContent-Type: text/html\r\n\r\n<p>Then <img src=\"cid:one%40x\"></p>\r\n\
            --m\r\nContent-Type: image/png; name=one.png\r\nContent-ID: <one@x>\r\nContent-Disposition: inline\r\n\r\nx\r\n\
            --m\r\nContent-Type: image/png; name=two.png\r\nContent-ID: <two@x>\r\nContent-Disposition: inline\r\n\r\nx\r\n--m--\r\n";
        let opened = open(raw.as_bytes(), false);
        assert!(opened.html.as_deref().unwrap().contains("First &lt;line&gt;"), "{opened:?}");
        assert_eq!(opened.pictures.len(), 1);
        assert_eq!(opened.parts.iter().map(|part| part.name.as_str()).collect::<Vec<_>>(), ["two.png"]);
    }

    #[test]
    fn hostile_messages_neither_fail_nor_take_long() {
        let mut nested = String::new();
        for level in 0..20_000 {
            write!(nested, "Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n").unwrap();
        }
        let mut messages = String::new();
        for _ in 0..5_000 {
            messages.push_str("Content-Type: message/rfc822\r\n\r\n");
        }
        let many = "X-Header: value\r\n".repeat(100_000) + "Subject: last\r\n\r\ntext";
        let folded = format!("Subject: {}\r\n\r\ntext", "a\r\n ".repeat(100_000));
        let recipients = format!("To: {}\r\n\r\ntext", "a@x.example, ".repeat(100_000));
        let parts = format!(
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n{}",
            "--b\r\nContent-Type: image/png\r\n\r\nx\r\n".repeat(20_000)
        );
        let binary: Vec<u8> = (0..=255).cycle().take(300_000).collect();
        let broken = b"Subject: =?utf-8?b?////?= =?x?y?z?=\r\nContent-Type: text/plain; charset=nothing\r\nContent-Transfer-Encoding: base64\r\n\r\n\xff\xfe====";
        let fonts: String = (0..4_000).map(|size| format!("<font size={size}>")).collect();
        let fonts = format!("Content-Type: text/html\r\n\r\n<p>{fonts}{}", "<p>x".repeat(4_000));
        let bolds: String = (0..19_000).map(|number| format!("<b x{number}=1 y=2>")).collect();
        let bolds = format!("Content-Type: text/html\r\n\r\n{bolds}");
        let colons = format!(
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n{}{}\r\n{}",
            ":".repeat(900_000),
            "cid:".repeat(250_000),
            "--b\r\nContent-Type: image/png\r\nContent-ID: <x>\r\n\r\nx\r\n".repeat(200)
        );
        let deep = format!("Content-Type: text/html\r\n\r\n{}", "<div>".repeat(500_000));
        let started = Instant::now();
        for raw in [
            deep.as_bytes(),
            fonts.as_bytes(),
            colons.as_bytes(),
            bolds.as_bytes(),
            nested.as_bytes(),
            messages.as_bytes(),
            many.as_bytes(),
            folded.as_bytes(),
            recipients.as_bytes(),
            parts.as_bytes(),
            &binary,
            broken,
            b"",
            b"\r\n\r\n",
        ] {
            let opened = open(raw, false);
            assert!(opened.subject.len() <= FIELD * 4 && opened.parts.len() <= PARTS && opened.to.len() <= ADDRESSES);
            let _ = super::super::html::document(&opened, false);
            let listed = Listed {
                uid: 1,
                flags: crate::mail::imap::Flags::default(),
                received_ms: 0,
                size: 0,
                header: raw.to_vec(),
            };
            header(&listed);
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    }

    #[test]
    fn file_names_are_harmless() {
        assert_eq!(file_name("C:\\x\\..\\plan\u{202e}fdp.exe", "", 1), "planfdp.exe");
        assert_eq!(file_name("a\r\nb: c", "", 1), "a b_ c");
        assert_eq!(file_name("..", "application/pdf", 2), "attachment-2.pdf");
    }

    #[test]
    fn chains_stay_short_and_clean() {
        let long: String = (0..100).map(|n| format!("<{n}@x.example> ")).collect();
        let opened = open(format!("References: {long}\r\n\r\n").as_bytes(), false);
        assert_eq!(opened.references.len(), 20);
        assert_eq!(opened.references[0], "<0@x.example>");
        assert_eq!(opened.references[19], "<99@x.example>");
    }
}
