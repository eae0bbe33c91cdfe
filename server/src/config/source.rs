//! Sources of settings, and errors for those that cannot be used.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use app::model::pasted;

use crate::vault::Secret;

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not valid TOML, or cannot be read.
    #[error("entrepost.toml: {0}")]
    File(String),
    /// A value cannot be used.
    #[error("{name} = {value:?}: {expected}")]
    Value {
        name: &'static str,
        /// The value, never a secret.
        value: String,
        expected: String,
    },
    /// The file has an entry that cannot be used.
    #[error("entrepost.toml: {name} {why}")]
    Entry { name: String, why: String },
}

/// Every setting. `_FILE` after a secret names a file that holds it.
const SETTINGS: &[&str] = &[
    "ENTREPOST_LISTEN",
    "ENTREPOST_CONNECTIONS",
    "ENTREPOST_CONNECTIONS_PER_ADDRESS",
    "ENTREPOST_DISK_RESERVE_BYTES",
    "ENTREPOST_DATABASE_BYTES",
    "ENTREPOST_DRAFT_BYTES",
    "ENTREPOST_DRAFT_BYTES_OF_INSTITUTION",
    "ENTREPOST_QUEUED_MESSAGES",
    "ENTREPOST_QUEUED_BYTES",
    "ENTREPOST_QUEUED_BYTES_OF_INSTITUTION",
    "ENTREPOST_QUEUED_MESSAGES_OF_INSTITUTION",
    "ENTREPOST_ATTEMPTS_PER_HOUR",
    "ENTREPOST_ATTEMPTS_PER_HOUR_OF_INSTITUTION",
    "ENTREPOST_INVITATIONS_PER_DAY",
    "ENTREPOST_OPEN_PAGES",
    "ENTREPOST_PUBLIC_URL",
    "ENTREPOST_DEFAULT_INSTITUTION",
    "ENTREPOST_DATABASE_URL",
    "ENTREPOST_DATABASE_URL_FILE",
    "ENTREPOST_MASTER_KEY",
    "ENTREPOST_MASTER_KEY_FILE",
    "ENTREPOST_NOTIFICATIONS_DOMAIN",
    "ENTREPOST_SYSTEM_SMTP_URL",
    "ENTREPOST_SYSTEM_SMTP_URL_FILE",
    "ENTREPOST_MICROSOFT_AUTHORITY",
    "ENTREPOST_MICROSOFT_SCOPES",
    "ENTREPOST_MICROSOFT_APP_SCOPE",
    "ENTREPOST_MICROSOFT_FEDERATION_AUDIENCE",
    "ENTREPOST_MICROSOFT_CLOUDS_FILE",
    "ENTREPOST_MICROSOFT_SMTP",
    "ENTREPOST_MICROSOFT_IMAP",
    "ENTREPOST_MICROSOFT_GRAPH",
    "ENTREPOST_MICROSOFT_SPF",
    "ENTREPOST_DNS_SERVERS",
    "ENTREPOST_SUPPORT_CONTACT",
    "ENTREPOST_OUTBOUND_ADDRESS",
    "ENTREPOST_EXTRA_CA_FILE",
    "ENTREPOST_CLIENT_ADDRESS_HEADER",
    "ENTREPOST_RELAY_LISTEN",
    "ENTREPOST_RELAY_TLS_LISTEN",
    "ENTREPOST_RELAY_PLAIN_LISTEN",
    "ENTREPOST_RELAY_PLAIN_ALLOW",
    "ENTREPOST_RELAY_CERTIFICATE_FILE",
    "ENTREPOST_RELAY_KEY_FILE",
    "ENTREPOST_RELAY_HOSTNAME",
    "ENTREPOST_RELAY_MESSAGE_BYTES",
    "ENTREPOST_RELAY_MEMORY_BYTES",
    "ENTREPOST_RELAY_CONNECTIONS",
    "ENTREPOST_RELAY_CONNECTIONS_PER_ADDRESS",
    "ENTREPOST_RELAY_LOG_DAYS",
    "ENTREPOST_SIGN_IN_SECONDS",
    "ENTREPOST_ARRIVAL_SECONDS",
    "ENTREPOST_RETEST_SECONDS",
    "ENTREPOST_SMTP_CONNECTIONS",
    "ENTREPOST_SMTP_IDLE_SECONDS",
    "ENTREPOST_MESSAGES_PER_MINUTE",
    "ENTREPOST_RECIPIENTS_PER_DAY",
    "ENTREPOST_MESSAGE_SECONDS",
    "ENTREPOST_RETRY_SECONDS",
    "ENTREPOST_ATTACHMENT_BYTES",
    "ENTREPOST_OUTBOX_DAYS",
    "ENTREPOST_AUDIT_DAYS",
    "ENTREPOST_POLL_SECONDS",
];

/// Read before the settings, from the environment only.
const LOG: &str = "ENTREPOST_LOG";

fn is_setting(name: &str) -> bool {
    SETTINGS.contains(&name) || name == LOG
}

/// The setting whose name is most like this one.
fn nearest(name: &str) -> &'static str {
    let likeness = |setting: &str| strsim::jaro_winkler(name, setting);
    SETTINGS.iter().copied().max_by(|one, other| likeness(one).total_cmp(&likeness(other))).unwrap_or(LOG)
}

/// Why an entry of the file cannot be used, if so.
fn objection(name: &str, value: &toml::Value) -> Option<String> {
    let expected = "expects a text in quotes, a whole number, true or false";
    match value {
        toml::Value::Table(_) => Some("is a section; settings belong at the top of the file, without one".into()),
        _ if name == LOG || name.starts_with("LEPTOS_") => Some("is read from the environment only".into()),
        _ if !is_setting(name) => Some(format!("is not a setting; did you mean {}?", nearest(name))),
        toml::Value::String(_) | toml::Value::Integer(_) | toml::Value::Boolean(_) => None,
        _ => Some(expected.into()),
    }
}

pub struct Source {
    environment: BTreeMap<String, String>,
    file: toml::Table,
}

impl Source {
    /// The process environment and `entrepost.toml` in the working directory.
    pub fn from_process() -> Result<Self, ConfigError> {
        let file = match std::fs::read_to_string("entrepost.toml") {
            Ok(text) => text.parse().map_err(|error: toml::de::Error| {
                // Not the library's own picture of the line: it may hold a secret.
                let line =
                    error.span().and_then(|span| text.get(..span.start)).map(|before| before.matches('\n').count() + 1);
                let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
                ConfigError::File(format!("{line}{} (an entry is NAME = \"value\", in quotes)", error.message()))
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => toml::Table::new(),
            Err(error) => return Err(ConfigError::File(error.to_string())),
        };
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with("ENTREPOST_"))
            .collect();
        let source = Self { environment, file };
        if let Some((name, why)) = source.file.iter().find_map(|(name, value)| Some((name, objection(name, value)?))) {
            return Err(ConfigError::Entry { name: name.clone(), why });
        }
        // Others may put names into the environment (container platforms do, for a service of this name).
        for name in source.environment.keys().filter(|name| !is_setting(name)) {
            tracing::warn!("the environment's {name} is not a setting and is ignored; did you mean {}", nearest(name));
        }
        Ok(source)
    }

    /// Only these settings: for the demo and for tests.
    pub fn of(settings: &[(&str, String)]) -> Self {
        let environment = settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Self { environment, file: toml::Table::new() }
    }

    /// A setting as text; an empty one counts as absent.
    pub fn get(&self, name: &str) -> Option<String> {
        debug_assert!(is_setting(name), "{name} is missing in SETTINGS");
        let value = self.environment.get(name).cloned().or_else(|| match self.file.get(name)? {
            toml::Value::String(text) => Some(text.clone()),
            toml::Value::Integer(number) => Some(number.to_string()),
            toml::Value::Boolean(truth) => Some(truth.to_string()),
            _ => None,
        })?;
        let value = value.trim().to_owned();
        (!value.is_empty()).then_some(value)
    }

    pub(super) fn parsed<T>(
        &self,
        name: &'static str,
        default: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        // Strips invisible characters from pasted values.
        let value = pasted::identifier(&self.get(name).unwrap_or_else(|| default.to_owned()));
        parse(&value).ok_or_else(|| ConfigError::Value { name, value, expected: expected.to_owned() })
    }

    /// A whole number, 1 or more.
    pub(super) fn count<T: FromStr + Default + PartialOrd>(
        &self,
        name: &'static str,
        default: &str,
    ) -> Result<T, ConfigError> {
        let positive = |text: &str| text.parse().ok().filter(|count| *count > T::default());
        self.parsed(name, default, "a whole number, 1 or more, is expected", positive)
    }

    pub(super) fn bytes(&self, name: &'static str, default: &str) -> Result<u64, ConfigError> {
        self.parsed(name, default, "a number of bytes is expected", |text| text.parse().ok())
    }

    pub(super) fn seconds(&self, name: &'static str, default: &str) -> Result<Duration, ConfigError> {
        let seconds = |text: &str| text.parse().ok().filter(|seconds| *seconds > 0).map(Duration::from_secs);
        self.parsed(name, default, "a whole number of seconds, 1 or more, is expected", seconds)
    }

    /// A setting without a default.
    pub(super) fn optional<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&Self) -> Result<T, ConfigError>,
    ) -> Result<Option<T>, ConfigError> {
        self.get(name).map(|_| read(self)).transpose()
    }

    /// A secret: the value, or the file that `{name}_FILE` names.
    pub(super) fn secret(&self, name: &'static str, file_name: &'static str) -> Result<Option<Secret>, ConfigError> {
        if let Some(value) = self.get(name) {
            return Ok(Some(Secret::new(value)));
        }
        let Some(path) = self.get(file_name) else { return Ok(None) };
        let text = std::fs::read_to_string(&path).map_err(|error| ConfigError::Value {
            name: file_name,
            value: path,
            expected: error.to_string(),
        })?;
        Ok(Some(Secret::new(text.trim().to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_name_gets_the_nearest() {
        assert_eq!(nearest("ENTREPOST_PUBLIC_ULR"), "ENTREPOST_PUBLIC_URL");
        assert_eq!(nearest("ENTREPOST_SYSTEM_SMTP"), "ENTREPOST_SYSTEM_SMTP_URL");
    }

    #[test]
    fn an_entry_that_cannot_be_used_says_why() {
        let file: toml::Table =
            "LEPTOS_SITE_ROOT = 'x'\nENTREPOST_LISTEN = [1]\nENTREPOST_PUBLIC_URL = 'x'\n[server]\n".parse().unwrap();
        let why = |name: &str| objection(name, &file[name]);
        assert!(why("LEPTOS_SITE_ROOT").unwrap().contains("environment"));
        assert!(why("ENTREPOST_LISTEN").unwrap().contains("a text in quotes"));
        assert!(why("server").unwrap().contains("section"));
        assert_eq!(why("ENTREPOST_PUBLIC_URL"), None);
    }

    #[test]
    fn every_setting_is_documented() {
        let documented = include_str!("../../SETTINGS.md");
        for name in SETTINGS.iter().map(|name| name.strip_suffix("_URL_FILE").unwrap_or(name)) {
            assert!(documented.contains(&format!("`{name}")), "{name}");
        }
    }
}
