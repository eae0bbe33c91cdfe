//! Characters that change the direction of text (Unicode Standard Annex #9): they make `exe.fdp` look like `pdf.exe`.

use std::fmt::Write;

/// Whether a character embeds, overrides or isolates a direction.
pub fn turns_text(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Makes such characters visible in a name, subject or address. Closed isolates stay: they affect only their content, and programs
/// write them around names. Marks (U+200E, U+200F, U+061C) stay too.
pub fn shown(text: &str) -> String {
    if !text.contains(turns_text) {
        return text.to_owned();
    }
    let closed = isolates_are_closed(text);
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{2066}'..='\u{2069}' if closed => out.push(c),
            c if turns_text(c) => {
                let _ = write!(out, "[U+{:04X}]", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

fn isolates_are_closed(text: &str) -> bool {
    let mut open = 0_u32;
    for c in text.chars() {
        match c {
            '\u{2066}'..='\u{2068}' => open += 1,
            '\u{2069}' if open == 0 => return false,
            '\u{2069}' => open -= 1,
            _ => {}
        }
    }
    open == 0
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn overrides_are_shown_as_what_they_are() {
        assert_eq!(shown("Invoice \u{202e}fdp.exe"), "Invoice [U+202E]fdp.exe");
        assert_eq!(shown("\u{202d}a\u{202c}"), "[U+202D]a[U+202C]");
        assert_eq!(shown("\u{2067}open"), "[U+2067]open");
        assert_eq!(shown("\u{2068}Ann\u{2069} wrote"), "\u{2068}Ann\u{2069} wrote");
        assert_eq!(shown("שלום \u{200f}(2)"), "שלום \u{200f}(2)");
    }
}
