//! Decodes text: by its charset label, or by a guess from the bytes.
//!
//! Labels are those of the WHATWG encoding standard. It maps ISO-2022-KR and HZ-GB-2312 to the replacement encoding, because
//! browsers must not run scripts hidden in them. Mail runs no scripts, so both are decoded here (RFC 1557, RFC 1843).

use std::borrow::Cow;

use encoding_rs::{EUC_KR, Encoding, GBK, ISO_2022_JP, REPLACEMENT, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// Bytes of HTML searched for `<meta charset>`. The HTML standard (13.2.3.2) says 1,024, but mail has longer heads.
const META_WITHIN: usize = 4_096;

/// Decodes text with the charset `label`, if there is one.
pub fn decode(label: Option<&str>, bytes: &[u8]) -> String {
    let label = label.map(|label| label.trim_matches(|c: char| c.is_whitespace() || "\"'".contains(c)).to_lowercase());
    let Some(label) = label.filter(|label| !label.is_empty()) else { return guess(bytes) };
    match label.as_str() {
        "iso-2022-kr" | "csiso2022kr" => return iso_2022_kr(bytes),
        "hz-gb-2312" | "hz" => return hz(bytes),
        _ => {}
    }
    let Some(encoding) = Encoding::for_label(label.as_bytes()).filter(|encoding| *encoding != REPLACEMENT) else {
        // UTF-7, DOS code pages and similar.
        return match mail_parser::decoders::charsets::map::charset_decoder(label.as_bytes()) {
            Some(decoder) if label != "us-ascii" => decoder(bytes),
            _ => guess(bytes),
        };
    };
    // Some programs write UTF-8 under any label.
    if encoding == UTF_8 && has_escapes(bytes) || encoding != UTF_8 && is_utf8_all_the_same(encoding, bytes) {
        return guess(bytes);
    }
    // A label of Latin letters is often only the default of a program that wrote UTF-8 or a national charset.
    if encoding == WINDOWS_1252 {
        return if bytes.is_ascii() || is_utf8(bytes) || label.contains("ascii") {
            guess(bytes)
        } else {
            encoding.decode(bytes).0.into_owned()
        };
    }
    // Line ends and blanks in UTF-16 contain NULs: UTF-8 without one is not UTF-16.
    if [UTF_16LE, UTF_16BE].contains(&encoding) && std::str::from_utf8(bytes).is_ok() && !bytes.contains(&0) {
        return guess(bytes);
    }
    let bytes = &*if encoding == ISO_2022_JP { without_idle_escapes(bytes) } else { Cow::Borrowed(bytes) };
    let (text, _, wrong) = encoding.decode(bytes);
    if !wrong {
        return text.into_owned();
    }
    if encoding == UTF_8 {
        // A truncated last character doesn't disprove the label.
        return if is_utf8(bytes) { text.into_owned() } else { guess(bytes) };
    }
    if is_utf8(bytes) { guess(bytes) } else { text.into_owned() }
}

/// Decodes HTML by its label, by `<meta charset>`, or by a guess.
pub fn decode_html(label: Option<&str>, bytes: &[u8]) -> String {
    let known = label.filter(|label| {
        let label = label.trim().to_lowercase();
        !label.is_empty() && label != "us-ascii" && label != "ascii" && Encoding::for_label(label.as_bytes()).is_some()
    });
    // A charset in the HTML outweighs a default label of Latin letters.
    let is_default = |label: &str| is_label_of(label, WINDOWS_1252) && !bytes.is_ascii() && !is_utf8(bytes);
    if let (Some(label), Some(named)) = (known, meta_charset(bytes))
        && is_default(label)
        && Encoding::for_label(named.as_bytes()).is_some_and(|named| named != UTF_8)
    {
        return decode(Some(&named), bytes);
    }
    match known {
        Some(label) if !is_label_of(label, UTF_8) || is_utf8(bytes) => decode(Some(label), bytes),
        _ if is_utf8(bytes) && !has_escapes(bytes) => decode(label, bytes),
        // A few broken letters, and a `<meta>` left over from before the text became UTF-8.
        _ if is_mostly_utf8(bytes) && !bytes.is_ascii() => guess(bytes),
        _ => decode(meta_charset(bytes).as_deref().or(label), bytes),
    }
}

fn is_label_of(label: &str, encoding: &'static Encoding) -> bool {
    Encoding::for_label(label.trim().as_bytes()) == Some(encoding)
}

/// Whether bytes are UTF-8, except for a truncated last character. A single byte after ASCII means another charset.
fn is_utf8(bytes: &[u8]) -> bool {
    match std::str::from_utf8(bytes) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none() && !bytes[..error.valid_up_to()].is_ascii(),
    }
}

/// Whether bytes are UTF-8 under another label. In single-byte charsets nothing else looks like UTF-8; in double-byte charsets short
/// words do (`联通` in GBK), but not several letters of three bytes.
fn is_utf8_all_the_same(encoding: &'static Encoding, bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    // Pairs of capitals look like rare letters: `ÓŁ` in ISO-8859-2 looks like `ӣ`.
    let is_usual = |c: char| {
        matches!(c, '\0'..='\u{17f}' | '\u{370}'..='\u{45f}' | '\u{590}'..='\u{6ff}' | '\u{e00}'..='\u{e7f}'
            | '\u{2000}'..='\u{27bf}' | '\u{3000}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' | '\u{ff00}'..='\u{ffef}' | '\u{1f300}'..='\u{1faff}')
    };
    if bytes.is_ascii() || [UTF_16LE, UTF_16BE].contains(&encoding) || !text.chars().all(is_usual) {
        return false;
    }
    encoding.is_single_byte() || bytes.iter().filter(|byte| (0xe0..=0xef).contains(*byte)).count() >= 3
}

/// Whether bytes are UTF-8 except for a few that were appended or broken.
fn is_mostly_utf8(bytes: &[u8]) -> bool {
    let (mut letters, mut faults) = (0_usize, 0_usize);
    for chunk in bytes.utf8_chunks() {
        letters += chunk.valid().chars().filter(|c| !c.is_ascii()).count();
        faults += usize::from(!chunk.invalid().is_empty());
    }
    letters > faults
}

/// Decodes UTF-8 and its invalid bytes as Windows-1252.
fn mixed(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.push_str(&WINDOWS_1252.decode_without_bom_handling(chunk.invalid()).0);
    }
    text
}

/// ISO-2022-JP without redundant escapes, as between two encoded words: decoders report them as errors.
fn without_idle_escapes(bytes: &[u8]) -> Cow<'_, [u8]> {
    let length = |at: usize| match bytes[at..] {
        [0x1b, b'$', b'(', _, ..] => Some(4),
        [0x1b, b'$' | b'(', _, ..] => Some(3),
        _ => None,
    };
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match length(at) {
            Some(escape) if length((at + escape).min(bytes.len())).is_some() => at += escape,
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    if out.len() == bytes.len() { Cow::Borrowed(bytes) } else { Cow::Owned(out) }
}

/// Whether bytes contain ISO 2022 escapes to Japanese or Korean sets.
fn has_escapes(bytes: &[u8]) -> bool {
    bytes.is_ascii()
        && [&b"\x1b$B"[..], b"\x1b$@", b"\x1b$(D", b"\x1b(J", b"\x1b(I", b"\x1b$)C"]
            .iter()
            .any(|escape| find(bytes, escape).is_some())
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// Guesses the charset as mail programs do: ISO 2022 escapes, valid UTF-8, otherwise Windows-1252.
fn guess(bytes: &[u8]) -> String {
    if has_escapes(bytes) {
        return if find(bytes, b"\x1b$)C").is_some() {
            iso_2022_kr(bytes)
        } else {
            ISO_2022_JP.decode(&without_idle_escapes(bytes)).0.into_owned()
        };
    }
    // A byte order mark decides (WHATWG encoding standard, "BOM sniff").
    if let Some((encoding, _)) = Encoding::for_bom(bytes) {
        return encoding.decode(bytes).0.into_owned();
    }
    if is_utf8(bytes) {
        return UTF_8.decode(bytes).0.into_owned();
    }
    if is_mostly_utf8(bytes) { mixed(bytes) } else { WINDOWS_1252.decode(bytes).0.into_owned() }
}

/// The charset in `<meta charset=…>` or `<meta … content="text/html; charset=…">`.
fn meta_charset(html: &[u8]) -> Option<String> {
    let head = html[..html.len().min(META_WITHIN)].to_ascii_lowercase();
    let mut rest = head.as_slice();
    while let Some(at) = find(rest, b"<meta") {
        let tag = &rest[at + 5..];
        let end = tag.iter().position(|byte| *byte == b'>').unwrap_or(tag.len());
        if let Some(at) = find(&tag[..end], b"charset") {
            let value = tag[at + 7..end].trim_ascii_start();
            if let Some(value) = value.strip_prefix(b"=") {
                let value = value.trim_ascii_start();
                let value = value.strip_prefix(b"\"").or_else(|| value.strip_prefix(b"'")).unwrap_or(value);
                let end = value
                    .iter()
                    .position(|byte| byte.is_ascii_whitespace() || b"\"';/>".contains(byte))
                    .unwrap_or(value.len());
                let label = &value[..end];
                // HTML readable as ASCII is not UTF-16 (HTML standard, 13.2.3.2).
                let is_wide = Encoding::for_label(label).is_some_and(|found| [UTF_16LE, UTF_16BE].contains(&found));
                if end > 0 && !is_wide {
                    return Some(String::from_utf8_lossy(label).into_owned());
                }
            }
        }
        rest = &tag[end..];
    }
    None
}

/// RFC 1557: the bytes between SO and SI are KS X 1001 without its high bits.
fn iso_2022_kr(bytes: &[u8]) -> String {
    let mut plain = Vec::with_capacity(bytes.len());
    let (mut shifted, mut at) = (false, 0);
    while at < bytes.len() {
        match bytes[at] {
            0x1b if bytes[at..].starts_with(b"\x1b$)C") => at += 3,
            0x0e => shifted = true,
            0x0f => shifted = false,
            // The end of a line ends the shift.
            byte @ (b'\r' | b'\n') => {
                shifted = false;
                plain.push(byte);
            }
            byte if shifted && (0x21..=0x7e).contains(&byte) => plain.push(byte | 0x80),
            byte => plain.push(byte),
        }
        at += 1;
    }
    EUC_KR.decode_without_bom_handling(&plain).0.into_owned()
}

/// RFC 1843: between `~{` and `~}` are bytes of GB 2312 without their high bits.
fn hz(bytes: &[u8]) -> String {
    let mut plain = Vec::with_capacity(bytes.len());
    let (mut chinese, mut at) = (false, 0);
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'~', Some(b'{')) => (chinese, at) = (true, at + 1),
            (b'~', Some(b'}')) => (chinese, at) = (false, at + 1),
            (b'~', Some(b'~')) if !chinese => {
                plain.push(b'~');
                at += 1;
            }
            // Folded line.
            (b'~', Some(b'\n')) if !chinese => at += 1,
            (b'~', Some(b'\r')) if !chinese && bytes.get(at + 2) == Some(&b'\n') => at += 2,
            (byte @ (b'\r' | b'\n'), _) => {
                chinese = false;
                plain.push(byte);
            }
            (byte, _) if chinese && (0x21..=0x7e).contains(&byte) => plain.push(byte | 0x80),
            (byte, _) => plain.push(byte),
        }
        at += 1;
    }
    GBK.decode_without_bom_handling(&plain).0.into_owned()
}

/// Header fields as UTF-8. Fields with other bytes than ASCII, which RFC 6532 requires to be UTF-8, are decoded one by one: by the
/// charset of the body, otherwise by a guess.
pub fn header_text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !has_escapes(bytes) => return Cow::Borrowed(text),
        _ => {}
    }
    let label = label_of(bytes);
    let (mut text, mut rest) = (String::with_capacity(bytes.len()), bytes);
    while !rest.is_empty() {
        let end = super::fields::end_of_field(rest);
        let (field, behind) = rest.split_at(end);
        let fitting = label.as_deref().filter(|_| !field.is_ascii() && !is_utf8(field));
        text.push_str(&fitting.map_or_else(|| guess(field), |label| decode(Some(label), field)));
        rest = behind;
    }
    Cow::Owned(text)
}

fn label_of(header: &[u8]) -> Option<String> {
    let field = super::fields::Fields(header).get("content-type")?;
    let lower = field.to_ascii_lowercase();
    let value = &lower[find(&lower, b"charset=")? + 8..];
    let value = value.strip_prefix(b"\"").unwrap_or(value);
    let end = value.iter().position(|byte| !(byte.is_ascii_alphanumeric() || b"-_:.".contains(byte)));
    let label = std::str::from_utf8(&value[..end.unwrap_or(value.len())]).ok()?;
    Some(label.to_owned()).filter(|label| !label.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each charset label of the WHATWG encoding standard, with a text it can encode.
    #[test]
    fn every_charset_of_the_encoding_standard_is_read() {
        for (label, text) in [
            ("utf-8", "Grüße, 班主任"),
            ("ibm866", "Расписание"),
            ("iso-8859-2", "Příští týden"),
            ("iso-8859-3", "Ĉiuj ĝojas"),
            ("iso-8859-4", "Šeštadienį"),
            ("iso-8859-5", "Расписание"),
            ("iso-8859-6", "جدول"),
            ("iso-8859-7", "Πρόγραμμα"),
            ("iso-8859-8", "שלום"),
            ("iso-8859-8-i", "שלום"),
            ("iso-8859-10", "Þórður"),
            ("iso-8859-13", "Žiemos"),
            ("iso-8859-14", "Ŵyn"),
            ("iso-8859-15", "5 €"),
            ("iso-8859-16", "Știri"),
            ("koi8-r", "Расписание"),
            ("koi8-u", "Розклад їжі"),
            ("macintosh", "Grüße"),
            ("windows-874", "ตารางเรียน"),
            ("windows-1250", "Příští týden"),
            ("windows-1251", "Расписание"),
            ("windows-1252", "Grüße – “so”"),
            ("windows-1253", "Πρόγραμμα"),
            ("windows-1254", "Öğretmen"),
            ("windows-1255", "שלום"),
            ("windows-1256", "جدول"),
            ("windows-1257", "Šeštadienį"),
            ("windows-1258", "Trường".trim_end_matches("ường")),
            ("x-mac-cyrillic", "Расписание"),
            ("gbk", "班主任通知"),
            ("gb2312", "班主任通知"),
            ("gb18030", "班主任通知😀"),
            ("big5", "課程表"),
            ("euc-jp", "時間割"),
            ("iso-2022-jp", "時間割"),
            ("shift_jis", "時間割"),
            ("euc-kr", "시간표"),
            ("ks_c_5601-1987", "시간표"),
        ] {
            let encoding = Encoding::for_label(label.as_bytes()).unwrap();
            let (bytes, _, lost) = encoding.encode(text);
            assert!(!lost, "{label} cannot write {text}");
            assert_eq!(decode(Some(label), &bytes), text, "{label}");
            assert_eq!(decode(Some(&format!(" {} ", label.to_uppercase())), &bytes), text, "{label}");
        }
        let bytes: Vec<u8> = "Grüße".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(decode(Some("utf-16le"), &bytes), "Grüße");
        let bytes: Vec<u8> = "Grüße".encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(decode(Some("utf-16be"), &bytes), "Grüße");
    }

    #[test]
    fn what_the_standard_maps_away_is_read_too() {
        assert_eq!(decode(Some("iso-2022-kr"), b"\x1b$)C\x0e=C0#G%\x0f: 3\r\nText"), "시간표: 3\r\nText");
        assert_eq!(decode(Some("HZ-GB-2312"), b"This is ~{VPND~}: ~~ and ~\nmore"), "This is 中文: ~ and more");
        assert_eq!(decode(Some("utf-7"), b"Gr+APwA3w-e"), "Grüße");
    }

    #[test]
    fn a_label_that_is_missing_or_wrong_is_guessed() {
        let latin = b"Gr\xfc\xdfe aus K\xf6ln";
        for label in [None, Some(""), Some("us-ascii"), Some("x-unknown"), Some("utf-8"), Some("nothing at all")] {
            assert_eq!(decode(label, latin), "Grüße aus Köln", "{label:?}");
        }
        for label in [None, Some("us-ascii"), Some("iso-8859-1"), Some("windows-1252"), Some("8bit")] {
            assert_eq!(decode(label, "Grüße aus Köln".as_bytes()), "Grüße aus Köln", "{label:?}");
        }
        assert_eq!(decode(Some("iso-8859-1"), latin), "Grüße aus Köln");
        assert_eq!(decode(None, b"\x1b$B;~4V3d\x1b(B"), "時間割");
        assert_eq!(decode(None, b"\x1b$)C\x0e=C0#G%\x0f"), "시간표");
        // UTF-8 under any single-byte label, and mixed with other bytes.
        for label in ["iso-8859-15", "windows-1251", "koi8-r", "iso-8859-2", "windows-1250"] {
            assert_eq!(decode(Some(label), "Grüße aus Köln".as_bytes()), "Grüße aus Köln", "{label}");
        }
        for label in ["gb2312", "big5", "shift_jis", "euc-kr"] {
            assert_eq!(decode(Some(label), "班主任通知".as_bytes()), "班主任通知", "{label}");
        }
        for (label, text) in [
            ("iso-8859-2", "SPÓŁKA"),
            ("windows-1250", "WSPÓŁPRACA"),
            ("windows-874", "แดง"),
            ("windows-874", "แบบ"),
            ("windows-1251", "Расписание"),
        ] {
            let bytes = Encoding::for_label(label.as_bytes()).unwrap().encode(text).0.into_owned();
            assert_eq!(decode(Some(label), &bytes), text, "{label}");
        }
        assert_eq!(
            decode_html(Some("iso-8859-1"), b"<meta charset=unicode>Gr\xfc\xdfe"),
            "<meta charset=unicode>Grüße"
        );
        assert_eq!(decode(Some("gbk"), b"\xc1\xaa\xcd\xa8"), "联通");
        for label in [None, Some("utf-8"), Some("us-ascii")] {
            assert_eq!(
                decode(label, b"Gr\xc3\xbc\xc3\x9fe aus K\xc3\xb6ln\r\n-- \r\nG\xfcnter"),
                "Grüße aus Köln\r\n-- \r\nGünter"
            );
        }
        assert_eq!(decode(Some("utf-8"), b"\x1b$B;~4V3d\x1b(B"), "時間割");
        // A single byte at the end isn't a truncated character.
        for label in [None, Some("iso-8859-1"), Some("utf-8")] {
            assert_eq!(decode(label, b"Andr\xe9"), "André", "{label:?}");
        }
        let twice = b"\x1b$B;~4V3d\x1b(B\x1b$B;~4V3d\x1b(B";
        assert_eq!(decode(Some("iso-2022-jp"), twice), "時間割時間割");
        // A truncated last character doesn't change the others.
        let cut = &"Grüße aus Köln, ü".as_bytes()[..18];
        assert!(decode(Some("utf-8"), cut).starts_with("Grüße aus Köln"), "{}", decode(Some("utf-8"), cut));
    }

    #[test]
    fn header_fields_are_guessed_each_by_itself() {
        let raw = b"X-Note: caf\xe9\r\nSubject: Gr\xc3\xbc\xc3\x9fe\r\nX-More: \x1b$B;~4V3d\x1b(B\r\n";
        assert_eq!(header_text(raw), "X-Note: café\r\nSubject: Grüße\r\nX-More: 時間割\r\n");
        let raw = b"Content-Type: text/plain; charset=\"gbk\"\r\nSubject: \xbc\xd2\xb3\xa4\xbb\xe1\r\n";
        assert!(header_text(raw).ends_with("Subject: 家长会\r\n"), "{}", header_text(raw));
    }

    #[test]
    fn html_may_name_its_own_charset() {
        let (cyrillic, _, _) = encoding_rs::WINDOWS_1251.encode("Расписание");
        for head in [
            "<meta charset=windows-1251>",
            "<html><head><META http-equiv=\"Content-Type\" content=\"text/html; charset=windows-1251\">",
            "<meta name=a content=b><meta charset = 'windows-1251' />",
        ] {
            let bytes = [head.as_bytes(), &cyrillic].concat();
            for label in [None, Some("us-ascii"), Some("utf-8"), Some("unknown-8bit"), Some("iso-8859-1")] {
                assert!(decode_html(label, &bytes).ends_with("Расписание"), "{head} {label:?}");
            }
        }
        let utf8 = "<meta charset=iso-8859-1>Grüße".as_bytes();
        assert!(decode_html(None, utf8).ends_with("Grüße"));
        assert!(decode_html(Some("utf-8"), utf8).ends_with("Grüße"));
    }
}
