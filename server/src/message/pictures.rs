//! Inline pictures. Their type comes from their first bytes, not from the sender.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashSet;

use base64::prelude::{BASE64_STANDARD, Engine};

use html5ever::buffer_queue::BufferQueue;
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::{TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};

use super::model::Encoding;
use super::transfer;

/// Total size of inline pictures, in bytes.
pub(super) const MAX_BYTES: usize = 6 * 1024 * 1024;
/// Longest `data:` URL, in bytes.
const DATA: usize = 8 * 1024 * 1024;

/// Longest Content-ID, in bytes.
const CONTENT_ID: usize = 300;
/// Most Content-IDs of one HTML.
const NAMED: usize = 800;
/// Most `data:` URLs in one message.
const DATA_URLS: usize = 1_000;

/// Type of a raster image that browsers show, by its first bytes. SVG may contain scripts and is excluded.
pub fn raster_type(bytes: &[u8]) -> Option<&'static str> {
    let kind = infer::get(bytes)?.mime_type();
    match kind {
        "image/png" | "image/jpeg" | "image/gif" | "image/webp" | "image/bmp" | "image/avif" => Some(kind),
        "image/vnd.microsoft.icon" => Some("image/x-icon"),
        _ => None,
    }
}

/// The picture in a `data:` URL (RFC 2397).
pub fn of_data_url(url: &str) -> Option<(&'static str, Vec<u8>)> {
    let (head, data) = url.get(..DATA.min(url.len()))?.split_once(',')?;
    let head = head.get(5..)?.to_ascii_lowercase();
    let unescaped: Cow<'_, [u8]> = percent_encoding::percent_decode_str(data).into();
    let bytes = if head.trim_end().ends_with("base64") {
        transfer::decode(Encoding::Base64, &unescaped).bytes
    } else {
        unescaped.into_owned()
    };
    Some((raster_type(&bytes)?, bytes))
}

/// A `data:` URL of a picture.
pub fn data_url(content_type: &str, bytes: &[u8]) -> String {
    format!("data:{content_type};base64,{}", BASE64_STANDARD.encode(bytes))
}

/// Pictures in the `data:` URLs of HTML, at most `most`.
pub fn of_html(html: &str, most: usize) -> Vec<(&'static str, Vec<u8>)> {
    let lower = html.to_ascii_lowercase();
    let mut found = Vec::new();
    // The declared type does not matter: the bytes decide.
    for (at, _) in lower.match_indices("data:").take(DATA_URLS) {
        let rest = &html[at..];
        let end = rest.bytes().position(|byte| matches!(byte, b'"' | b'\'' | b'>' | b')')).unwrap_or(rest.len());
        found.extend(of_data_url(&rest[..end]));
        if found.len() >= most {
            break;
        }
    }
    found
}

/// Content-IDs that HTML shows as pictures, as written and percent-decoded (RFC 2392). Backgrounds, and comments for other
/// programs, show none.
pub fn named(html: &str) -> HashSet<String> {
    let tokenizer = Tokenizer::new(ShownPictures::default(), TokenizerOpts::default());
    let input = BufferQueue::default();
    input.push_back(StrTendril::from(html));
    let _ = tokenizer.feed(&input);
    tokenizer.end();
    tokenizer.sink.0.into_inner()
}

#[derive(Default)]
struct ShownPictures(RefCell<HashSet<String>>);

impl TokenSink for ShownPictures {
    type Handle = ();

    fn process_token(&self, token: Token, _: u64) -> TokenSinkResult<()> {
        let mut named = self.0.borrow_mut();
        if let Token::TagToken(tag) = token
            && tag.kind == TagKind::StartTag
            && &*tag.name == "img"
            && named.len() < NAMED
        {
            let source = tag.attrs.iter().find(|attribute| &*attribute.name.local == "src");
            let source = source.map(|attribute| attribute.value.trim()).unwrap_or_default();
            let id = source.get(..4).filter(|scheme| scheme.eq_ignore_ascii_case("cid:")).map(|_| &source[4..]);
            if let Some(id) = id.filter(|id| id.len() <= CONTENT_ID) {
                named.insert(content_id(id));
                named.insert(id.to_owned());
            }
        }
        TokenSinkResult::Continue
    }
}

/// Decodes a Content-ID from a URL (RFC 2392).
pub(super) fn content_id(named: &str) -> String {
    percent_encoding::percent_decode_str(named).decode_utf8_lossy().into_owned()
}

pub fn ending(content_type: &str) -> &'static str {
    match content_type {
        "image/jpeg" => "jpg",
        "image/gif" => "gif",
        "image/webp" => "webp",
        "image/bmp" => "bmp",
        "image/avif" => "avif",
        "image/x-icon" => "ico",
        _ => "png",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_say_what_a_picture_is() {
        for (bytes, kind) in [
            (&b"\x89PNG\r\n\x1a\n...."[..], Some("image/png")),
            (b"GIF89a....", Some("image/gif")),
            (b"\xff\xd8\xff\xe0....", Some("image/jpeg")),
            (b"RIFF\x10\0\0\0WEBPVP8 ", Some("image/webp")),
            (b"BM\x46\0\0\0", Some("image/bmp")),
            (b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>", None),
            (b"<html><script>alert(1)</script>", None),
            (b"%PDF-1.4", None),
            (b"", None),
        ] {
            assert_eq!(raster_type(bytes), kind, "{bytes:?}");
        }
    }

    #[test]
    fn data_addresses_are_read_however_they_are_written() {
        let gif = BASE64_STANDARD.encode(b"GIF89a....");
        for url in [
            format!("data:image/gif;base64,{gif}"),
            format!("DATA:image/svg+xml;BASE64,{gif}"),
            format!("data:application/octet-stream;name=a.gif;base64,{}", gif.replace('=', "%3D")),
            "data:,GIF89a....".to_owned(),
        ] {
            assert_eq!(of_data_url(&url).map(|(kind, _)| kind), Some("image/gif"), "{url}");
        }
        assert_eq!(of_data_url("data:image/png;base64,PHN2Zy8+"), None, "SVG");
        assert_eq!(of_html(&format!("<img src='data:image/gif;base64,{gif}'>").repeat(3), 2).len(), 2);
    }
}
