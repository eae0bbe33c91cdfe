//! The raw fields of a header.

pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    /// The first field of a name (in lower case), still folded.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        let mut rest = self.0;
        while !rest.is_empty() && !rest.starts_with(b"\n") && !rest.starts_with(b"\r\n") {
            let end = end_of_field(rest);
            let field = &rest[..end];
            rest = &rest[end..];
            let Some(colon) = field.iter().position(|byte| *byte == b':') else { continue };
            if field[..colon].trim_ascii().eq_ignore_ascii_case(name.as_bytes()) {
                return Some(&field[colon + 1..]);
            }
        }
        None
    }
}

/// Where a field ends: at a line end that no blank follows (RFC 5322, 2.2.3).
pub(super) fn end_of_field(header: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = header[at..].iter().position(|byte| *byte == b'\n') {
        at += found + 1;
        if !matches!(header.get(at), Some(b' ' | b'\t')) {
            return at;
        }
    }
    header.len()
}
