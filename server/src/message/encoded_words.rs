//! Encoded words of header fields (RFC 2047), rewritten before mail-parser reads them.
//!
//! mail-parser decodes each word separately, so a letter split between two words breaks (RFC 2047, 5, forbids the split, but many
//! programs do it). It also ignores words inside quotes, which RFC 2047 does not allow but programs write. This module joins
//! neighbours of one charset, decodes them with [`super::charset`], and writes one UTF-8 word, so that commas and quotes in names
//! stay hidden from the address parser.

use base64::prelude::{BASE64_STANDARD, Engine};

use super::model::Encoding;
use super::{charset, transfer};

/// Largest header, in bytes.
const HEADER: usize = 4 * 1024 * 1024;

/// Longest name of a charset, in bytes.
const CHARSET: usize = 60;
/// Longest word, in bytes. RFC 2047, 2, allows 75; programs that never fold write whole subjects into one.
const WORD: usize = 5_000;

/// One encoded word: charset, bytes, and the text after it.
struct Word<'a> {
    charset: &'a str,
    bytes: Vec<u8>,
    /// Its base64 text, for encoding B.
    base64: Option<String>,
    rest: &'a str,
}

/// The encoded word that `text`, which begins with `=?`, begins with.
fn word(text: &str) -> Option<Word<'_>> {
    let text = text.strip_prefix("=?")?;
    let (charset, rest) = text.split_at(text.bytes().take(CHARSET).position(|byte| byte == b'?')?);
    let rest = &rest[1..];
    if charset.is_empty() || charset.contains(|c: char| c.is_whitespace() || c == '=') {
        return None;
    }
    let mut letters = rest.chars();
    let encoding = letters.next()?.to_ascii_lowercase();
    let rest = letters.as_str().strip_prefix('?')?;
    // In Q a question mark must be encoded: the first `?=` is the end. Some programs write `=?…?Q??=`.
    let end = rest[..rest.floor_char_boundary(WORD)].find("?=")?;
    let (data, rest) = (&rest[..end], &rest[end + 2..]);
    if data.contains(['\r', '\n']) && !data.contains("\r\n ") && !data.contains("\n ") {
        return None;
    }
    let base64 = (encoding == 'b').then(|| data.replace(char::is_whitespace, ""));
    let bytes = match encoding {
        // Continued in another parameter (RFC 2231): the pieces are joined first.
        'b' if data.contains(['"', ';']) => return None,
        'b' => transfer::decode(Encoding::Base64, base64.as_deref().unwrap_or_default().as_bytes()).bytes,
        'q' => {
            // Blanks at the end of a line are data.
            let data = data.replace("\r\n", "").replace('\n', "").replace(['_', ' '], "=20");
            transfer::decode(Encoding::QuotedPrintable, data.as_bytes()).bytes
        }
        _ => return None,
    };
    // RFC 2231, 5: a language may follow the charset.
    let charset = charset.split('*').next().unwrap_or(charset);
    Some(Word { charset, bytes, base64, rest })
}

pub fn decoded(text: &str) -> String {
    replaced(text, |decoded, out| out.push_str(decoded))
}

/// Rewrites each run of encoded words as one UTF-8 word. Offsets change: only for reading fields.
pub fn normalised(header: &[u8]) -> String {
    let header = charset::header_text(&header[..header.len().min(HEADER)]);
    replaced(&header, |decoded, out| {
        out.push_str("=?utf-8?B?");
        out.push_str(&BASE64_STANDARD.encode(decoded));
        out.push_str("?=");
    })
}

/// The bytes of two words whose base64 was split within a group, and their joined text. `None`: each word is whole by itself, as
/// encoders without pads write them.
fn joined(charset: &str, before: &[u8], behind: &[u8], first: String, second: &str) -> Option<(Vec<u8>, String)> {
    let encoding = encoding_rs::Encoding::for_label(charset.as_bytes())?;
    let is_clean = |bytes: &[u8]| encoding.decode_without_bom_handling_and_without_replacement(bytes).is_some();
    let alone = transfer::decode(Encoding::Base64, first.as_bytes()).bytes.len();
    let text = first + second;
    let mut whole = before[..before.len() - alone].to_vec();
    whole.extend(transfer::decode(Encoding::Base64, text.as_bytes()).bytes);
    (is_clean(&whole) && !is_clean(&[before, behind].concat())).then_some((whole, text))
}

/// Whether base64 ends within a group of four characters.
fn is_cut(base64: &str) -> bool {
    base64.len() < WORD && !base64.len().is_multiple_of(4) && !base64.ends_with('=')
}

fn replaced(text: &str, mut put: impl FnMut(&str, &mut String)) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("=?") {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let Some(first) = word(rest) else {
            out.push_str("=?");
            rest = &rest[2..];
            continue;
        };
        let mut decoded = String::new();
        let (mut charset, mut bytes, mut base64) = (first.charset, first.bytes, first.base64);
        rest = first.rest;
        // Blanks between two words are not part of the text (RFC 2047, 6.2).
        while let Some(next) = Some(rest.trim_start()).filter(|next| next.starts_with("=?")).and_then(word) {
            let is_same = next.charset.eq_ignore_ascii_case(charset);
            let joined = match (base64.filter(|base64| is_same && is_cut(base64)), &next.base64) {
                (Some(before), Some(behind)) => joined(charset, &bytes, &next.bytes, before, behind),
                _ => None,
            };
            match (joined, next.base64) {
                // Split within a group of base64.
                (Some((whole, text)), _) => (bytes, base64) = (whole, Some(text)),
                (_, behind) if is_same => {
                    bytes.extend(next.bytes);
                    base64 = behind;
                }
                (_, behind) => {
                    decoded.push_str(&charset::decode(Some(charset), &bytes));
                    (charset, bytes, base64) = (next.charset, next.bytes, behind);
                }
            }
            rest = next.rest;
        }
        decoded.push_str(&charset::decode(Some(charset), &bytes));
        put(&decoded, &mut out);
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_that_are_split_between_words_are_whole() {
        for (wire, text) in [
            ("=?UTF-8?B?xQ==?= =?UTF-8?B?vWl2aWzElw==?=", "Živilė"),
            ("=?UTF-8?Q?Kvie=C4=8Diame_=C5=A1vent=C4?=\r\n =?utf-8?q?=99?=", "Kviečiame šventę"),
            ("=?UTF-8?Q?=C5?= =?UTF-8?B?vWl2aWzElw==?=", "Živilė"),
            ("=?gb2312?B?vA==?=\r\n\t=?GB2312?B?0rOku+E=?=", "家长会"),
            ("=?utf-8?q?a?= b =?utf-8?q?c?=", "a b c"),
            ("=?utf-8?q?a?= =?iso-8859-1?q?=FC?=", "aü"),
            ("=?utf-8*de?q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
            ("=?utf-8?q?a?==?utf-8?q?b?=", "ab"),
            ("=?utf-8?q?with blanks in it?=", "with blanks in it"),
            ("=?utf-8?q?under_score=5F?= x", "under score_ x"),
            ("=?utf-8?b?R3LDvMOfZQ?=", "Grüße"),
            ("=?utf-8?b?R3L?= =?utf-8?b?DvMOfZQ==?=", "Grüße"),
            ("=?utf-8?b?R3LDvMOfZQ?= =?utf-8?b?R3LDvMOfZQ?=", "GrüßeGrüße"),
            ("=?utf-8?b?SGVsbG8h!?=", "Hello!"),
            ("=?iso-2022-jp?B?GyRCO340VjNkGyhC?=", "時間割"),
            ("=?unknown-8bit?q?Gr=FC=DFe?=", "Grüße"),
        ] {
            assert_eq!(decoded(wire), text, "{wire}");
            assert_eq!(decoded(&normalised(wire.as_bytes())), text, "{wire}");
        }
    }

    #[test]
    fn what_is_no_encoded_word_stays() {
        for text in ["=?", "a =?b", "=?utf-8?x?abc?=", "1 =? 2", "=?utf-8?q?never ends", "=??q?a?=", "Ünïcode"] {
            assert_eq!(decoded(text), text);
            assert_eq!(normalised(text.as_bytes()), text);
        }
        assert_eq!(normalised(b"Subject: Gr\xfc\xdfe"), "Subject: Grüße");
    }

    #[test]
    fn many_words_take_no_long_time() {
        let started = std::time::Instant::now();
        for text in [
            "=?utf-8?q?a?= ".repeat(10_000),
            "=?".repeat(50_000),
            "=?utf-8?q?".repeat(10_000),
            "=?a?q?x".repeat(15_000),
        ] {
            let _ = decoded(&text);
        }
        assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
    }
}
