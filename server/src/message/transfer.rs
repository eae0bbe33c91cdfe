//! Bytes from Content-Transfer-Encodings (RFC 2045, 6), decoded as lenient decoders do: to the last byte, whatever encoders and
//! gateways did to them. mail-parser gives a part up at its first illegal character, and cuts nothing at pads.

use super::model::Encoding;

/// Decodes a part piece by piece.
#[derive(Debug, Clone)]
pub struct Decoder {
    encoding: Encoding,
    /// Bytes that wait for the end of their line.
    line: Vec<u8>,
    /// Bits of a group of base64 that is not complete, and how many characters they are.
    group: (u32, u8),
    /// A line of base64 was empty: what follows may be text that somebody put behind it.
    blank: bool,
    /// The last line of base64 ended with a pad: so may what follows.
    padded: bool,
    /// Characters of base64 so far, pads with them, and whether others stood between.
    characters: usize,
    strays: bool,
    /// Text stood behind the base64: what follows is no data.
    ended: bool,
    /// Bits that make no byte were left over.
    lost: bool,
}

/// Longest line that waits to be judged as a whole, in bytes. Base64 in one line is decoded piece by piece.
const LINE: usize = 4_096;

impl Decoder {
    /// A decoder at the beginning of a part.
    #[must_use]
    pub fn new(encoding: Encoding) -> Self {
        Self {
            encoding,
            line: Vec::new(),
            group: (0, 0),
            blank: false,
            padded: false,
            characters: 0,
            strays: false,
            ended: false,
            lost: false,
        }
    }

    /// Decodes what is complete.
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

    /// Decodes the rest.
    pub fn finish(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.line.is_empty() {
            self.take_line(&mut out);
        }
        self.end_group(&mut out);
        // A character that was replaced by another one shifts all that follows.
        self.lost |= self.strays && !self.characters.is_multiple_of(4);
        out
    }

    /// Whether bytes were lost: there were bits that make no byte.
    #[must_use]
    pub fn lost(&self) -> bool {
        self.lost
    }

    /// Decodes a line that is longer than any should be, but for its end, which may be half an escape.
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
            // Only behind whole data: some write an empty line before it, or behind each line.
            self.blank = self.characters > 0 && self.group.1 == 0;
            return;
        }
        let pads = line.iter().map(|byte| usize::from(*byte == b'=')).sum::<usize>();
        let data = line.iter().filter(|byte| value_of(**byte).is_some()).count();
        let stray = line.iter().filter(|byte| value_of(**byte).is_none() && **byte != b'=').count();
        // Behind an empty line, words are a footer and no data; anywhere else so are several words in one line.
        let words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).count();
        let after_end = self.padded && (stray > 0 || !(data + pads).is_multiple_of(4));
        let footer = after_end
            || if self.blank {
                stray > 0 || (data % 4 == 1 && data < 60)
            } else {
                words > 2 && (stray > 2 && data < 76 || data < 40 && self.group.1 == 0 && self.characters > 0)
            };
        if footer {
            self.ended = true;
            return;
        }
        (self.blank, self.padded) = (false, pads > 0 && line.ends_with(b"="));
        self.characters += data + pads;
        self.strays |=
            line.iter().any(|byte| value_of(*byte).is_none() && !byte.is_ascii_whitespace() && *byte != b'=');
        for byte in line {
            match value_of(*byte) {
                Some(value) => {
                    self.group = (self.group.0 << 6 | u32::from(value), self.group.1 + 1);
                    if self.group.1 == 4 {
                        out.extend_from_slice(&self.group.0.to_be_bytes()[1..]);
                        self.group = (0, 0);
                    }
                }
                // A pad ends a group, also within: encoders that work by lines pad each.
                None if *byte == b'=' => self.end_group(out),
                None => {}
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

/// The six bits of a character of base64.
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

fn quoted_printable_line(line: &[u8], out: &mut Vec<u8>) {
    let (text, end) = match line {
        [text @ .., b'\r', b'\n'] => (text, &b"\r\n"[..]),
        [text @ .., b'\n'] => (text, &b"\n"[..]),
        text => (text, &b""[..]),
    };
    // Blanks at the end were added on the way (RFC 2045, 6.7, rule 3).
    if quoted_printable(text.trim_ascii_end(), out) {
        out.extend_from_slice(end);
    }
}

/// Decodes a line, and says whether it ends there.
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
            // The line goes on.
            _ if at + 1 == text.len() => return false,
            // A sign of equality that nobody encoded.
            _ => {
                out.push(b'=');
                at += 1;
            }
        }
    }
    true
}

/// Decodes a whole part, and says whether bytes were lost.
#[must_use]
pub fn decode(encoding: Encoding, bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut decoder = Decoder::new(encoding);
    let mut all = decoder.push(bytes);
    all.extend(decoder.finish());
    (all, decoder.lost())
}

/// Whether decoding base64 loses bytes.
#[must_use]
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
            assert_eq!(decode(Encoding::Base64, padded.as_bytes()), (file.clone(), false), "{size}");
        }
        let encoded = lines(&BASE64_STANDARD.encode(&file), 76);
        for stray in ["!", "\0", "*\r\n", " ", "\u{fffd}"] {
            let mut dirty = encoded.clone();
            dirty.insert_str(100, stray);
            assert_eq!(decode(Encoding::Base64, dirty.as_bytes()).0, file, "{stray:?}");
            assert_eq!(decode(Encoding::Base64, format!("{encoded}{stray}").as_bytes()).0, file, "{stray:?}");
        }
        assert_eq!(decode(Encoding::Base64, b"QUI"), (b"AB".to_vec(), false));
        assert_eq!(decode(Encoding::Base64, b"QUJDRA"), (b"ABCD".to_vec(), false));
        assert_eq!(decode(Encoding::Base64, b"QUJDQR=="), (b"ABCA".to_vec(), false), "bits too many");
        assert_eq!(decode(Encoding::Base64, b"QUJDR"), (b"ABC".to_vec(), true), "a byte is lost, and it is said");
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
            let (decoded, _) = decode(Encoding::Base64, format!("{encoded}{footer}").as_bytes());
            assert_eq!(String::from_utf8_lossy(&decoded), text, "{footer}");
        }
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
            let (decoded, _) = decode(Encoding::QuotedPrintable, wire.as_bytes());
            assert_eq!(String::from_utf8_lossy(&decoded), text, "{wire}");
        }
    }
}
