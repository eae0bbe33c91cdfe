//! Parses received messages. Never fails, and takes bounded time.
//!
//! mail-parser finds the parts. This module decides what they are, because mail-parser treats text as an attachment if it has a
//! name, a broken encoding, or an unexpected place: the first readable part is the text.

mod body;
mod headers;
mod leaf;
mod nested;

use std::fmt::Write;

use app::model::Protection;
use mail_parser::{Message, MessageParser, PartType};

use self::body::{Body, TextAndHtml, is_blank, joined, says_something};
use self::headers::headers;
use self::leaf::{Leaf, LeafText, begins_as_page};
use self::nested::{keep_bytes, shift};
use super::fields::Fields;
use super::file_name::file_name;
use super::header;
use super::html_text::html_text;
use super::model::{Encoding, ParsedMessage, Part, Picture};
use super::{calendar, charset, html_complexity, pictures, smime, transfer};
use crate::message::escape::escaped;

/// Longest shown text, in characters.
const TEXT: usize = 500_000;
/// Longest HTML, in characters.
const HTML: usize = 2_000_000;
/// Most tags in HTML: parsing nested tags takes quadratic time.
const TAGS: usize = 20_000;
/// Most listed attachments.
pub(super) const PARTS: usize = 200;
/// Total size of attachments inside a signature or an encoded message, in bytes.
const SIGNED: usize = 24 * 1024 * 1024;
/// Deepest nesting of multiparts; real messages have at most about five.
const DEPTH: usize = 50;
/// Deepest nesting of messages.
const NESTED: usize = 4;
/// Most messages within one message.
const MESSAGES: usize = 20;
/// Most pictures shown of a message without text.
const SCANS: usize = 10;
/// Their total size, in bytes: a phone photo has up to 12 MB.
const SCANNED: usize = 12 * 1024 * 1024;

struct Parser<'a> {
    raw: &'a [u8],
    message: &'a Message<'a>,
    out: ParsedMessage,
    /// Parts that may be inline pictures, with their index among the attachments.
    pictures: Vec<(usize, Leaf<'a>)>,
    texts: Vec<Leaf<'a>>,
    level: usize,
}

pub fn parse(raw: &[u8], truncated: bool) -> ParsedMessage {
    parse_at(raw, truncated, 0)
}

fn parse_at(raw: &[u8], truncated: bool, level: usize) -> ParsedMessage {
    let Some(message) = MessageParser::default().parse(raw).filter(|message| !message.parts.is_empty()) else {
        let text = cut(&charset::decode(None, raw), TEXT);
        return ParsedMessage { text: Some(text), truncated, ..ParsedMessage::default() };
    };
    let header = slice(raw, 0, message.parts[0].offset_body);
    let mut parser = Parser {
        raw,
        message: &message,
        out: ParsedMessage { truncated, ..headers(header) },
        pictures: Vec::new(),
        texts: Vec::new(),
        level,
    };
    let mut bodies = Vec::new();
    parser.walk(0, 0, &mut bodies);
    parser.finish(bodies)
}

/// Whether bytes begin with the header of a message (RFC 5322, 3.6).
fn is_message(bytes: &[u8]) -> bool {
    let header = String::from_utf8_lossy(&bytes[..bytes.len().min(16 * 1024)]).to_ascii_lowercase();
    let is_field = |name: &str| header.lines().take_while(|line| !line.is_empty()).any(|line| line.starts_with(name));
    is_field("from:") && (is_field("date:") || is_field("subject:") || is_field("received:"))
}

fn has_ending(name: &str, ending: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, known)| known.eq_ignore_ascii_case(ending))
}

fn slice(raw: &[u8], from: u32, to: u32) -> &[u8] {
    raw.get(from as usize..(to as usize).min(raw.len())).unwrap_or_default()
}

impl<'a> Parser<'a> {
    fn walk(&mut self, id: u32, depth: usize, bodies: &mut Vec<Body>) {
        let message = self.message;
        let Some(part) = message.parts.get(id as usize).filter(|_| depth <= DEPTH) else { return };
        let leaf = Leaf::new(self.raw, part);
        match &part.body {
            PartType::Multipart(children) if leaf.kind.value == "multipart/alternative" => {
                self.alternative(children, depth, bodies);
            }
            PartType::Multipart(children) => {
                if leaf.kind.value == "multipart/encrypted" {
                    self.out.protection = Some(Protection::Encrypted);
                }
                for child in children {
                    self.walk(*child, depth + 1, bodies);
                }
            }
            PartType::Message(_) => self.message(&leaf),
            _ => self.single(leaf, bodies),
        }
    }

    /// multipart/alternative: the first plain text, and the last HTML (RFC 2046, 5.1.4: the richest is last).
    fn alternative(&mut self, children: &[u32], depth: usize, bodies: &mut Vec<Body>) {
        let (mut text, mut html) = (None, None);
        for child in children {
            let mut found = Vec::new();
            self.walk(*child, depth + 1, &mut found);
            let found = joined(found);
            let found_text = found.text.filter(|text| !is_blank(text));
            match found.html {
                // An empty alternative does not count.
                Some(found) if html.is_none() || says_something(&found) => {
                    html = Some(found);
                    text = text.or(found_text);
                }
                _ => text = text.or(found_text),
            }
        }
        if text.is_some() && html.as_deref().is_some_and(|html| !says_something(html)) {
            html = None;
        }
        if text.is_some() || html.is_some() {
            bodies.push(Body::Alternative(TextAndHtml { text, html }));
        }
    }

    fn message(&mut self, leaf: &Leaf<'a>) {
        let decoded;
        let raw = if leaf.encoding == Encoding::Identity {
            leaf.bytes
        } else {
            decoded = leaf.decoded().bytes;
            &decoded
        };
        let fields = Fields(raw);
        let subject = header::text(fields.get("subject").unwrap_or_default());
        let name = leaf.name().map(ToOwned::to_owned).or((!subject.is_empty()).then(|| format!("{subject}.eml")));
        self.attach(leaf, name.as_deref().unwrap_or_default(), "message/rfc822");
        if self.level < NESTED && self.out.nested.len() < MESSAGES {
            let mut nested = parse_at(raw, self.out.truncated, self.level + 1);
            if leaf.encoding != Encoding::Identity {
                let mut room = SIGNED;
                keep_bytes(&mut nested, raw, &mut room);
            }
            // Places of its attachments within the whole message.
            shift(&mut nested, (leaf.encoding == Encoding::Identity).then_some(leaf.from));
            self.out.nested.push(nested);
        }
    }

    fn single(&mut self, leaf: Leaf<'a>, bodies: &mut Vec<Body>) {
        match leaf.kind.value.as_str() {
            "message/rfc822" | "message/global" => self.message(&leaf),
            "text/calendar" | "application/ics" => self.calendar(leaf),
            "application/octet-stream" if leaf.name().is_some_and(|name| has_ending(name, "ics")) => {
                self.calendar(leaf);
            }
            "application/octet-stream" if leaf.name().is_some_and(|name| has_ending(name.trim(), "p7m")) => {
                self.protected(&leaf, bodies);
            }
            "application/octet-stream" | "text/plain"
                if leaf.name().is_some_and(|name| has_ending(name.trim(), "eml"))
                    && is_message(&leaf.decoded().bytes) =>
            {
                self.message(&leaf);
            }
            // An alternative for AMP.
            "text/x-amp-html" => {}
            // Mislabelled: a picture by its first bytes, with a Content-ID.
            kind if kind.starts_with("text/")
                && leaf.content_id.is_some()
                && pictures::raster_type(&leaf.decoded().bytes).is_some() =>
            {
                self.attach(&leaf, leaf.name().unwrap_or_default(), "application/octet-stream");
                self.pictures.push((self.out.parts.len().saturating_sub(1), leaf));
            }
            "application/pkcs7-mime" | "application/x-pkcs7-mime" => self.protected(&leaf, bodies),
            "text/plain" | "text/html" | "text/enriched" | "text/markdown" if !leaf.is_attachment() => {
                bodies.push(self.body(&leaf));
            }
            // Named, but inline (RFC 2183, 2.1).
            kind @ ("text/plain" | "text/html") if leaf.disposition.value == "inline" => {
                let kind = kind.to_owned();
                bodies.push(self.body(&leaf));
                self.attach(&leaf, leaf.name().unwrap_or_default(), &kind);
            }
            // A multipart without parts: its boundary does not occur (RFC 2046, 5.1).
            kind if kind.starts_with("multipart/") => bodies.push(self.body(&leaf)),
            kind => {
                let kind = kind.to_owned();
                self.attach(&leaf, leaf.name().unwrap_or_default(), &kind);
                if kind.starts_with("text/") {
                    self.texts.push(leaf);
                } else if self.pictures.len() < PARTS {
                    self.pictures.push((self.out.parts.len().saturating_sub(1), leaf));
                }
            }
        }
    }

    fn calendar(&mut self, leaf: Leaf<'a>) {
        let LeafText { text, lost } = leaf.text();
        self.out.damaged |= lost;
        let found = calendar::invitation(&text);
        let (is_shown, is_unreadable) = (found.is_some() && !leaf.is_attachment(), found.is_none());
        self.out.invitation = self.out.invitation.take().or(found);
        // An invitation is forwarded with the message.
        if self.attach(&leaf, leaf.name().unwrap_or_default(), "text/calendar")
            && let Some(part) = self.out.parts.last_mut()
        {
            part.shown = is_shown;
        }
        if is_unreadable {
            self.texts.push(leaf);
        }
    }

    fn body(&mut self, leaf: &Leaf<'_>) -> Body {
        let LeafText { text, lost } = leaf.text();
        self.out.damaged |= lost;
        let is_page = leaf.kind.value.starts_with("multipart/") && begins_as_page(text.as_bytes());
        if leaf.kind.value == "text/html" || is_page { Body::Html(text) } else { Body::Text(text) }
    }

    fn protected(&mut self, leaf: &Leaf<'a>, bodies: &mut Vec<Body>) {
        self.attach(leaf, leaf.name().unwrap_or("smime.p7m"), &leaf.kind.value);
        let opened = if self.level < NESTED { smime::open(&leaf.decoded().bytes) } else { smime::Content::Encrypted };
        let content = match opened {
            smime::Content::Signed(content) => content,
            smime::Content::Certificates => return,
            smime::Content::Encrypted => {
                self.out.protection = Some(Protection::Encrypted);
                return;
            }
        };
        let mut inner = parse_at(&content, self.out.truncated, self.level + 1);
        self.out.protection = Some(inner.protection.unwrap_or(Protection::Signed));
        let mut room = SIGNED;
        keep_bytes(&mut inner, &content, &mut room);
        bodies.extend(match (inner.text, inner.html) {
            (None, None) => None,
            (text, html) => Some(Body::Alternative(TextAndHtml { text, html })),
        });
        self.out.invitation = self.out.invitation.take().or(inner.invitation);
        self.out.pictures.extend(inner.pictures);
        self.out.nested.extend(inner.nested);
        self.out.damaged |= inner.damaged;
        let room = PARTS.saturating_sub(self.out.parts.len());
        self.out.parts.extend(inner.parts.into_iter().take(room));
    }

    /// Lists a part as an attachment. `false`: there are too many.
    fn attach(&mut self, leaf: &Leaf<'_>, name: &str, content_type: &str) -> bool {
        if self.out.parts.len() >= PARTS {
            return false;
        }
        let length = u32::try_from(leaf.bytes.len()).unwrap_or(u32::MAX);
        let cut_off = self.out.truncated && (leaf.from + length) as usize >= self.raw.len();
        self.out.parts.push(Part {
            name: file_name(name, content_type, self.out.parts.len() + 1),
            content_type: header::line(content_type),
            from: leaf.from,
            length,
            encoding: leaf.encoding,
            damaged: leaf.encoding == Encoding::Base64 && !cut_off && transfer::loses(leaf.bytes),
            bytes: None,
            shown: false,
        });
        true
    }

    fn finish(mut self, mut bodies: Vec<Body>) -> ParsedMessage {
        let readable = |bodies: &[Body]| bodies.iter().any(Body::is_readable);
        // Readable text is shown, whatever its disposition.
        if !readable(&bodies)
            && self.out.invitation.is_none()
            && let Some((leaf, LeafText { text, lost })) =
                self.texts.iter().map(|leaf| (leaf, leaf.text())).find(|(_, read)| !is_blank(&read.text))
        {
            self.out.damaged |= lost;
            bodies.push(if leaf.kind.value == "text/html" { Body::Html(text) } else { Body::Text(text) });
        }
        if !readable(&bodies) {
            bodies.extend(self.scans().map(Body::Html));
        }
        let TextAndHtml { text, html } = joined(bodies);
        let html = html.map(|html| cut(&html, HTML));
        // Empty HTML, or HTML made to be slow, is shown as text.
        let (html, as_text) = match html {
            Some(html) if html.matches('<').count() <= TAGS && html_complexity::within_limits(&html) => {
                (Some(html), None)
            }
            Some(html) => (None, Some(html_text(&html))),
            None => (None, None),
        };
        self.out.text = text.filter(|text| html.is_none() || !is_blank(text)).or(as_text).map(|text| cut(&text, TEXT));
        if let Some(html) = &html {
            self.inline_pictures(html);
        }
        self.out.html = html;
        self.out
    }

    /// A message without text: its pictures are the content, as in a scan.
    fn scans(&mut self) -> Option<String> {
        let mut html = String::new();
        let mut room = SCANNED;
        for (at, leaf) in self.pictures.iter().take(PARTS) {
            let bytes = leaf.decoded().bytes;
            let Some(content_type) = pictures::raster_type(&bytes).filter(|_| bytes.len() <= room) else { continue };
            room -= bytes.len();
            let id = format!("scan-{at}@entrepost.invalid");
            let name = self.out.parts.get(*at).map(|part| escaped(&part.name)).unwrap_or_default();
            let _ = write!(html, "<p><img src=\"cid:{id}\" alt=\"{name}\"></p>");
            self.out.pictures.push(Picture { id, content_type, bytes });
            if self.out.pictures.len() >= SCANS {
                break;
            }
        }
        (!html.is_empty()).then_some(html)
    }

    fn inline_pictures(&mut self, html: &str) {
        let mut named = pictures::named(html);
        let mut room = pictures::MAX_BYTES;
        for (at, leaf) in &self.pictures {
            let Some(id) = leaf.content_id.clone().or_else(|| leaf.name().map(ToOwned::to_owned)) else { continue };
            if !named.contains(&id) {
                continue;
            }
            let bytes = leaf.decoded().bytes;
            let Some(content_type) = pictures::raster_type(&bytes).filter(|_| bytes.len() <= room) else { continue };
            room -= bytes.len();
            // A second part of the same id is not shown, so it stays in the list.
            named.remove(&id);
            self.out.pictures.push(Picture { id, content_type, bytes });
            if leaf.disposition.value != "attachment"
                && let Some(part) = self.out.parts.get_mut(*at)
            {
                part.shown = true;
            }
        }
    }
}

fn cut(text: &str, most: usize) -> String {
    text.chars().filter(|c| *c != '\0').take(most).collect()
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
            --r\r\nContent-Type: image/png\r\nContent-ID: <pic@x>\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0KGgoAAAANSUhEUg==\r\n--r--\r\n\
            --m\r\nContent-Type: application/pdf; name=\"../../etc/plan.pdf\"\r\nContent-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERi0x\r\n--m--\r\n";
        let opened = parse(raw.as_bytes(), false);
        assert_eq!(
            opened.from,
            [crate::message::model::Party { name: "Jürgen".into(), address: "j@x.example".into() }]
        );
        assert_eq!(opened.to.len(), 2);
        assert_eq!(opened.subject, "Grüße");
        assert_eq!(opened.text.as_deref().map(str::trim), Some("Schön"));
        assert!(opened.html.as_deref().unwrap().contains("cid:pic@x"));
        assert_eq!(opened.message_id.as_deref(), Some("<2@x.example>"));
        assert_eq!(opened.references, ["<0@x.example>", "<1@x.example>"]);
        assert_eq!(opened.pictures.len(), 1);
        let [picture, part] = opened.parts.as_slice() else { panic!("{:?}", opened.parts) };
        assert!(picture.shown && !part.shown);
        assert_eq!((part.name.as_str(), part.encoding), ("_.._etc_plan.pdf", Encoding::Base64));
        let bytes = &raw.as_bytes()[part.from as usize..(part.from + part.length) as usize];
        assert_eq!(String::from_utf8_lossy(bytes).trim(), "JVBERi0x");
    }

    #[test]
    fn text_beside_html_is_shown_and_pictures_that_nothing_shows_are_listed() {
        let raw = "Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\nContent-Type: text/plain\r\n\r\nFirst <line>\r\n\
            --m\r\nContent-Type: text/html\r\n\r\n<p>Then <img src=\"cid:one%40x\"></p>\r\n\
            --m\r\nContent-Type: image/png; name=one.png\r\nContent-ID: <one@x>\r\nContent-Disposition: inline\r\n\r\nGIF89a....\r\n\
            --m\r\nContent-Type: image/png; name=two.png\r\nContent-ID: <two@x>\r\nContent-Disposition: inline\r\n\r\nGIF89a....\r\n--m--\r\n";
        let opened = parse(raw.as_bytes(), false);
        assert!(opened.html.as_deref().unwrap().contains("First &lt;line&gt;"), "{opened:?}");
        assert_eq!(opened.pictures.len(), 1);
        let listed = opened.parts.iter().filter(|part| !part.shown).map(|part| part.name.as_str());
        assert_eq!(listed.collect::<Vec<_>>(), ["two.png"]);
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
            let opened = parse(raw, false);
            assert!(opened.subject.len() <= 4_000 && opened.parts.len() <= PARTS && opened.to.len() <= 500);
            let _ = crate::message::sanitize::document(&opened, false);
            let _ = header::summary(raw);
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    }

    #[test]
    fn chains_stay_short_and_clean() {
        let long: String = (0..100).map(|n| format!("<{n}@x.example> ")).collect();
        let opened = parse(format!("References: {long}\r\n\r\n").as_bytes(), false);
        assert_eq!(opened.references.len(), 20);
        assert_eq!(opened.references[0], "<0@x.example>");
        assert_eq!(opened.references[19], "<99@x.example>");
    }
}
