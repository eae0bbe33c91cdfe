//! Who may sign in how.

use super::{Timestamp, UserId};

/// Who may sign in with a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum PasswordRule {
    #[default]
    Everyone,
    /// Two administrators, for emergencies. Everyone else signs in with Microsoft.
    Administrators,
}

/// Which people of the tenant, who have no account yet, get one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Newcomers {
    /// They are told whom to ask.
    #[default]
    Refused,
    /// Everyone whom Entra lets in: the app requires assignment.
    Assigned,
    /// Those with a sign-in name of a named domain.
    Domains,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SignInSettings {
    pub passwords: PasswordRule,
    pub newcomers: Newcomers,
    /// Lower case.
    pub domains: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignInSettingsView {
    pub settings: SignInSettings,
    /// Administrators whose password worked within 90 days, with the day; the latest first.
    pub proven: Vec<(UserId, String, Timestamp)>,
    /// Of those, whose passwords stay.
    pub keepers: Vec<UserId>,
    /// Why passwords stay for everyone, if they do.
    pub passwords_stay: Option<String>,
}

/// Reads domains, one per line or separated by commas. The first that is none is the error.
pub fn read_domains(text: &str) -> Result<Vec<String>, String> {
    let mut domains = Vec::new();
    for part in text.split(|c: char| c.is_whitespace() || c == ',' || c == ';').filter(|part| !part.is_empty()) {
        let domain = part.trim_start_matches('@').to_lowercase();
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.chars().all(|c| c.is_alphanumeric() || c == '-')
                && !label.starts_with('-')
        };
        if domain.len() > 253 || !domain.contains('.') || !domain.split('.').all(is_label) {
            return Err(part.chars().take(100).collect());
        }
        if !domains.contains(&domain) {
            domains.push(domain);
        }
    }
    Ok(domains)
}

#[cfg(test)]
mod tests {
    use super::read_domains;

    #[test]
    fn domains_are_read_as_people_paste_them() {
        assert_eq!(
            read_domains(" School.example,@staff.school.example\nschool.example ").unwrap(),
            ["school.example", "staff.school.example"]
        );
        for wrong in ["school", "a..b", "-a.example", "https://school.example", "a@b.example"] {
            assert!(read_domains(wrong).is_err(), "{wrong}");
        }
        assert!(read_domains("").unwrap().is_empty());
    }
}
