//! Cleans pasted values of invisible and look-alike characters.

/// Invisible characters, never intended in an address or ID.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

/// Whether a character looks like a space.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{2800}' | '\u{3164}')
}

/// An address, ID or host: without invisible characters, with plain hyphens and spaces, trimmed.
pub fn identifier(text: &str) -> String {
    let plain: String = text
        .chars()
        .filter(|c| !is_invisible(*c))
        .map(|c| match c {
            '\u{2010}'..='\u{2015}' | '\u{2043}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}' => '-',
            '\u{ff20}' | '\u{fe6b}' => '@',
            '\u{ff0e}' => '.',
            // Line ends separate addresses; they must not reach a header.
            c if is_blank(c) && !matches!(c, '\n' | '\r' | '\t') => ' ',
            c => c,
        })
        .collect();
    plain.trim().to_owned()
}

/// A GUID, which some tools write in braces or quotes.
pub fn guid(text: &str) -> String {
    let text = identifier(text);
    text.trim_matches(['{', '}', '(', ')', '"', '\'', '<', '>']).trim().to_owned()
}

/// A secret: only trimmed, since any character may be part of it.
pub fn secret(text: &str) -> &str {
    text.trim_matches(|c| is_blank(c) || is_invisible(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVISIBLE: [char; 12] = [
        '\u{200b}', '\u{200c}', '\u{200d}', '\u{200e}', '\u{200f}', '\u{202a}', '\u{202e}', '\u{2060}', '\u{2064}',
        '\u{feff}', '\u{00ad}', '\u{2066}',
    ];

    #[test]
    fn what_nobody_sees_makes_no_address_wrong() {
        for c in INVISIBLE {
            assert_eq!(identifier(&format!("{c}user{c}@demo.example{c}")), "user@demo.example", "{c:?}");
            assert_eq!(secret(&format!("{c}ab{c}cd {c}")), format!("ab{c}cd"), "{c:?}");
        }
        for blank in ['\u{a0}', '\u{2007}', '\u{202f}', '\u{3000}', '\u{2003}', '\t', '\n'] {
            assert_eq!(identifier(&format!("{blank}a@b.example{blank}")), "a@b.example", "{blank:?}");
            assert_eq!(secret(&format!("{blank}x{blank}")), "x");
        }
        for hyphen in ['\u{2010}', '\u{2011}', '\u{2012}', '\u{2013}', '\u{2212}', '\u{ff0d}'] {
            assert_eq!(identifier(&format!("a{hyphen}b")), "a-b", "{hyphen:?}");
        }
    }

    #[test]
    fn guids_lose_their_braces() {
        for text in ["{7d1f0a52-3c1b}", " (7d1f0a52\u{2011}3c1b) ", "\"7d1f0a52-3c1b\"\u{200b}", "<7d1f0a52-3c1b>"] {
            assert_eq!(guid(text), "7d1f0a52-3c1b", "{text}");
        }
    }
}
