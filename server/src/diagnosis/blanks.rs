//! The blanks of the table of causes, and what they are filled with.

use std::borrow::Cow;

/// Names in braces, and their values.
pub(super) struct Blanks<'a> {
    pub values: Vec<(&'static str, Cow<'a, str>)>,
    /// Names whose value is unknown and replaced by a phrase.
    pub unknown: Vec<&'static str>,
}

impl Blanks<'_> {
    pub fn suffice(&self, text: &str) -> bool {
        self.unknown.iter().all(|name| !text.contains(&format!("{{{name}}}")))
    }

    pub fn fill(&self, text: &str) -> String {
        self.with(text, str::to_owned)
    }

    /// A command for PowerShell. A typed address may contain characters that PowerShell executes (`|`, `&`, `$`).
    pub fn fill_command(&self, text: &str) -> String {
        self.with(text, powershell)
    }

    fn with(&self, text: &str, written: fn(&str) -> String) -> String {
        let mut filled = String::with_capacity(text.len() + 64);
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            filled.push_str(before);
            let found = behind
                .split_once('}')
                .and_then(|(name, behind)| Some((self.values.iter().find(|(known, _)| *known == name)?, behind)));
            if let Some(((_, value), behind)) = found {
                filled.push_str(&written(value));
                rest = behind;
            } else {
                filled.push('{');
                rest = behind;
            }
        }
        filled.push_str(rest);
        filled
    }
}

/// One argument of a PowerShell command, quoted where it needs to be. PowerShell takes the typographic quotes for quotes too.
pub fn powershell(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '@' | '+' | '-');
    if !text.is_empty() && !text.starts_with(['-', '@', '+', '.']) && text.chars().all(is_plain) {
        return text.to_owned();
    }
    let mut quoted = String::from("'");
    for c in text.chars() {
        if matches!(c, '\'' | '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{201b}') {
            quoted.push(c);
        }
        quoted.push(c);
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_never_becomes_a_command() {
        assert_eq!(powershell("ann.bell+x@school.example"), "ann.bell+x@school.example");
        assert_eq!(powershell("o'brien@school.example"), "'o''brien@school.example'");
        assert_eq!(powershell("a|b&c$d@school.example"), "'a|b&c$d@school.example'");
        assert_eq!(powershell("o\u{2019}brien@school.example"), "'o\u{2019}\u{2019}brien@school.example'");
        assert_eq!(powershell("-force@school.example"), "'-force@school.example'");
    }

    #[test]
    fn what_is_filled_in_is_not_filled_again() {
        let values = vec![("address", "{secret}@x.example".into()), ("secret", "no".into())];
        let blanks = Blanks { values, unknown: vec!["secret"] };
        assert!(blanks.suffice("{address}") && !blanks.suffice("{address} {secret}"));
        assert_eq!(blanks.fill("{address}, {other} and { left"), "{secret}@x.example, {other} and { left");
        assert_eq!(blanks.fill_command("Get-Mailbox {address}"), "Get-Mailbox '{secret}@x.example'");
    }
}
