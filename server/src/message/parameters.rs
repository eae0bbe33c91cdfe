//! Parameters of Content-Type and Content-Disposition (RFC 2045, 5.1; RFC 2231), as written in practice: unquoted spaces, encoded
//! words, non-ASCII bytes. mail-parser ends such a value at the first space.

use std::collections::BTreeMap;

use super::{charset, encoded_words};

/// A value of a structured field with its parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parametrised {
    /// The part before the first semicolon, in lower case.
    pub value: String,
    parameters: BTreeMap<String, String>,
}

/// Pieces of one parameter that are joined at most (RFC 2231, 3).
const PIECES: usize = 200;

impl Parametrised {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    pub fn parse(field: &[u8]) -> Self {
        // A semicolon inside an encoded word does not separate.
        let field = encoded_words::normalised(field).replace(['\r', '\n'], "");
        let mut pieces = split(&field).into_iter();
        let value = pieces.next().unwrap_or_default().trim();
        // Without a semicolon, or followed by a comment.
        let (value, behind) = value.split_at(value.find([' ', '\t', '(', ',']).unwrap_or(value.len()));
        let (value, behind) = (value.to_lowercase(), Some(behind.trim()).filter(|behind| behind.contains('=')));
        let mut plain: BTreeMap<String, String> = BTreeMap::new();
        let mut extended: BTreeMap<String, BTreeMap<usize, (bool, String)>> = BTreeMap::new();
        for piece in behind.into_iter().chain(pieces).take(PIECES) {
            let Some((name, value)) = piece.split_once('=') else { continue };
            let (name, value) = (name.trim().to_lowercase(), unquoted(value.trim()));
            // `name*0*=`, `name*0=`, `name*=`.
            match name.split_once('*') {
                None => {
                    plain.entry(name).or_insert_with(|| encoded_words::decoded(&value));
                }
                Some((name, rest)) => {
                    let encoded = rest.is_empty() || rest.ends_with('*');
                    let number = rest.trim_end_matches('*').parse().unwrap_or(0);
                    extended.entry(name.to_owned()).or_default().entry(number).or_insert((encoded, value));
                }
            }
        }
        // The extended form outranks the plain one, which is for programs that know no other (RFC 6266, 4.3).
        for (name, pieces) in extended {
            plain.insert(name, joined(pieces));
        }
        Self { value, parameters: plain }
    }
}

/// Joins the pieces of a parameter: first their bytes, then their charset, since a letter may be split between two.
fn joined(pieces: BTreeMap<usize, (bool, String)>) -> String {
    // A word of RFC 2047 may be split between them.
    if pieces.values().all(|(encoded, _)| !encoded) {
        return encoded_words::decoded(&pieces.into_values().map(|(_, piece)| piece).collect::<String>());
    }
    let (mut label, mut bytes) = (None, Vec::new());
    for (at, (encoded, piece)) in pieces {
        let mut rest = piece.as_str();
        if encoded && at == 0 {
            let mut parts = rest.splitn(3, '\'');
            if let (Some(named), Some(_), Some(text)) = (parts.next(), parts.next(), parts.next()) {
                label = Some(named.to_owned()).filter(|named| !named.is_empty());
                rest = text;
            }
        }
        if encoded {
            bytes.extend(percent_encoding::percent_decode_str(rest));
        } else {
            bytes.extend(encoded_words::decoded(rest).into_bytes());
        }
    }
    charset::decode(label.as_deref(), &bytes)
}

/// Splits at semicolons that are not quoted.
fn split(field: &str) -> Vec<&str> {
    let (mut pieces, mut from, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in field.char_indices() {
        match c {
            _ if escaped => escaped = false,
            // Windows programs write paths into quotes without doubling the backslash.
            '\\' if quoted => escaped = matches!(field[at + 1..].chars().next(), Some('"' | '\\')),
            '"' => quoted = !quoted,
            ';' if !quoted => {
                pieces.push(&field[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    if quoted {
        // An unclosed quote: then no quote counts.
        return field.split(';').collect();
    }
    pieces.push(&field[from..]);
    pieces
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"') else {
        return value.to_owned();
    };
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some((_, next @ ('"' | '\\')))) => {
                out.push(*next);
                chars.next();
            }
            // Only a comment may follow the closing quote; otherwise it was not one.
            ('"', _) if ["", "("].contains(&first_letter(&inner[at + 1..])) => break,
            _ => out.push(c),
        }
    }
    out
}

fn first_letter(text: &str) -> &str {
    let text = text.trim_start();
    text.chars().next().map_or("", |c| &text[..c.len_utf8()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(field: &str) -> String {
        Parametrised::parse(field.as_bytes()).get("filename").unwrap_or_default().to_owned()
    }

    #[test]
    fn names_are_read_whole() {
        for (field, expected) in [
            ("attachment; filename=plan.pdf", "plan.pdf"),
            ("attachment; filename=\"Plan; second part, draft.pdf\"", "Plan; second part, draft.pdf"),
            ("attachment; filename=Plan of the year.pdf", "Plan of the year.pdf"),
            ("attachment; filename=\"a \\\"b\\\".pdf\"; size=3", "a \"b\".pdf"),
            ("attachment; filename=\"C:\\temp\\plan.pdf\"", "C:\\temp\\plan.pdf"),
            ("attachment; filename=\"half a quote.pdf", "\"half a quote.pdf".trim_start_matches('"')),
            ("attachment; filename*=UTF-8''Gr%C3%BC%C3%9Fe.pdf; filename=Gruesse.pdf", "Grüße.pdf"),
            (
                "attachment;\r\n filename*0*=utf-8''Gr%C3;\r\n filename*1*=%BC%C3%9F;\r\n filename*2=\"e.pdf\"",
                "Grüße.pdf",
            ),
            ("attachment; filename*1=b.pdf; filename*0=a", "ab.pdf"),
            ("attachment; filename=\"=?utf-8?Q?Gr=C3?= =?utf-8?Q?=BC=C3=9Fe;_1.pdf?=\"", "Grüße; 1.pdf"),
            ("attachment; filename==?utf-8?B?R3LDvMOfZS5wZGY=?=", "Grüße.pdf"),
            ("attachment; filename*=gb2312''%BC%D2%B3%A4%BB%E1.doc", "家长会.doc"),
            ("attachment; FileName=\"Zeugnis 7/8.pdf\"", "Zeugnis 7/8.pdf"),
        ] {
            assert_eq!(name(field), expected, "{field}");
        }
        let pieces = b"attachment; filename*0=\"=?utf-8?B?R3LDvMOfZV9hdXNf\";\r\n filename*1=\"S8O2bG4ucGRm?=\"";
        assert_eq!(Parametrised::parse(pieces).get("filename"), Some("Grüße_aus_Köln.pdf"));
        let raw = Parametrised::parse(b"attachment; filename=\"Gr\xfc\xdfe.pdf\"");
        assert_eq!(raw.get("filename"), Some("Grüße.pdf"));
    }

    #[test]
    fn values_and_parameters_are_told_apart() {
        let field = Parametrised::parse(b" Text/Plain ; Charset = \"utf-8\"; Format=Flowed; delsp=yes ");
        assert_eq!(field.value, "text/plain");
        assert_eq!((field.get("charset"), field.get("format")), (Some("utf-8"), Some("Flowed")));
        assert_eq!(Parametrised::parse(b"").value, "");
        for field in
            ["text/html charset=utf-8", "text/html (page); charset=\"utf-8\" (c)", "TEXT/HTML, x; charset=utf-8"]
        {
            let parsed = Parametrised::parse(field.as_bytes());
            assert_eq!((parsed.value.as_str(), parsed.get("charset")), ("text/html", Some("utf-8")), "{field}");
        }
    }
}
