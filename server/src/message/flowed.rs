//! Plain text: removes soft line breaks (RFC 3676), and finds links.

use app::model::TextPiece;
use linkify::{LinkFinder, LinkKind};

/// Most links in one text; further ones stay text.
const LINKS: usize = 2_000;

/// Joins the lines of `format=flowed` text. With DelSp, also removes the blank that marks a soft break.
pub fn unflowed(text: &str, del_sp: bool) -> String {
    let mut out = String::with_capacity(text.len());
    // Quote depth of a line that continues.
    let mut open: Option<usize> = None;
    for line in text.split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line);
        let depth = line.bytes().take_while(|byte| *byte == b'>').count();
        let mut words = &line[depth..];
        // Space-stuffing (RFC 3676, 4.4).
        words = words.strip_prefix(' ').unwrap_or(words);
        let signature = words == "-- ";
        if open.is_some_and(|before| before != depth || signature) {
            out.push('\n');
            open = None;
        }
        if open.is_none() {
            for _ in 0..depth {
                out.push('>');
            }
            if depth > 0 {
                out.push(' ');
            }
        }
        let soft = words.ends_with(' ') && !signature;
        out.push_str(if soft && del_sp { &words[..words.len() - 1] } else { words });
        if soft {
            open = Some(depth);
        } else {
            out.push('\n');
            open = None;
        }
    }
    // `split` yields an empty line after the last line end.
    if out.ends_with('\n') {
        out.pop();
    }
    out
}

/// Splits a text into words and links. The pieces contain no markup.
pub fn pieces(text: &str) -> Vec<TextPiece> {
    let mut finder = LinkFinder::new();
    finder.kinds(&[LinkKind::Url, LinkKind::Email]).url_must_have_scheme(true);
    let mut pieces = Vec::new();
    let mut at = 0;
    for link in finder.links(text).take(LINKS) {
        let words = ended(link.as_str());
        let href = match link.kind() {
            LinkKind::Email => format!("mailto:{words}"),
            _ if is_web(words) => words.to_owned(),
            _ => continue,
        };
        if link.start() > at {
            words_with_www(&text[at..link.start()], &mut pieces);
        }
        pieces.push(TextPiece::Link { href, words: words.to_owned() });
        at = link.start() + words.len();
    }
    if at < text.len() || pieces.is_empty() {
        words_with_www(&text[at..], &mut pieces);
    }
    pieces
}

/// Words, and `www.` links without a scheme. A finder that accepts any dot (`plan.pdf`, `e.g.`) scans the rest of the text again
/// for each.
fn words_with_www(text: &str, pieces: &mut Vec<TextPiece>) {
    let ends = |c: char| c.is_whitespace() || "<>\"'()[]{}|`".contains(c);
    let (mut from, mut at) = (0, 0);
    while let Some(found) = text[at..].find("www.").map(|found| at + found) {
        let rest = &text[found..];
        let end = rest.find(ends).unwrap_or(rest.len());
        let word = ended(rest[..end].trim_end_matches(['.', ',', ';', ':', '!', '?']));
        let starts = !text[..found].ends_with(|c: char| c.is_alphanumeric() || "@/._-".contains(c));
        let is_host = word[4..].starts_with(|c: char| c.is_alphanumeric()) && word[4..].contains('.');
        at = found + 4;
        if !(starts && is_host) || pieces.len() > LINKS * 2 {
            continue;
        }
        if found > from {
            pieces.push(TextPiece::Words(text[from..found].to_owned()));
        }
        pieces.push(TextPiece::Link { href: format!("http://{word}"), words: word.to_owned() });
        (from, at) = (found + word.len(), found + word.len());
    }
    if from < text.len() || pieces.is_empty() {
        pieces.push(TextPiece::Words(text[from..].to_owned()));
    }
}

/// End of a link in text without blanks: at Chinese, Japanese and Korean punctuation and letters.
fn ended(link: &str) -> &str {
    let is_foreign = |c: char| matches!(c, '\u{3000}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' | '\u{ff00}'..='\u{ffef}' | '\u{201c}' | '\u{201d}');
    // A host may contain such letters; in the path they would be percent-encoded.
    let from = link.find("://").map_or(0, |at| at + 3);
    let path = link[from..].find('/').map_or(from, |at| from + at);
    link[path..].find(is_foreign).map_or(link, |at| &link[..path + at])
}

fn is_web(url: &str) -> bool {
    let lower = url.get(..8).unwrap_or(url).to_ascii_lowercase();
    lower.starts_with("https://") || lower.starts_with("http://")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soft_breaks_go_and_hard_ones_stay() {
        let wire = "One paragraph that \r\nflows on.\r\n\r\n> A quote that \r\n> flows.\r\n>> deeper \r\n> back\r\n from stuffed\r\n-- \r\nAda\r\n";
        assert_eq!(
            unflowed(wire, false),
            "One paragraph that flows on.\n\n> A quote that flows.\n>> deeper \n> back\nfrom stuffed\n-- \nAda\n"
        );
        assert_eq!(unflowed("日本 \r\n語", true), "日本語");
        assert_eq!(unflowed("a", false), "a");
    }

    #[test]
    fn links_are_found_and_end_where_they_end() {
        let links = |text: &str| {
            let pieces = pieces(text);
            let whole: String = pieces
                .iter()
                .map(|piece| match piece {
                    TextPiece::Words(words) | TextPiece::Link { words, .. } => words.as_str(),
                })
                .collect();
            assert_eq!(whole, text, "nothing is lost");
            let hrefs = pieces.into_iter().filter_map(|piece| match piece {
                TextPiece::Link { href, .. } => Some(href),
                TextPiece::Words(_) => None,
            });
            hrefs.collect::<Vec<_>>()
        };
        assert_eq!(links("See https://x.example/a?b=c&d=(1)."), ["https://x.example/a?b=c&d=(1)"]);
        assert_eq!(links("(http://x.example/)"), ["http://x.example/"]);
        assert_eq!(links("<https://x.example/a>, then"), ["https://x.example/a"]);
        assert_eq!(links("Write to help@x.example!"), ["mailto:help@x.example"]);
        assert!(links("javascript:alert(1) file:///etc/passwd data:text/html,x").is_empty());
        assert!(links("<b>no</b> link").is_empty());
    }
}
