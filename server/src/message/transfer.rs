//! Lenient decoders for Content-Transfer-Encodings (RFC 2045, 6): they decode to the last byte, whatever encoders and gateways did.
//! mail-parser gives up at the first illegal character, and does not end groups at pads.

use super::model::Encoding;

/// Decodes a part in chunks.
#[derive(Debug, Clone)]
pub struct Decoder {
    encoding: Encoding,
    line: Vec<u8>,
    /// Bits of an incomplete base64 group, and its number of characters.
    group: (u32, u8),
    /// Lines after the data that look like text: a footer at the end of the part, data if data follows.
    pending: Vec<u8>,
    /// The last line was empty.
    blank: bool,
    /// Data ended with a pad, or an empty line came, before the pending lines.
    pending_after_end: bool,
    /// The last data line ended with a pad.
    padded: bool,
    /// Length of the data lines so far.
    usual_length: usize,
    /// `+` or `/` occurred: `-` and `_` are no data (RFC 4648, 5).
    standard_alphabet: bool,
    /// Number of base64 characters with pads so far, and whether other characters occurred.
    characters: usize,
    strays: bool,
    /// The footer exceeds its limit: the rest is no data.
    ended: bool,
    /// Bits were left over that make no byte.
    lost: bool,
}

/// Longest footer kept until the part ends, in bytes.
const FOOTER: usize = 64 * 1024;
/// Longest line that is judged as a whole, in bytes. Longer ones are decoded in chunks.
const LINE: usize = 4_096;

impl Decoder {
    pub fn new(encoding: Encoding) -> Self {
        Self {
            encoding,
            line: Vec::new(),
            group: (0, 0),
            pending: Vec::new(),
            blank: false,
            pending_after_end: false,
            padded: false,
            usual_length: 0,
            standard_alphabet: false,
            characters: 0,
            strays: false,
            ended: false,
            lost: false,
        }
    }

    /// Decodes the complete data.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        if self.encoding == Encoding::Identity {
            out.extend_from_slice(bytes);
            return out;
        }
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(line);
            if line.ends_with(b"\n") {
                self.take_line(&mut out);
            } else if self.line.len() > LINE {
                self.take_beginning(&mut out);
            }
        }
        out
    }

    pub fn finish(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.line.is_empty() {
            self.take_line(&mut out);
        }
        let pending = std::mem::take(&mut self.pending);
        let mut lines = pending.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        // No data follows: lines of base64 with stray characters are data, short words behind the end are a footer.
        if lines.clone().all(|line| is_mostly_base64(line) && (!self.pending_after_end || line.len() >= WORD)) {
            lines.by_ref().for_each(|line| self.base64_data(line, &mut out));
        }
        self.end_group(&mut out);
        // A replaced character shifts everything after it.
        self.lost |= self.strays && !self.characters.is_multiple_of(4);
        out
    }

    /// Whether bytes were lost.
    pub fn lost(&self) -> bool {
        self.lost
    }

    /// Decodes an overlong line except for its end, which may be a partial escape.
    fn take_beginning(&mut self, out: &mut Vec<u8>) {
        match self.encoding {
            Encoding::Base64 => self.take_line(out),
            _ => {
                let mut cut = self.line.len() - 2;
                let splits = |line: &[u8], cut: usize| {
                    line[cut.saturating_sub(2)..cut].contains(&b'=') || line[cut].is_ascii_whitespace()
                };
                while cut > 0 && splits(&self.line, cut) {
                    cut -= 1;
                }
                if cut > 0 {
                    let rest = self.line.split_off(cut);
                    let beginning = std::mem::replace(&mut self.line, rest);
                    quoted_printable(&beginning, out);
                }
            }
        }
    }

    fn take_line(&mut self, out: &mut Vec<u8>) {
        let line = std::mem::take(&mut self.line);
        match self.encoding {
            Encoding::Identity => out.extend_from_slice(&line),
            Encoding::QuotedPrintable => quoted_printable_line(&line, out),
            Encoding::Base64 => self.base64_line(&line, out),
        }
    }

    fn base64_line(&mut self, line: &[u8], out: &mut Vec<u8>) {
        if self.ended {
            return;
        }
        let line = line.trim_ascii();
        if line.is_empty() {
            self.blank = true;
            return;
        }
        let blank = std::mem::take(&mut self.blank);
        let is_word_behind = self.padded && blank && !line.len().is_multiple_of(4);
        let seems_text = (is_word_behind || looks_like_text(line)) && line.len() != self.usual_length;
        let words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).count();
        if seems_text && words > 1 && self.characters == 0 && self.usual_length == 0 {
            // The part is not base64, whatever its header says.
            self.encoding = Encoding::Identity;
            out.extend_from_slice(line);
            out.extend_from_slice(b"\r\n");
            return;
        }
        let is_data =
            line.len() == self.usual_length || (line.len() >= DENSE && !line.iter().any(u8::is_ascii_whitespace));
        if seems_text || (!self.pending.is_empty() && !is_data) {
            if self.pending.is_empty() {
                self.pending_after_end = self.padded || blank;
            }
            self.pending.extend_from_slice(line);
            self.pending.push(b'\n');
            self.ended = self.pending.len() > FOOTER;
            return;
        }
        for held in std::mem::take(&mut self.pending).split(|byte| *byte == b'\n') {
            self.base64_data(held, out);
        }
        self.usual_length = self.usual_length.max(line.len());
        self.padded = line.ends_with(b"=");
        self.base64_data(line, out);
    }

    fn base64_data(&mut self, line: &[u8], out: &mut Vec<u8>) {
        self.standard_alphabet |= line.iter().any(|byte| matches!(byte, b'+' | b'/'));
        for byte in line {
            match value_of(*byte).or_else(|| url_safe_value_of(*byte).filter(|_| !self.standard_alphabet)) {
                Some(value) => {
                    self.characters += 1;
                    self.group = (self.group.0 << 6 | u32::from(value), self.group.1 + 1);
                    if self.group.1 == 4 {
                        out.extend_from_slice(&self.group.0.to_be_bytes()[1..]);
                        self.group = (0, 0);
                    }
                }
                // A pad ends a group also within the data: some encoders pad each line.
                None if *byte == b'=' => {
                    self.characters += 1;
                    self.end_group(out);
                }
                None => self.strays |= !byte.is_ascii_whitespace(),
            }
        }
    }

    fn end_group(&mut self, out: &mut Vec<u8>) {
        match std::mem::take(&mut self.group) {
            (bits, 2) => out.push((bits >> 4).to_be_bytes()[3]),
            (bits, 3) => out.extend_from_slice(&(bits >> 2).to_be_bytes()[2..]),
            (_, 1) => self.lost = true,
            _ => {}
        }
    }
}

/// The value of a base64 character.
fn value_of(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

/// The value of `-` and `_` in base64url.
fn url_safe_value_of(byte: u8) -> Option<u8> {
    match byte {
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    }
}

/// Length without blanks that text rarely reaches.
const DENSE: usize = 40;

/// Shortest line behind the end of the data that counts as data, in bytes.
const WORD: usize = 16;

/// Whether a line is base64 but for some stray characters.
fn is_mostly_base64(line: &[u8]) -> bool {
    let is_alphabet = |byte: &u8| value_of(*byte).is_some() || url_safe_value_of(*byte).is_some() || *byte == b'=';
    let alphabet = line.iter().filter(|byte| is_alphabet(byte)).count();
    let is_rule = line.len() > 1 && line.iter().all(|byte| *byte == line[0]);
    let is_address = line.windows(3).any(|three| three == b"://") || line.contains(&b'@');
    !is_rule && !is_address && !line.iter().any(u8::is_ascii_whitespace) && alphabet * 4 >= line.len() * 3
}

/// Whether a line looks like text: words, an address, a rule. Stray characters, and blanks between base64 characters, do not make
/// text.
fn looks_like_text(line: &[u8]) -> bool {
    let is_of_text = |byte: &u8| value_of(*byte).is_none() && *byte != b'=' && !byte.is_ascii_whitespace();
    let strays = line.iter().filter(|byte| is_of_text(byte)).count();
    let words: Vec<&[u8]> = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
    if line.windows(3).any(|three| three == b"://") || line.contains(&b'@') {
        return true;
    }
    let (Some(longest), Some((last, others))) = (words.iter().map(|word| word.len()).max(), words.split_last()) else {
        return false;
    };
    if others.is_empty() {
        let is_rule = line.len() > 1 && line.iter().all(|byte| *byte == line[0]) && strays == line.len();
        // `-` and `_` may be base64url; other punctuation in a short word is not.
        let marks = line.iter().filter(|byte| is_of_text(byte) && url_safe_value_of(**byte).is_none()).count();
        return is_rule || (marks > 0 && line.len() < DENSE && marks < line.len() && !line.contains(&b'='));
    }
    let in_groups = words.iter().all(|word| word.len() % 4 == 0)
        || (others.iter().all(|word| word.len() == others[0].len())
            && last.len() <= others[0].len()
            && others.len() > 2);
    let in_groups = in_groups && strays == 0;
    !in_groups && (longest < DENSE || strays > 2)
}

fn quoted_printable_line(line: &[u8], out: &mut Vec<u8>) {
    let (text, end) = match line {
        [text @ .., b'\r', b'\n'] => (text, &b"\r\n"[..]),
        [text @ .., b'\n'] => (text, &b"\n"[..]),
        text => (text, &b""[..]),
    };
    // Trailing blanks were added in transit (RFC 2045, 6.7, rule 3).
    if quoted_printable(text.trim_ascii_end(), out) {
        out.extend_from_slice(end);
    }
}

fn quoted_printable(text: &[u8], out: &mut Vec<u8>) -> bool {
    let mut at = 0;
    while at < text.len() {
        if text[at] != b'=' {
            out.push(text[at]);
            at += 1;
            continue;
        }
        let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (digit(at + 1), digit(at + 2)) {
            (Some(high), Some(low)) => {
                out.push((high << 4 | low).to_be_bytes()[3]);
                at += 3;
            }
            // A soft line break.
            _ if at + 1 == text.len() => return false,
            // An unencoded equals sign.
            _ => {
                out.push(b'=');
                at += 1;
            }
        }
    }
    true
}

#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    pub bytes: Vec<u8>,
    /// Bytes were lost on the way.
    pub lost: bool,
}

/// Decodes a whole part.
pub fn decode(encoding: Encoding, bytes: &[u8]) -> Decoded {
    let mut decoder = Decoder::new(encoding);
    let mut all = decoder.push(bytes);
    all.extend(decoder.finish());
    Decoded { bytes: all, lost: decoder.lost() }
}

/// Whether decoding base64 loses bytes.
pub fn loses(bytes: &[u8]) -> bool {
    let mut decoder = Decoder::new(Encoding::Base64);
    for piece in bytes.chunks(64 * 1024) {
        let _ = decoder.push(piece);
    }
    let _ = decoder.finish();
    decoder.lost()
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, Engine};

    use super::*;

    fn piecewise(encoding: Encoding, text: &[u8], size: usize) -> Vec<u8> {
        let mut decoder = Decoder::new(encoding);
        let mut all: Vec<u8> = text.chunks(size).flat_map(|piece| decoder.push(piece)).collect();
        all.extend(decoder.finish());
        all
    }

    fn lines(encoded: &str, length: usize) -> String {
        let lines: Vec<_> = encoded.as_bytes().chunks(length).map(|line| String::from_utf8_lossy(line)).collect();
        lines.join("\r\n") + "\r\n"
    }

    #[test]
    fn pieces_of_any_size_make_the_same_file() {
        let file: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        let encoded = lines(&BASE64_STANDARD.encode(&file), 76);
        for size in [1, 3, 7, 76, 1_000, 100_000] {
            assert_eq!(piecewise(Encoding::Base64, encoded.as_bytes(), size), file, "{size}");
            assert_eq!(piecewise(Encoding::Base64, BASE64_STANDARD.encode(&file).as_bytes(), size), file, "{size}");
            let text = piecewise(Encoding::QuotedPrintable, b"Sch=C3=B6n, a long =\r\nline =  \r\nmore\r\n", size);
            assert_eq!(String::from_utf8_lossy(&text), "Schön, a long line more\r\n", "{size}");
            let long = "=C3=B6".repeat(5_000);
            let text = piecewise(Encoding::QuotedPrintable, long.as_bytes(), size);
            assert_eq!(String::from_utf8_lossy(&text), "ö".repeat(5_000), "{size}");
        }
    }

    #[test]
    fn pads_within_stray_characters_and_missing_pads_lose_nothing() {
        let file: Vec<u8> = (0..=255).cycle().take(3_000).collect();
        for size in [55, 56, 57] {
            let padded: String = file.chunks(size).map(|chunk| BASE64_STANDARD.encode(chunk) + "\r\n").collect();
            assert_eq!(
                decode(Encoding::Base64, padded.as_bytes()),
                Decoded { bytes: file.clone(), lost: false },
                "{size}"
            );
        }
        let encoded = lines(&BASE64_STANDARD.encode(&file), 76);
        for stray in ["!", "\0", "*\r\n", " ", "\u{fffd}"] {
            let mut dirty = encoded.clone();
            dirty.insert_str(100, stray);
            assert_eq!(decode(Encoding::Base64, dirty.as_bytes()).bytes, file, "{stray:?}");
            assert_eq!(decode(Encoding::Base64, format!("{encoded}{stray}").as_bytes()).bytes, file, "{stray:?}");
        }
        assert_eq!(decode(Encoding::Base64, b"QUI"), Decoded { bytes: b"AB".to_vec(), lost: false });
        assert_eq!(decode(Encoding::Base64, b"QUJDRA"), Decoded { bytes: b"ABCD".to_vec(), lost: false });
        assert_eq!(
            decode(Encoding::Base64, b"QUJDQR=="),
            Decoded { bytes: b"ABCA".to_vec(), lost: false },
            "bits too many"
        );
        assert_eq!(
            decode(Encoding::Base64, b"QUJDR"),
            Decoded { bytes: b"ABC".to_vec(), lost: true },
            "a byte is lost, and it is said"
        );
    }

    #[test]
    fn what_stands_behind_the_data_is_none() {
        let text = "<p>The trip is on 3 March.</p>";
        let encoded = lines(&BASE64_STANDARD.encode(text), 76);
        for footer in [
            "\r\n-- \r\nScanned by the example.org gateway: no virus found!\r\n",
            "\r\n_______________________________________________\r\nlist mailing list\r\n",
            "This message was scanned by a gateway, and is clean.\r\n",
        ] {
            let decoded = decode(Encoding::Base64, format!("{encoded}{footer}").as_bytes()).bytes;
            assert_eq!(String::from_utf8_lossy(&decoded), text, "{footer}");
        }
    }

    #[test]
    fn faults_of_base64_together_lose_nothing() {
        let file: Vec<u8> = (0..=255).cycle().take(768).collect();
        let encoded = BASE64_STANDARD.encode(&file);
        let padded =
            |size: usize| -> Vec<String> { file.chunks(size).map(|some| BASE64_STANDARD.encode(some)).collect() };
        let with_stray = |lines: &[String], at: usize| {
            let mut lines = lines.to_vec();
            lines[at].insert(3, '!');
            lines
        };
        let last = padded(55).len() - 1;
        let short: Vec<String> =
            encoded.as_bytes().chunks(20).map(|some| String::from_utf8_lossy(some).into()).collect();
        let grouped = |size: usize| -> String {
            let groups: Vec<_> = encoded.as_bytes().chunks(size).map(|some| String::from_utf8_lossy(some)).collect();
            groups.chunks(9).map(|line| line.join(" ") + "\r\n").collect()
        };
        for (what, wire) in [
            ("padded lines and a stray", with_stray(&padded(55), 5).join("\r\n")),
            ("padded lines and a stray in the last one", with_stray(&padded(55), last).join("\r\n")),
            ("padded lines, the last pad missing", padded(55).join("\r\n").trim_end_matches('=').to_owned()),
            ("empty lines between, and a stray", with_stray(&padded(57), 7).join("\r\n\r\n")),
            ("short lines and a stray", with_stray(&short, 4).join("\n")),
            ("short lines, empty ones between, and a stray", with_stray(&short, 30).join("\n\n")),
            ("short lines and a stray in the last one", with_stray(&short, short.len() - 1).join("\n")),
            ("short lines and a stray in the last but one", with_stray(&short, short.len() - 2).join("\n")),
            ("short lines and a stray in the first one", with_stray(&short, 0).join("\n")),
            ("padded lines, empty ones between, a stray in the last one", with_stray(&padded(57), 13).join("\n\n")),
            (
                "padded lines, empty ones between, the last pad missing",
                padded(55).join("\n\n").trim_end_matches('=').to_owned(),
            ),
            ("groups of four", grouped(4)),
            ("groups of eight", grouped(8)),
            ("groups of ten", grouped(10)),
            ("the alphabet of addresses", lines(&encoded.replace('+', "-").replace('/', "_"), 76)),
            ("one line", encoded.clone()),
            ("a blank in each line", lines(&encoded, 76).replace("\r\n", " \r\n ").replace("Njc4", "Nj c4")),
        ] {
            let Decoded { bytes: decoded, lost: is_lost } = decode(Encoding::Base64, wire.as_bytes());
            assert!(decoded == file, "{what}: {} of {} bytes", decoded.len(), file.len());
            assert!(!is_lost, "{what}");
        }
        let decoded = decode(Encoding::Base64, b"Dear parents,\r\nsee you on Monday.\r\n").bytes;
        assert_eq!(String::from_utf8_lossy(&decoded), "Dear parents,\r\nsee you on Monday.\r\n", "it is no base64");
    }

    #[test]
    fn broken_quoted_printable_is_read_as_far_as_it_goes() {
        for (wire, text) in [
            ("1 + 1 = 2", "1 + 1 = 2"),
            ("a=ZZb =4", "a=ZZb =4"),
            ("lower=c3=b6", "lowerö"),
            ("end=", "end"),
            ("blanks \t \r\nnext", "blanks\r\nnext"),
        ] {
            let decoded = decode(Encoding::QuotedPrintable, wire.as_bytes()).bytes;
            assert_eq!(String::from_utf8_lossy(&decoded), text, "{wire}");
        }
    }
}
