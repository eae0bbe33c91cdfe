//! Enhanced status codes (RFC 3463) in replies of mail servers.

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Statuses<'a> {
    /// The code at the beginning of the text, behind the reply code.
    pub own: Option<&'a str>,
    /// Further codes, in order.
    pub others: Vec<&'a str>,
}

impl<'a> Statuses<'a> {
    /// Finds the codes of a text. Codes are matched whole: not inside `5.7.350`, an IP address, or an email address.
    pub fn of(text: &'a str) -> Self {
        let start = text.trim_start();
        let behind_reply = match start.get(..3) {
            Some(reply) if reply.bytes().all(|byte| byte.is_ascii_digit()) && start[3..].starts_with([' ', '-']) => {
                &start[4..]
            }
            _ => start,
        };
        let (own, rest) = match leading(behind_reply.trim_start_matches([' ', '#', '('])) {
            Some((code, rest)) => (Some(code), rest),
            None => (None, behind_reply),
        };
        let mut others = Vec::new();
        let mut version = false;
        for word in rest.split_whitespace() {
            let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
            let has_neighbours = word.contains(['@', '-', '_', '+']);
            let parts = if has_neighbours { "" } else { word };
            for part in parts.split(|c: char| !(c.is_alphanumeric() || c == '.')) {
                let part = part.trim_end_matches('.');
                if is_status(part) && !version {
                    others.push(part);
                }
            }
            version = bare.eq_ignore_ascii_case("version");
        }
        // Each line of a reply repeats the code: `550-5.7.26 … 550 5.7.26 …`.
        Self { own, others }
    }

    /// The first code that a table knows. The code at the beginning decides, unless it is a general one.
    pub fn find<T>(&self, known: impl Fn(&str) -> Option<T>) -> Option<T> {
        let is_general = |code: &str| code.ends_with(".0.0") || code == "5.0.350";
        match self.own {
            Some(own) if !is_general(own) => known(own),
            own => self.others.iter().find_map(|code| known(code)).or_else(|| known(own?)),
        }
    }
}

fn leading(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (code, rest) = text.split_at(end);
    let code = code.trim_end_matches('.');
    (is_status(code) && !rest.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '@' | '-' | '_' | '+')))
        .then_some((code, rest))
}

/// `class.subject.detail`: 2, 4 or 5, and two numbers of up to three digits.
fn is_status(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let is_number = |part: &&str| (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    parts.len() == 3 && ["2", "4", "5"].contains(&parts[0]) && parts[1..].iter().all(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_code_is_told_from_what_else_stands_there() {
        for (text, own) in [
            ("5.7.3 Authentication unsuccessful", Some("5.7.3")),
            ("535 5.7.3", Some("5.7.3")),
            ("550-5.7.26 This mail has been blocked", Some("5.7.26")),
            ("550 #5.1.0 Address rejected", Some("5.1.0")),
            ("550 (5.7.1) no", Some("5.7.1")),
            ("550 5.7.350 Remote server returned", Some("5.7.350")),
            ("5.7.3@x.example is refused", None),
            ("10.5.7.3 said no", None),
            ("550 mailbox unavailable", None),
            ("5.7.3-x", None),
            ("", None),
        ] {
            assert_eq!(Statuses::of(text).own, own, "{text}");
        }
    }

    #[test]
    fn neither_networks_nor_people_nor_versions_are_codes() {
        let text = "550 no: 10.5.7.3, 15.7.3, a5.7.3@x.example, x-5.7.3-y, version 5.7.3, 5.7.3.4 and 5.1.1. (5.2.2); code=5.3.4";
        assert_eq!(Statuses::of(text).others, ["5.1.1", "5.2.2", "5.3.4"]);
    }

    #[test]
    fn a_general_code_gives_way() {
        let known = |code: &str| ["5.1.1", "5.7.3", "5.0.0"].contains(&code).then(|| code.to_owned());
        for (text, found) in [
            ("550 5.7.1 rejected by rule 5.7.3", None),
            ("550 5.0.350 Remote server returned an error -> 550 5.1.1 User unknown", Some("5.1.1")),
            ("550 5.0.0 refused, see 5.1.1 or 5.7.3", Some("5.1.1")),
            ("550 5.0.0 refused", Some("5.0.0")),
            ("550 refused (5.7.3)", Some("5.7.3")),
        ] {
            assert_eq!(Statuses::of(text).find(known).as_deref(), found, "{text}");
        }
    }
}
