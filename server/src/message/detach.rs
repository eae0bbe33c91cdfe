//! Takes the files out of a message that is too large for one request.

use mail_parser::{MessageParser, MessagePart, MimeHeaders, PartType};

use super::fields::end_of_field;
use super::model::Encoding;
use super::transfer::decode;

/// A file of a message.
pub struct Detached {
    pub name: String,
    pub content_type: String,
    /// Of a picture that the text shows.
    pub content_id: Option<String>,
    pub bytes: Vec<u8>,
}

/// The message with its text alone, at most so many bytes, and the rest as files. `None`: its parts belong together, as those of a
/// signed one do, or its text is too long, or a file cannot be decoded.
pub fn detached(raw: &[u8], most: usize) -> Option<(Vec<u8>, Vec<Detached>)> {
    let message = MessageParser::default().parse(raw)?;
    let root = message.parts.first()?;
    let mut light = header_without_type(raw.get(..root.offset_body as usize)?);
    let mut files = Vec::new();
    light.extend_from_slice(text_of(raw, &message.parts, 0, most, false, &mut files)?);
    (light.len() <= most).then_some((light, files))
}

/// In place of a text where there are only files.
const NO_TEXT: &[u8] = b"Content-Type: text/plain\r\n\r\n";

/// The text of a part, with its own header; what is none becomes a file.
fn text_of<'a>(
    raw: &'a [u8],
    parts: &[MessagePart<'_>],
    id: u32,
    most: usize,
    related: bool,
    files: &mut Vec<Detached>,
) -> Option<&'a [u8]> {
    let part = parts.get(id as usize)?;
    let own = raw.get(part.offset_header as usize..part.offset_end as usize)?;
    let (kind, subtype) = type_of(part);
    match &part.body {
        PartType::Multipart(children) if id == 0 || own.len() > most => {
            let is_list = subtype == "mixed" || subtype == "related";
            let (first, others) = children.split_first().filter(|_| is_list)?;
            let related = subtype == "related";
            let text = text_of(raw, parts, *first, most, related, files)?;
            for other in others {
                files.push(file(raw, parts.get(*other as usize)?, related)?);
            }
            Some(text)
        }
        // Small enough to stay as it is, pictures and all.
        PartType::Multipart(_) => Some(own),
        _ if id == 0 && (kind.is_empty() || kind == "text") => None,
        _ if (kind.is_empty() || kind == "text") && own.len() <= most && part.attachment_name().is_none() => Some(own),
        _ => {
            files.push(file(raw, part, related)?);
            Some(NO_TEXT)
        }
    }
}

/// In lower case.
fn type_of(part: &MessagePart<'_>) -> (String, String) {
    let kind = part.content_type();
    let subtype = kind.and_then(|kind| kind.subtype()).unwrap_or_default();
    (kind.map(|kind| kind.ctype().to_ascii_lowercase()).unwrap_or_default(), subtype.to_ascii_lowercase())
}

fn file(raw: &[u8], part: &MessagePart<'_>, related: bool) -> Option<Detached> {
    let own = raw.get(part.offset_body as usize..part.offset_end as usize)?;
    let bytes = match &part.body {
        PartType::Multipart(_) => return None,
        // As it stands: its own encoding is part of it.
        PartType::Message(_) => own.to_vec(),
        // Not as mail-parser gives it: that has changed the characters of texts.
        _ => {
            let decoded = decode(Encoding::of(part.content_transfer_encoding().unwrap_or_default()), own);
            if decoded.lost {
                return None;
            }
            decoded.bytes
        }
    };
    let (kind, subtype) = type_of(part);
    let is_shown = related || part.content_disposition().is_some_and(mail_parser::ContentType::is_inline);
    Some(Detached {
        name: part.attachment_name().unwrap_or("attachment").to_owned(),
        content_type: if kind.is_empty() { "application/octet-stream".to_owned() } else { format!("{kind}/{subtype}") },
        content_id: part.content_id().filter(|_| is_shown).map(ToOwned::to_owned),
        bytes,
    })
}

/// The fields of the whole message, without those of its first part's type and without the empty line.
fn header_without_type(header: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(header.len()), header);
    while !rest.is_empty() && !rest.starts_with(b"\n") && !rest.starts_with(b"\r\n") {
        let (field, after) = rest.split_at(end_of_field(rest));
        rest = after;
        let name = field.split(|byte| *byte == b':').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
        if !name.starts_with(b"content-") {
            out.extend_from_slice(field);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "From: a@x.example\r\nMIME-Version: 1.0\r\nMessage-ID: <1@x>\r\n";
    const PDF: &str = "Content-Type: application/pdf; name=\"scan.pdf\"\r\nContent-Transfer-Encoding: base64\r\nContent-ID: <x>\r\nContent-Disposition: attachment; filename=\"scan.pdf\"\r\n\r\nJVBERi0=\r\n";
    const TEXT: &str =
        "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nH=C3=A9llo\r\n";

    fn mixed(subtype: &str, parts: &[&str]) -> String {
        let parts: String = parts.iter().map(|part| format!("--b\r\n{part}")).collect();
        format!("{HEAD}Content-Type: multipart/{subtype}; boundary=\"b\"\r\n\r\n{parts}--b--\r\n")
    }

    fn of(raw: &str) -> Option<(String, Vec<Detached>)> {
        detached(raw.as_bytes(), 1_000).map(|(light, files)| (String::from_utf8(light).unwrap(), files))
    }

    #[test]
    fn files_leave_a_message_and_its_header_stays() {
        let (light, files) = of(&mixed("mixed", &[TEXT, PDF])).unwrap();
        assert!(light.starts_with(&format!("{HEAD}Content-Type: text/plain")), "{light}");
        assert!(light.contains("\r\n\r\nH=C3=A9llo") && !light.contains("--b"), "{light}");
        assert_eq!(files.len(), 1);
        assert_eq!((files[0].name.as_str(), files[0].content_type.as_str()), ("scan.pdf", "application/pdf"));
        assert_eq!((files[0].bytes.as_slice(), files[0].content_id.as_deref()), (&b"%PDF-"[..], None), "not hidden");
    }

    #[test]
    fn a_scan_without_a_text_is_a_file() {
        for raw in [mixed("mixed", &[PDF]), format!("{HEAD}{PDF}")] {
            let (light, files) = of(&raw).unwrap();
            assert!(light.ends_with("Content-Type: text/plain\r\n\r\n"), "{light}");
            assert_eq!(files[0].bytes, b"%PDF-");
        }
    }

    #[test]
    fn texts_are_files_byte_by_byte() {
        let csv = "Content-Type: text/csv; charset=windows-1252; name=\"a.csv\"\r\nContent-Disposition: attachment; filename=\"a.csv\"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nn=E4me;1=\r\n";
        let (_, files) = of(&mixed("mixed", &[TEXT, csv])).unwrap();
        assert_eq!(files[0].bytes, b"n\xE4me;1");
    }

    #[test]
    fn pictures_of_a_long_page_are_shown_in_it() {
        let picture = format!(
            "Content-Type: image/png\r\nContent-ID: <p@x>\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n",
            "iVBORw0K".repeat(200)
        );
        let related = format!(
            "Content-Type: multipart/related; boundary=\"r\"\r\n\r\n--r\r\nContent-Type: text/html\r\n\r\n<img src=cid:p@x>\r\n--r\r\n{picture}--r--\r\n"
        );
        let (light, files) = of(&mixed("mixed", &[&related, PDF])).unwrap();
        assert!(light.contains("Content-Type: text/html") && !light.contains("iVBOR"), "{light}");
        assert_eq!(files[0].content_id.as_deref(), Some("p@x"));
        assert_eq!(files[1].name, "scan.pdf");
    }

    #[test]
    fn what_belongs_together_stays_together() {
        assert!(of(&mixed("signed; protocol=\"application/pkcs7-signature\"", &[TEXT, PDF])).is_none());
        assert!(of(&format!("{HEAD}\r\nJust text.\r\n")).is_none());
        let broken = PDF.replace("JVBERi0=", "JVBER");
        assert!(of(&mixed("mixed", &[TEXT, &broken])).is_none());
    }
}
