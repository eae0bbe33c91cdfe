//! Parses addresses that people type into To, Cc and Bcc: lists, names, groups, international addresses.

use std::collections::HashSet;

use app::model::EmailAddress;
use mail_parser::{Address, MessageParser};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub name: Option<String>,
    pub address: EmailAddress,
}

/// Most addresses in one field.
const MOST: usize = 2_000;
/// Longest text of one field, in bytes.
const MOST_TYPED: usize = 200_000;

/// Parses a list separated by commas, semicolons or line ends. A group (`Staff: a@x.example, b@x.example;`) becomes its members.
pub fn parse_list(text: &str) -> Result<Vec<Named>, String> {
    if text.len() > MOST_TYPED {
        return Err("A message can't have this many addresses.".into());
    }
    // Separators of other scripts, and copied mailto links.
    let text = outside_quotes(text, |c| if matches!(c, '，' | '、' | '；' | '،' | '؛') { ',' } else { c });
    let text = without_mailto(&text);
    let line = one_line(&names_quoted(&text));
    // Semicolons separate as in Outlook, unless they end a group.
    let line = if line.contains(':') { line } else { outside_quotes(&line, |c| if c == ';' { ',' } else { c }) };
    let line = line.trim_matches(|c: char| c.is_whitespace() || c == ',');
    if line.is_empty() {
        return Ok(Vec::new());
    }
    if line.chars().any(char::is_control) {
        return Err("There is a control character between the addresses. Type them again.".into());
    }
    let header = format!("To: {line}\r\n\r\n");
    let parsed = MessageParser::default().parse_headers(header.as_bytes()).ok_or("These are not email addresses.")?;
    let found: Vec<_> = match parsed.to() {
        Some(Address::List(list)) => list.iter().collect(),
        Some(Address::Group(groups)) => groups.iter().flat_map(|group| &group.addresses).collect(),
        None => return Err(format!("{line} is not an email address.")),
    };
    check_nothing_is_lost(line, found.len())?;
    if found.len() > MOST {
        return Err(format!("A message can't have {} addresses.", found.len()));
    }
    let (mut named, mut known, mut wrong) = (Vec::with_capacity(found.len()), HashSet::new(), Vec::new());
    for one in found {
        let typed = one.address.as_deref().or(one.name.as_deref()).unwrap_or_default();
        let Ok(address) = EmailAddress::parse(typed) else {
            wrong.push(format!("“{typed}”"));
            continue;
        };
        let name = one.address.as_ref().and(one.name.as_ref()).map(|name| name.trim().to_owned());
        if known.insert(address.as_str().to_lowercase()) {
            named.push(Named { name: name.filter(|name| !name.is_empty()), address });
        }
    }
    match wrong.as_slice() {
        [] if named.is_empty() => Err(format!("{line} has no addresses.")),
        [] => Ok(named),
        [one] => Err(format!("{one} is not an email address. It looks like name@school.example.")),
        [some @ .., last] => {
            let some = &some[..some.len().min(10)];
            Err(format!("{} and {last} are not email addresses. One looks like name@school.example.", some.join(", ")))
        }
    }
}

/// Maps characters outside quotes.
fn outside_quotes(text: &str, map: impl Fn(char) -> char) -> String {
    let (mut quoted, mut escaped) = (false, false);
    text.chars()
        .map(|c| match c {
            _ if escaped => {
                escaped = false;
                c
            }
            '\\' if quoted => {
                escaped = true;
                c
            }
            '"' => {
                quoted = !quoted;
                c
            }
            _ if quoted => c,
            c => map(c),
        })
        .collect()
}

/// Removes the `mailto:` of copied links.
fn without_mailto(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let (mut out, mut from) = (String::with_capacity(text.len()), 0);
    for (at, scheme) in lower.match_indices("mailto:") {
        if text[..at].chars().next_back().is_none_or(|c| c.is_whitespace() || matches!(c, ',' | ';' | '<')) {
            out.push_str(&text[from..at]);
            from = at + scheme.len();
        }
    }
    out.push_str(&text[from..]);
    out
}

/// Outlook separates with semicolons and writes `Brook, Ann <ann@x.example>`: quotes such names.
fn names_quoted(text: &str) -> String {
    // In `jane, Bo <b@x.example>` alone, `jane` may be a mistyped address.
    let several = text.split(['\r', '\n', ';']).filter(|piece| !piece.trim().is_empty()).count() > 1;
    let lines = text.split_inclusive(['\r', '\n']).map(|line| {
        if line.contains(['"', ':', '\t']) {
            return line.to_owned();
        }
        let pieces: Vec<&str> = line.split(';').collect();
        // A comma between two addresses always separates them.
        let is_named = |piece: &&str| {
            let piece = piece.trim();
            piece.is_empty()
                || EmailAddress::parse(piece).is_ok()
                || (piece.ends_with('>') && piece.matches('<').count() == 1 && piece.matches('@').count() == 1)
        };
        if !several || !pieces.iter().all(is_named) {
            return line.to_owned();
        }
        let quoted = pieces.iter().map(|piece| match piece.trim().split_once('<') {
            Some((name, address)) if name.contains(',') => format!("\"{}\" <{address}", name.trim().replace('\\', "")),
            _ => piece.trim().to_owned(),
        });
        quoted.collect::<Vec<_>>().join(";") + if line.ends_with('\n') { "\n" } else { "" }
    });
    lines.collect()
}

/// Joins typed or pasted lines into one comma-separated line: columns, rows of a table, adjacent addresses. A line end must not
/// reach the header.
fn one_line(text: &str) -> String {
    let rows = text.split(['\r', '\n']).map(|row| if row.contains('\t') { cells(row) } else { row.trim().to_owned() });
    let rows: Vec<String> = rows.map(|row| separated(&row)).filter(|row| !row.is_empty()).collect();
    rows.join(", ")
}

/// A row of a table: its addresses, or the whole row if it has none, so that it is reported. A row of one name and one address keeps
/// the name.
fn cells(row: &str) -> String {
    let cells: Vec<&str> = row.split('\t').map(str::trim).filter(|cell| !cell.is_empty()).collect();
    let (addresses, others): (Vec<&str>, Vec<&str>) = cells.iter().partition(|cell| cell.contains('@'));
    match (addresses.as_slice(), others.as_slice()) {
        ([address], [name]) if !address.contains('<') && !name.contains(['"', '\\']) => {
            format!("\"{name}\" <{address}>")
        }
        ([], _) => cells.join(" "),
        (addresses, _) => addresses.join(", "),
    }
}

/// Separates adjacent addresses: `Ann <a@x.example> Bob <b@x.example>`, `a@x.example b@x.example`.
fn separated(row: &str) -> String {
    let mut out = String::with_capacity(row.len() + 16);
    let (mut quoted, mut escaped, mut closed) = (false, false, false);
    for c in row.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        if closed && !c.is_whitespace() {
            closed = false;
            if !matches!(c, ',' | ';' | '>') {
                out.push_str(", ");
            }
        }
        out.push(c);
        closed |= c == '>' && !quoted;
    }
    // Only bare addresses between commas.
    if out.contains(['"', '<', ':', '(']) {
        return out;
    }
    let pieces = out.split(',').map(|piece| {
        let words: Vec<&str> = piece.split_whitespace().collect();
        // A name and an address without brackets: `Ann Brook ann@x.example`.
        if let [names @ .., last] = words.as_slice()
            && !names.is_empty()
            && !names.iter().any(|word| word.contains(['@', ';']))
            && EmailAddress::parse(last.trim_end_matches(';')).is_ok()
        {
            return format!("\"{}\" <{}>", names.join(" ").replace('\\', ""), last.trim_end_matches(';'));
        }
        let bare = words.len() > 1 && words.iter().all(|word| EmailAddress::parse(word.trim_end_matches(';')).is_ok());
        if bare { words.join(", ") } else { piece.to_owned() }
    });
    pieces.collect::<Vec<_>>().join(",")
}

/// The parser is lenient, as received mail requires, but typed text must not be dropped silently. So a colon must end a group name
/// without `@`, a semicolon must end the group, and there must be one `@` per address.
fn check_nothing_is_lost(line: &str, found: usize) -> Result<(), String> {
    let (mut quoted, mut escaped, mut in_group, mut ats, mut ats_here) = (false, false, false, 0, 0);
    for c in line.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '@' => (ats, ats_here) = (ats + 1, ats_here + 1),
            ',' => ats_here = 0,
            ';' => (in_group, ats_here) = (false, 0),
            ':' if !in_group && ats_here == 0 => in_group = true,
            ':' => return Err(format!("“{line}” has a colon within an address. Every field has its own addresses.")),
            _ => {}
        }
    }
    if in_group {
        return Err(format!("“{line}” has a colon, as a group has; a group ends with a semicolon."));
    }
    if ats > found {
        // Names only the wrong piece.
        let marked = outside_quotes(line, |c| if c == ',' { '\n' } else { c });
        let wrong: Vec<String> = marked
            .split('\n')
            .map(str::trim)
            .filter(|piece| piece.matches('@').count() > 1 && !piece.contains(['"', '<']))
            .take(10)
            .map(|piece| format!("“{piece}”"))
            .collect();
        if !wrong.is_empty() && wrong.len() < marked.split('\n').count() {
            return Err(format!("{} cannot be an address: it has more than one @.", wrong.join(", ")));
        }
        return Err(format!("“{line}” has more @ than addresses. Separate addresses with commas."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &str) -> Vec<String> {
        parse_list(text).unwrap().into_iter().map(|named| named.address.to_string()).collect()
    }

    #[test]
    fn lists_names_groups_and_international_addresses() {
        assert_eq!(
            addresses(" a@x.example, b@x.example;c@x.example\nd@x.example "),
            ["a@x.example", "b@x.example", "c@x.example", "d@x.example"]
        );
        assert_eq!(addresses("Staff: a@x.example, B <b@x.example>;"), ["a@x.example", "b@x.example"]);
        assert_eq!(addresses("schüler@schule.example"), ["schüler@schule.example"]);
        for text in [
            "Brook, Ann <a@x.example>; Miller, Bo <b@x.example>",
            "Brook, Ann <a@x.example>;Miller, Bo <b@x.example>;",
            "Brook, Ann <a@x.example>\r\nMiller, Bo <b@x.example>",
            "Brook, Ann <a@x.example>; b@x.example",
            "Ann a@x.example\nBo b@x.example",
            "Ann Brook a@x.example, Bo Miller b@x.example",
            "a@x.example，b@x.example",
            "a@x.example、b@x.example；",
            "mailto:a@x.example, MAILTO:b@x.example",
            "Ann <mailto:a@x.example>; Bo <b@x.example>",
        ] {
            assert_eq!(addresses(text), ["a@x.example", "b@x.example"], "{text}");
        }
        assert_eq!(
            parse_list("Brook, Ann <a@x.example>; B <b@x.example>").unwrap()[0].name.as_deref(),
            Some("Brook, Ann")
        );
        assert!(parse_list("jane, Bo <b@x.example>").unwrap_err().contains("“jane”"));
        assert_eq!(parse_list("Ann Brook a@x.example").unwrap()[0].name.as_deref(), Some("Ann Brook"));
        assert_eq!(addresses("a@x.example, A@X.example"), ["a@x.example"], "nobody gets it twice");
        let named = parse_list("\"Doe, Jane\" <jane@x.example>").unwrap();
        assert_eq!(named[0].name.as_deref(), Some("Doe, Jane"));
        assert_eq!(parse_list(" ,; ").unwrap_or_default(), []);
    }

    #[test]
    fn what_is_pasted_is_understood() {
        for (pasted, expected) in [
            ("a@x.example\nb@x.example\r\nc@x.example\n", "a@x.example b@x.example c@x.example"),
            ("Ann\ta@x.example\t7b\nBob\tb@x.example", "a@x.example b@x.example"),
            ("a@x.example\tb@x.example", "a@x.example b@x.example"),
            ("Ann <a@x.example> Bob <b@x.example>", "a@x.example b@x.example"),
            ("Ann <a@x.example>Bob <b@x.example>; <c@x.example>", "a@x.example b@x.example c@x.example"),
            ("a@x.example b@x.example", "a@x.example b@x.example"),
            ("a@x.example; b@x.example c@x.example", "a@x.example b@x.example c@x.example"),
            ("\u{200b}a@x.example\u{a0}\n\u{feff}b@x.example", "a@x.example b@x.example"),
            ("\"Doe; Jane\" <a@x.example>", "a@x.example"),
        ] {
            assert_eq!(addresses(pasted).join(" "), expected, "{pasted:?}");
        }
        let named = parse_list("Ann Brook\ta@x.example\nMüller, Bo\tb@x.example").unwrap();
        assert_eq!(named[0].name.as_deref(), Some("Ann Brook"));
        assert_eq!(named[1].name.as_deref(), Some("Müller, Bo"));
        let error = parse_list("a@x.example\njane\nb@x.example\nbob@").unwrap_err();
        assert!(error.contains("“jane”") && error.contains("“bob@”") && !error.contains("a@x"), "{error}");
        let error = parse_list("Name\tEmail\nAnn\ta@x.example").unwrap_err();
        assert!(error.contains("Name Email"), "{error}");
    }

    #[test]
    fn what_is_no_address_is_named() {
        for (typed, named) in [("jane", "jane"), ("a@x.example, jane doe", "jane doe"), ("@x.example", "x.example")] {
            let error = parse_list(typed).unwrap_err();
            assert!(error.contains(named), "{typed}: {error}");
        }
    }

    #[test]
    fn nothing_that_was_typed_vanishes() {
        for typed in [
            "other@x.exampleBcc: b@y.example",
            "a@x.example\r\nBcc: b@x.example",
            "a@x.example <b@x.example>",
            "Bcc: b@y.example",
        ] {
            match parse_list(typed) {
                Err(error) => assert!(!error.is_empty()),
                Ok(named) => panic!("{typed} became {named:?}"),
            }
        }
        assert_eq!(addresses("\"jane@home\" <a@x.example>"), ["a@x.example"]);
    }

    #[test]
    fn a_header_cannot_be_smuggled_in() {
        assert!(parse_list("a@x.example\r\nBcc: b@x.example").is_err());
        assert!(parse_list("a@x.example\0").is_err());
    }

    #[test]
    fn of_a_column_the_wrong_one_is_named() {
        let error = parse_list("a@x.example\nb@@x.example\nc@x.example").unwrap_err();
        assert!(error.contains("“b@@x.example”") && !error.contains("c@x.example"), "{error}");
    }
}
