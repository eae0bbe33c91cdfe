//! File names of attachments: safe on every system, and honest about the type.

/// Longest name, in characters. Systems allow 255 units or bytes; a download may append ` (1)`.
const LONGEST: usize = 150;
/// Longest name, in bytes: letters of other scripts have up to four.
const BYTES: usize = 240;
/// Longest extension, in characters with the dot.
const ENDING: usize = 20;

/// Names that Windows reserves for devices.
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];

/// A safe name. Unsafe characters are replaced, not cut at.
pub fn file_name(name: &str, content_type: &str, number: usize) -> String {
    let one_line: String = name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let one_line = one_line.split_whitespace().collect::<Vec<_>>().join(" ");
    let safe: String = one_line.chars().map(|c| if is_unsafe(c) { '_' } else { c }).collect();
    // A leading dot hides a file; Windows drops trailing blanks and dots.
    let safe = safe.trim_matches(|c: char| c == '.' || c.is_whitespace());
    if safe.chars().all(|c| c == '_' || c == '.') {
        return format!("attachment-{number}.{}", ending_of(content_type));
    }
    let stem = safe.split('.').next().unwrap_or(safe).to_lowercase();
    let port =
        stem.len() == 4 && (stem.starts_with("com") || stem.starts_with("lpt")) && stem.ends_with(char::is_numeric);
    let safe = if DEVICES.contains(&stem.as_str()) || port { format!("_{safe}") } else { safe.to_owned() };
    shortened(&safe)
}

/// Shortens the stem of a name and keeps its extension.
fn shortened(name: &str) -> String {
    if name.chars().count() <= LONGEST && name.len() <= BYTES {
        return name.to_owned();
    }
    let mut ending =
        name.rfind('.').map(|at| &name[at..]).filter(|ending| ending.chars().count() <= ENDING).unwrap_or_default();
    let before = &name[..name.len() - ending.len()];
    if before.to_ascii_lowercase().ends_with(".tar") {
        ending = &name[before.len() - 4..];
    }
    let kept = LONGEST - 1 - ending.chars().count();
    let room = BYTES.saturating_sub(ending.len() + '…'.len_utf8());
    let mut stem: String = name[..name.len() - ending.len()].chars().take(kept).collect();
    stem.truncate(stem.floor_char_boundary(room));
    format!("{}…{ending}", stem.trim_end())
}

fn is_unsafe(c: char) -> bool {
    matches!(c, '/' | '\\' | '<' | '>' | ':' | '"' | '|' | '?' | '*') || super::direction::turns_text(c)
}

fn ending_of(content_type: &str) -> &'static str {
    match content_type {
        "message/rfc822" | "message/global" => "eml",
        "text/plain" => "txt",
        "text/html" => "html",
        "text/calendar" => "ics",
        "text/csv" => "csv",
        "image/png" => "png",
        "image/jpeg" | "image/jpg" => "jpg",
        "image/gif" => "gif",
        "image/webp" => "webp",
        "application/pdf" => "pdf",
        "application/zip" => "zip",
        "application/pkcs7-mime" | "application/x-pkcs7-mime" => "p7m",
        "application/pkcs7-signature" | "application/x-pkcs7-signature" => "p7s",
        _ => "bin",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_characters_are_replaced_and_nothing_is_cut() {
        for (name, safe) in [
            ("C:\\x\\plan.pdf", "C__x_plan.pdf"),
            ("../../etc/plan.pdf", "_.._etc_plan.pdf"),
            ("Zeugnis 7/8: a|b?.pdf", "Zeugnis 7_8_ a_b_.pdf"),
            ("a\r\nb\tc.txt", "a b c.txt"),
            ("plan\u{202e}fdp.exe", "plan_fdp.exe"),
            (".profile", "profile"),
            ("report.pdf. ", "report.pdf"),
            ("con.txt", "_con.txt"),
            ("COM1", "_COM1"),
            ("comic.txt", "comic.txt"),
            ("班主任通知.docx", "班主任通知.docx"),
        ] {
            assert_eq!(file_name(name, "", 1), safe, "{name}");
        }
        assert_eq!(file_name("..", "application/pdf", 2), "attachment-2.pdf");
        assert_eq!(file_name("", "message/rfc822", 1), "attachment-1.eml");
    }

    #[test]
    fn a_long_name_keeps_its_ending() {
        for ending in [".pdf", ".tar.gz", ".docx"] {
            let short = file_name(&format!("{}{ending}", "Protokoll ".repeat(40)), "", 1);
            assert!(
                short.ends_with(&ending[ending.rfind('.').unwrap()..]) && short.starts_with("Protokoll"),
                "{short}"
            );
            assert!(short.chars().count() <= LONGEST, "{short}");
        }
        assert_eq!(file_name(&"x".repeat(400), "", 1).chars().count(), LONGEST);
        assert_eq!(file_name(&format!("a.{}", "x".repeat(400)), "", 1).chars().count(), LONGEST);
    }
}
