//! Settings: environment first, then `entrepost.toml`, then the default. Every wrong value is named with what is expected.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::outbox::Limits;
use crate::store::Pace;
use crate::vault::Secret;

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is no TOML, or cannot be read.
    #[error("entrepost.toml: {0}")]
    File(String),
    /// A value cannot be used.
    #[error("{name} = {value:?}: {expected}")]
    Value {
        /// The setting.
        name: &'static str,
        /// What was given (never a secret).
        value: String,
        /// What is expected.
        expected: String,
    },
    /// The file has an entry that cannot be used.
    #[error("entrepost.toml: {name} {why}")]
    Entry {
        /// What stands in the file.
        name: String,
        /// Why, and what may be meant.
        why: String,
    },
}

/// Every setting. `_FILE` after a secret names a file that holds it.
const SETTINGS: &[&str] = &[
    "ENTREPOST_LISTEN",
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
    "ENTREPOST_MICROSOFT_SMTP",
    "ENTREPOST_MICROSOFT_IMAP",
    "ENTREPOST_SUPPORT_CONTACT",
    "ENTREPOST_EXTRA_CA_FILE",
    "ENTREPOST_CLIENT_ADDRESS_HEADER",
    "ENTREPOST_SIGN_IN_SECONDS",
    "ENTREPOST_ARRIVAL_SECONDS",
    "ENTREPOST_RETEST_SECONDS",
    "ENTREPOST_SMTP_CONNECTIONS",
    "ENTREPOST_MESSAGES_PER_MINUTE",
    "ENTREPOST_RECIPIENTS_PER_DAY",
    "ENTREPOST_MESSAGE_SECONDS",
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
        toml::Value::Table(_) => Some("is a section; settings stand at the top of the file, without one".into()),
        _ if name == LOG || name.starts_with("LEPTOS_") => Some("is read from the environment only".into()),
        _ if !is_setting(name) => Some(format!("is no setting; the nearest is {}", nearest(name))),
        toml::Value::String(_) | toml::Value::Integer(_) | toml::Value::Boolean(_) => None,
        _ => Some(expected.into()),
    }
}

/// Where a setting may stand.
pub struct Source {
    environment: BTreeMap<String, String>,
    file: toml::Table,
}

impl Source {
    /// The process environment and `entrepost.toml` in the working directory.
    ///
    /// # Errors
    /// [`ConfigError::File`].
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
            tracing::warn!("the environment's {name} is no setting and is ignored; the nearest is {}", nearest(name));
        }
        Ok(source)
    }

    /// Only these settings: for the demo and for tests.
    #[must_use]
    pub fn of(settings: &[(&str, String)]) -> Self {
        let environment = settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Self { environment, file: toml::Table::new() }
    }

    /// A setting as text; an empty one counts as absent.
    #[must_use]
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

    fn parsed<T>(
        &self,
        name: &'static str,
        default: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let value = self.get(name).unwrap_or_else(|| default.to_owned());
        parse(&value).ok_or_else(|| ConfigError::Value { name, value, expected: expected.to_owned() })
    }

    /// A secret: the value, or the file that `{name}_FILE` names.
    fn secret(&self, name: &'static str, file_name: &'static str) -> Result<Option<Secret>, ConfigError> {
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

/// Where institutions are served.
#[derive(Debug, Clone)]
pub struct PublicUrl {
    template: String,
    default_institution: Option<String>,
}

impl PublicUrl {
    /// `port`: that of the address served on, which the default follows.
    fn parse(source: &Source, port: u16) -> Result<Self, ConfigError> {
        let name = "ENTREPOST_PUBLIC_URL";
        let default_institution = source.get("ENTREPOST_DEFAULT_INSTITUTION");
        let template = source.get(name).unwrap_or_else(|| {
            let host = if default_institution.is_some() { "localhost" } else { "{institution}.localhost" };
            format!("http://{host}:{port}")
        });
        let template = template.trim_end_matches('/').to_owned();
        let wrong =
            |expected: &str| ConfigError::Value { name, value: template.clone(), expected: expected.to_owned() };
        let sample = template.replace("{institution}", "sample");
        let url = Url::parse(&sample).map_err(|_| wrong("a URL such as https://{institution}.mail.example"))?;
        if !matches!(url.scheme(), "http" | "https") || url.path() != "/" || url.query().is_some() {
            return Err(wrong("an http or https address without a path"));
        }
        match (&default_institution, template.contains("{institution}")) {
            (None, false) => Err(wrong(
                "{institution} must stand in the host, unless ENTREPOST_DEFAULT_INSTITUTION names the only institution",
            )),
            (Some(_), true) => Err(wrong("with ENTREPOST_DEFAULT_INSTITUTION the address has no {institution}")),
            _ => Ok(Self { template, default_institution }),
        }
    }

    /// The slug of the only institution that is served, where one is named.
    #[must_use]
    pub fn default_institution(&self) -> Option<&str> {
        self.default_institution.as_deref()
    }

    /// The public address of an institution, without a trailing slash.
    #[must_use]
    pub fn of(&self, slug: &str) -> String {
        self.template.replace("{institution}", slug)
    }

    /// The slug that a Host header names (its port is ignored), if any.
    #[must_use]
    pub fn slug(&self, host: &str) -> Option<String> {
        let host = host
            .rsplit_once(':')
            .map_or(host, |(name, port)| if port.bytes().all(|b| b.is_ascii_digit()) { name } else { host });
        let host = host.to_ascii_lowercase();
        let marker = "institution-slug";
        let url = Url::parse(&self.template.replace("{institution}", marker)).ok()?;
        let pattern = url.host_str()?.to_owned();
        match &self.default_institution {
            Some(slug) => (pattern == host).then(|| slug.clone()),
            None => {
                let (before, after) = pattern.split_once(marker)?;
                let slug = host.strip_prefix(before)?.strip_suffix(after)?;
                (!slug.is_empty() && !slug.contains('.')).then(|| slug.to_owned())
            }
        }
    }

    /// Whether Microsoft takes its redirect URIs: https, or http for `localhost` itself
    /// (<https://learn.microsoft.com/entra/identity-platform/reply-url>).
    #[must_use]
    pub fn suits_microsoft(&self) -> bool {
        self.is_https() || self.template == "http://localhost" || self.template.starts_with("http://localhost:")
    }

    /// Whether browsers reach it by https: cookies are `Secure` then.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.template.starts_with("https:")
    }
}

/// Microsoft's hosts and scopes. Settings, because clouds differ and tests need their own.
#[derive(Debug, Clone)]
pub struct Microsoft {
    /// The authority.
    pub authority: Url,
    /// Delegated scopes, separated by blanks.
    pub scopes: String,
    /// Scope of the client-credentials probe.
    pub app_scope: String,
    /// Host and port of submission.
    pub smtp: (String, u16),
    /// Host and port of IMAP.
    pub imap: (String, u16),
}

/// The relay of the system default provider: an address with its credentials.
#[derive(Debug, Clone)]
pub struct Relay {
    server: (String, u16),
    encryption: Encryption,
    credentials: Option<(String, Secret)>,
}

/// How a relay is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// In the clear.
    None,
    /// STARTTLS where it is offered.
    Opportunistic,
    /// STARTTLS, or nothing is sent.
    Required,
    /// TLS from the first octet.
    Wrapped,
}

impl Relay {
    /// `smtp://` (with `?tls=required` for STARTTLS) or `smtps://`, as lettre reads it.
    fn parse(text: &Secret) -> Option<Self> {
        let url = Url::parse(text.expose()).ok()?;
        let (encryption, port) = match (url.scheme(), url.query()) {
            ("smtps", None) => (Encryption::Wrapped, 465),
            ("smtp", None) => (Encryption::None, 25),
            ("smtp", Some("tls=opportunistic")) => (Encryption::Opportunistic, 587),
            ("smtp", Some("tls=required")) => (Encryption::Required, 587),
            _ => return None,
        };
        let decoded = |text: &str| {
            percent_encoding::percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
        };
        let credentials = match (url.username(), url.password()) {
            ("", None) => None,
            (user, password) => Some((decoded(user)?, Secret::new(decoded(password.unwrap_or_default())?))),
        };
        let host = url.host_str().filter(|host| !host.is_empty())?.to_owned();
        Some(Self { server: (host, url.port().unwrap_or(port)), encryption, credentials })
    }

    /// How it is spoken to.
    #[must_use]
    pub fn encryption(&self) -> Encryption {
        self.encryption
    }

    /// Who signs in there, and the password.
    #[must_use]
    pub fn credentials(&self) -> Option<(String, &Secret)> {
        self.credentials.as_ref().map(|(user, password)| (user.clone(), password))
    }

    /// Host and port.
    #[must_use]
    pub fn server(&self) -> &(String, u16) {
        &self.server
    }
}

/// Everything that can be set.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address to serve on.
    pub listen: SocketAddr,
    /// Public addresses.
    pub public_url: PublicUrl,
    /// SQLite or PostgreSQL.
    pub database_url: Secret,
    /// The master key itself, if given.
    pub master_key: Option<Secret>,
    /// Where the master key is, or will be made.
    pub master_key_file: PathBuf,
    /// Whether the operator chose the key file (and did not leave the default).
    pub master_key_given: bool,
    /// Domain of the default notification senders.
    pub notifications_domain: String,
    /// Relay of the system default provider.
    pub system_smtp: Option<Relay>,
    /// Microsoft's hosts.
    pub microsoft: Microsoft,
    /// Shown with every diagnosis.
    pub support_contact: Option<String>,
    /// PEM of further trusted CAs.
    pub extra_ca: Option<Vec<u8>>,
    /// Header in which a trusted proxy hands the client's address on.
    pub client_address_header: Option<http::HeaderName>,
    /// How long a person may take at Microsoft.
    pub sign_in_lifetime: Duration,
    /// How long the test message is looked for.
    pub arrival_limit: Duration,
    /// How often a blocked mailbox is tested again.
    pub retest_interval: Duration,
    /// What one mailbox may send, and how long a message is tried.
    pub limits: Limits,
}

fn host_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    (!host.is_empty() && !host.contains(['/', ' '])).then_some(())?;
    Some((host.to_owned(), port.parse().ok()?))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

fn positive(text: &str) -> Option<i64> {
    text.parse().ok().filter(|count| *count > 0)
}

fn seconds(text: &str) -> Option<Duration> {
    text.parse::<u64>().ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

impl Config {
    /// Reads all settings.
    ///
    /// # Errors
    /// [`ConfigError`], naming the first setting that cannot be used.
    pub fn read(source: &Source) -> Result<Self, ConfigError> {
        let authority = source.parsed(
            "ENTREPOST_MICROSOFT_AUTHORITY",
            "https://login.microsoftonline.com",
            "an https address without a path (plain http only on loopback)",
            |text| {
                let url = Url::parse(text.trim_end_matches('/')).ok()?;
                (url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url))).then_some(url)
            },
        )?;
        let extra_ca = match source.get("ENTREPOST_EXTRA_CA_FILE") {
            None => None,
            Some(path) => Some(std::fs::read(&path).map_err(|error| ConfigError::Value {
                name: "ENTREPOST_EXTRA_CA_FILE",
                value: path,
                expected: error.to_string(),
            })?),
        };
        let scopes = "https://outlook.office.com/SMTP.Send https://outlook.office.com/IMAP.AccessAsUser.All offline_access openid profile email";
        let text = |name, default: &str| source.get(name).unwrap_or_else(|| default.to_owned());
        let server = "a host and a port, such as smtp.office365.com:587";
        let count = "a whole number, 1 or more, is expected";
        let whole_seconds = "a whole number of seconds, 1 or more, is expected";
        let system_smtp = match source.secret("ENTREPOST_SYSTEM_SMTP_URL", "ENTREPOST_SYSTEM_SMTP_URL_FILE")? {
            None => None,
            Some(text) => Some(Relay::parse(&text).ok_or_else(|| ConfigError::Value {
                name: "ENTREPOST_SYSTEM_SMTP_URL",
                value: "(not shown)".into(),
                expected: "an address is expected such as smtp://user:password@relay.example?tls=required, with special characters of the password percent-encoded".into(),
            })?),
        };
        let client_address_header = match source.get("ENTREPOST_CLIENT_ADDRESS_HEADER") {
            None => None,
            Some(value) => Some(value.parse().map_err(|_| ConfigError::Value {
                name: "ENTREPOST_CLIENT_ADDRESS_HEADER",
                value,
                expected: "the name of a header is expected, such as X-Forwarded-For".into(),
            })?),
        };
        let listen: SocketAddr = source.parsed(
            "ENTREPOST_LISTEN",
            "127.0.0.1:3000",
            "an address and a port, such as 127.0.0.1:3000",
            |text| text.parse().ok(),
        )?;
        Ok(Self {
            listen,
            public_url: PublicUrl::parse(source, listen.port())?,
            database_url: source
                .secret("ENTREPOST_DATABASE_URL", "ENTREPOST_DATABASE_URL_FILE")?
                .unwrap_or_else(|| Secret::new("sqlite://data/entrepost.db".into())),
            master_key: source.get("ENTREPOST_MASTER_KEY").map(Secret::new),
            master_key_given: source.get("ENTREPOST_MASTER_KEY_FILE").is_some(),
            master_key_file: text("ENTREPOST_MASTER_KEY_FILE", "data/master.key").into(),
            notifications_domain: text("ENTREPOST_NOTIFICATIONS_DOMAIN", "mail.localhost"),
            system_smtp,
            microsoft: Microsoft {
                authority,
                scopes: text("ENTREPOST_MICROSOFT_SCOPES", scopes),
                app_scope: text("ENTREPOST_MICROSOFT_APP_SCOPE", "https://outlook.office365.com/.default"),
                smtp: source.parsed("ENTREPOST_MICROSOFT_SMTP", "smtp.office365.com:587", server, host_port)?,
                imap: source.parsed("ENTREPOST_MICROSOFT_IMAP", "outlook.office365.com:993", server, host_port)?,
            },
            support_contact: source.get("ENTREPOST_SUPPORT_CONTACT"),
            extra_ca,
            client_address_header,
            sign_in_lifetime: source.parsed("ENTREPOST_SIGN_IN_SECONDS", "600", whole_seconds, seconds)?,
            arrival_limit: source.parsed("ENTREPOST_ARRIVAL_SECONDS", "120", whole_seconds, seconds)?,
            retest_interval: source.parsed("ENTREPOST_RETEST_SECONDS", "3600", whole_seconds, seconds)?,
            limits: Limits {
                pace: Pace {
                    connections: source.parsed("ENTREPOST_SMTP_CONNECTIONS", "3", count, positive)?,
                    messages_per_minute: source.parsed("ENTREPOST_MESSAGES_PER_MINUTE", "30", count, positive)?,
                    recipients_per_day: source.parsed("ENTREPOST_RECIPIENTS_PER_DAY", "10000", count, positive)?,
                },
                max_age: source.parsed("ENTREPOST_MESSAGE_SECONDS", "259200", whole_seconds, seconds)?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let owned: Vec<_> = settings.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Config::read(&Source::of(&owned))
    }

    #[test]
    fn the_host_names_the_institution() {
        let config = read(&[("ENTREPOST_PUBLIC_URL", "https://{institution}.mail.example")]).unwrap();
        assert_eq!(config.public_url.slug("School.mail.example:8443").as_deref(), Some("school"));
        for unknown in
            ["mail.example", ".mail.example", "a.b.mail.example", "school.mail.example.evil.example", "localhost"]
        {
            assert_eq!(config.public_url.slug(unknown), None, "{unknown}");
        }
        assert_eq!(config.public_url.of("school"), "https://school.mail.example");
    }

    #[test]
    fn a_single_institution_has_one_host() {
        let config =
            read(&[("ENTREPOST_PUBLIC_URL", "http://localhost:3000"), ("ENTREPOST_DEFAULT_INSTITUTION", "school")])
                .unwrap();
        assert_eq!(config.public_url.slug("localhost:3000").as_deref(), Some("school"));
        assert_eq!(config.public_url.slug("school.localhost"), None);
    }

    #[test]
    fn the_default_address_follows_the_port() {
        let listen = ("ENTREPOST_LISTEN", "127.0.0.1:4000");
        assert_eq!(read(&[listen]).unwrap().public_url.of("school"), "http://school.localhost:4000");
        let only = read(&[listen, ("ENTREPOST_DEFAULT_INSTITUTION", "school")]).unwrap().public_url;
        assert_eq!(only.of("school"), "http://localhost:4000");
        assert!(only.suits_microsoft() && !read(&[]).unwrap().public_url.suits_microsoft());
    }

    #[test]
    fn wrong_values_are_named() {
        for (name, value) in [
            ("ENTREPOST_LISTEN", "3000"),
            ("ENTREPOST_PUBLIC_URL", "https://mail.example"),
            ("ENTREPOST_PUBLIC_URL", "https://{institution}.mail.example/path"),
            ("ENTREPOST_MICROSOFT_AUTHORITY", "http://login.example"),
            ("ENTREPOST_MICROSOFT_SMTP", "smtp.office365.com"),
            ("ENTREPOST_EXTRA_CA_FILE", "/does/not/exist"),
            ("ENTREPOST_ARRIVAL_SECONDS", "0"),
            ("ENTREPOST_CLIENT_ADDRESS_HEADER", "X Forwarded For"),
            ("ENTREPOST_SYSTEM_SMTP_URL", "relay.example:25"),
            ("ENTREPOST_SYSTEM_SMTP_URL", "https://user:marked@relay.example"),
            ("ENTREPOST_SYSTEM_SMTP_URL", "smtp://user:marked@relay.example?tls=yes"),
        ] {
            let error = read(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name) && !error.contains("marked"), "{error}");
        }
        assert!(read(&[("ENTREPOST_MICROSOFT_AUTHORITY", "http://localhost:3100")]).is_ok());
        let relay = read(&[("ENTREPOST_SYSTEM_SMTP_URL", "smtp://user:pass@relay.example?tls=required")]).unwrap();
        assert_eq!(relay.system_smtp.unwrap().server(), &("relay.example".to_owned(), 587));
    }

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
    fn every_setting_is_in_the_readme() {
        let readme = include_str!("../../README.md");
        for name in SETTINGS.iter().map(|name| name.strip_suffix("_URL_FILE").unwrap_or(name)) {
            assert!(readme.contains(&format!("`{name}")), "{name}");
        }
    }
}
