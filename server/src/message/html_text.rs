//! HTML as plain text: for quotes, search, and where HTML cannot be shown.

/// Elements that end a line.
const BLOCKS: [&str; 11] = ["h1", "h2", "h3", "h4", "h5", "h6", "div", "li", "tr", "blockquote", "table"];

/// Without style sheets and titles.
pub fn html_text(html: &str) -> String {
    let html = ["style", "title", "script"].iter().fold(without_comments(html), |html, name| without(&html, name));
    let mut broken = String::with_capacity(html.len());
    let mut rest = html.as_str();
    // An unclosed element is searched for once.
    let mut closes_nothing = false;
    while let Some(at) = rest.find('<') {
        let (before, tag) = rest.split_at(at);
        broken.push_str(before);
        let (closes, named) = tag[1..].strip_prefix('/').map_or((false, &tag[1..]), |named| (true, named));
        let name: String = named.chars().take_while(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
        // The library handles neither line breaks with attributes nor cells, and swallows everything after an unclosed head.
        match (name.as_str(), closes) {
            ("br", _) => broken.push_str("<br>"),
            ("td" | "th", true) => broken.push(' '),
            (name, true) if BLOCKS.contains(&name) => broken.push_str("<br>"),
            _ => {}
        }
        let is_dropped = ["br", "td", "th", "head"].contains(&name.as_str());
        let end = if is_dropped && !closes_nothing { tag.find('>') } else { None };
        closes_nothing |= is_dropped && end.is_none();
        match end {
            Some(end) => rest = &tag[end + 1..],
            None => {
                // A `<` that opens no tag is text.
                let opens = tag[1..].starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?'));
                broken.push_str(if opens { "<" } else { "&lt;" });
                rest = &tag[1..];
            }
        }
    }
    broken.push_str(rest);
    let text = mail_parser::decoders::html::html_to_text(&broken);
    // Collapses empty lines of nested paragraphs.
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines().map(str::trim_end) {
        if !line.trim().is_empty() || lines.last().is_some_and(|last| !last.trim().is_empty()) {
            lines.push(line);
        }
    }
    lines.join("\n")
}

/// HTML without comments. An unclosed comment ends with its tag: the text after it belongs to the message.
fn without_comments(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    let mut is_closed = true;
    while let Some((before, behind)) = rest.split_once("<!--") {
        out.push_str(before);
        // `<!-->` and `<!--->` are complete comments (HTML standard, 13.2.5.43).
        if let Some(behind) = behind.strip_prefix('>').or_else(|| behind.strip_prefix("->")) {
            rest = behind;
            continue;
        }
        let end = if is_closed { behind.find("-->") } else { None };
        is_closed = end.is_some();
        rest = match (end, behind.find('>')) {
            (Some(end), _) => &behind[end + 3..],
            (None, Some(end)) => &behind[end + 1..],
            (None, None) => "",
        };
    }
    out.push_str(rest);
    out
}

/// HTML without elements of one name and their content.
fn without(html: &str, name: &str) -> String {
    let lower = html.to_ascii_lowercase();
    let (open, close) = (format!("<{name}"), format!("</{name}"));
    let (mut out, mut at) = (String::with_capacity(html.len()), 0);
    while let Some(from) = lower[at..].find(&open).map(|found| at + found) {
        out.push_str(&html[at..from]);
        let is_one = lower[from + open.len()..].starts_with(|c: char| c == '>' || c == '/' || c.is_whitespace());
        if !is_one {
            at = from + open.len();
            out.push_str(&html[from..at]);
            continue;
        }
        // An unclosed element extends to the end.
        let end = lower[from..].find(&close).and_then(|end| Some(from + end + lower[from + end..].find('>')? + 1));
        at = end.unwrap_or(html.len());
    }
    out.push_str(&html[at..]);
    out
}

#[cfg(test)]
mod tests {
    use super::html_text;

    #[test]
    fn html_reads_as_lines() {
        let text = html_text("<h1>News</h1><p>One <b>two</b></p><ul><li>a</li><li>b</li></ul>");
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        assert_eq!(lines, ["News", "One two", "a", "b"]);
    }

    #[test]
    fn what_programs_write_reads_as_people_see_it() {
        let words = |html: &str| html_text(html).split_whitespace().collect::<Vec<_>>().join(" ");
        for (html, text) in [
            ("One<br class=\"\">Two<BR/>Three<br\n>Four", "One Two Three Four"),
            ("<table><tr><td>a</td><td>b</td></tr><tr><th>c</th><td>d</td></tr></table>", "a b c d"),
            ("<!-- x --->Seen", "Seen"),
            ("a<!-->b", "a b".replace(' ', "").as_str()),
            ("<head><meta charset=utf-8><body>Behind", "Behind"),
            ("<html><head><script>no()</script></head>Yes", "Yes"),
            ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ] {
            assert_eq!(words(html), text, "{html}");
        }
        let started = std::time::Instant::now();
        for piece in ["<!--a>", "<br", "<!-- ", "<td a", "</br x"] {
            let _ = html_text(&piece.repeat(300_000));
        }
        assert!(started.elapsed() < std::time::Duration::from_secs(10), "{:?}", started.elapsed());
        assert!(html_text("One<br clear=all>Two").contains('\n'));
    }

    #[test]
    fn style_sheets_and_titles_are_no_text() {
        let text = html_text("<head><title>T</title><STYLE>p{color:red}</STYLE ></head><p>Hello</p><styled>x</styled>");
        assert!(text.contains("Hello") && text.contains('x'), "{text}");
        assert!(!text.contains("color") && !text.contains('T'), "{text}");
        let started = std::time::Instant::now();
        let _ = html_text(&"<style".repeat(200_000));
        let _ = html_text(&"<style>".repeat(200_000));
        assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
    }
}
