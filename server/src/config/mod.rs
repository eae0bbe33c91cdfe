//! Settings: from the environment, then `entrepost.toml`, then defaults. Errors name the setting and the expected value.

mod clouds;
mod limits;
mod public_url;
mod relay;
mod source;
mod system_smtp;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::vault::Secret;

pub use clouds::{Cloud, Clouds};
pub use limits::{DiskSpace, Quotas, SendLimits, Throttle};
pub use public_url::PublicUrl;
pub use relay::{Allowed, RelayConfig, is_within, network};
pub use source::{ConfigError, Source};
pub use system_smtp::{Encryption, SystemSmtp};

/// Hosts and scopes of Microsoft. Configurable for national clouds and tests.
#[derive(Debug, Clone)]
pub struct Microsoft {
    pub authority: Url,
    pub scopes: String,
    pub app_scope: String,
    /// Audience of the tokens that Entrepost signs as an issuer.
    pub federation_audience: String,
    pub smtp: ServerAddress,
    pub imap: ServerAddress,
    /// Microsoft Graph, without a path; `None`: this cloud's is not known.
    pub graph: Option<Url>,
    /// What a domain's SPF record includes.
    pub spf: String,
}

impl Microsoft {
    /// Delegated scopes for sending through Microsoft Graph, the one that is always needed first.
    pub fn graph_scopes(&self) -> Option<[String; 2]> {
        let graph = self.graph.as_ref()?;
        Some(["Mail.Send", "Mail.ReadWrite"].map(|scope| format!("{graph}{scope}")))
    }
}

#[derive(Debug, Clone)]
pub struct Config {
    pub listen: SocketAddr,
    pub public_url: PublicUrl,
    pub database_url: Secret,
    pub master_key: Option<Secret>,
    /// Path of the key file, which is created if absent.
    pub master_key_file: PathBuf,
    pub master_key_given: bool,
    pub notifications_domain: String,
    pub system_smtp: Option<SystemSmtp>,
    /// The server's own cloud first.
    pub clouds: Clouds,
    pub support_contact: Option<String>,
    /// Outbound address of this server, for Conditional Access.
    pub outbound_address: Option<String>,
    pub extra_ca: Option<Vec<u8>>,
    /// DNS servers that domains are looked up with; empty for the system's.
    pub dns_servers: Vec<SocketAddr>,
    /// Header in which a trusted proxy forwards the client address.
    pub client_address_header: Option<http::HeaderName>,
    pub quotas: Quotas,
    /// Disk space of the database.
    pub space: DiskSpace,
    /// Browser connections at one time; if unset, as many as the system allows.
    pub connections: Option<usize>,
    pub connections_per_address: usize,
    /// Time limit of a sign-in at Microsoft.
    pub sign_in_lifetime: Duration,
    /// Time limit of the search for the test message.
    pub arrival_limit: Duration,
    /// How often a blocked mailbox is tested again.
    pub retest_interval: Duration,
    pub limits: SendLimits,
    /// Total size of a message's attachments, in bytes.
    pub attachment_limit: u64,
    /// How long finished messages stay in the outbox.
    pub outbox_kept: Duration,
    /// How long entries of the audit log are kept, in days.
    pub audit_days: i64,
    pub poll_interval: Duration,
    pub relay: RelayConfig,
}

/// IP addresses or networks (CIDR), as in Microsoft's named locations.
fn outbound_address(source: &Source) -> Result<Option<String>, ConfigError> {
    let Some(text) = source.get("ENTREPOST_OUTBOUND_ADDRESS") else { return Ok(None) };
    let is_network = |text: &str| {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let widest = match address.parse() {
            Ok(std::net::IpAddr::V4(_)) => 32,
            Ok(std::net::IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        bits.is_none_or(|bits| bits.parse::<u8>().is_ok_and(|bits| bits <= widest))
    };
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    if !parts.iter().all(|part| is_network(part)) {
        return Err(ConfigError::Value {
            name: "ENTREPOST_OUTBOUND_ADDRESS",
            value: text,
            expected: "IP addresses or networks, separated by commas, such as 192.0.2.10 or 192.0.2.0/28".into(),
        });
    }
    Ok(Some(parts.join(", ")))
}

/// Addresses of DNS servers, with port 53 unless they name one.
fn dns_servers(source: &Source) -> Result<Vec<SocketAddr>, ConfigError> {
    let Some(text) = source.get("ENTREPOST_DNS_SERVERS") else { return Ok(Vec::new()) };
    let parse = |part: &str| {
        let part = part.trim();
        part.parse().ok().or_else(|| Some(SocketAddr::new(part.parse().ok()?, 53)))
    };
    text.split(',').map(parse).collect::<Option<Vec<_>>>().ok_or_else(|| ConfigError::Value {
        name: "ENTREPOST_DNS_SERVERS",
        value: text,
        expected: "IP addresses, separated by commas, such as 192.0.2.53 or [2001:db8::53]:5353".into(),
    })
}

/// Host and port of a mail server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    pub host: String,
    pub port: u16,
}

impl ServerAddress {
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        (!host.is_empty() && !host.contains(['/', ' '])).then_some(())?;
        Some(Self { host: host.to_owned(), port: port.parse().ok()? })
    }
}

impl std::fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// An authority: https, or plain http on loopback.
fn authority_url(text: &str) -> Option<Url> {
    let url = Url::parse(text.trim_end_matches('/')).ok()?;
    (url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url))).then_some(url)
}

/// The database URL. A PostgreSQL server on another machine must use TLS with a valid certificate, unless the URL says otherwise
/// (`sslmode=…`, as in libpq).
fn database_url(source: &Source) -> Result<Secret, ConfigError> {
    let given = source.secret("ENTREPOST_DATABASE_URL", "ENTREPOST_DATABASE_URL_FILE")?;
    let given = given.unwrap_or_else(|| Secret::new("sqlite://data/entrepost.db".into()));
    let Some(mut url) = Url::parse(given.expose()).ok().filter(|url| url.scheme().starts_with("postgres")) else {
        return Ok(given);
    };
    let asked = |url: &Url, name: &str| url.query_pairs().any(|(known, _)| known.eq_ignore_ascii_case(name));
    let given_as = |name: &str| {
        url.query_pairs().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.into_owned())
    };
    // A socket directory is in `host`, or percent-encoded in place of the host. `hostaddr` overrides the name.
    let named = given_as("hostaddr").or_else(|| given_as("host"));
    let host = named.unwrap_or_else(|| url.host_str().unwrap_or_default().to_owned());
    let bare = host.trim_matches(['[', ']']);
    // Hosts of non-web schemes are parsed as names, also IP addresses.
    let is_local = bare.is_empty()
        || bare.starts_with('/')
        || bare.starts_with("%2F")
        || bare == "localhost"
        || bare.ends_with(".localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if is_local {
        return Ok(given);
    }
    let mode = given_as("sslmode").or_else(|| given_as("ssl-mode")).map(|mode| mode.to_ascii_lowercase());
    if mode.as_deref().is_some_and(|mode| ["prefer", "allow"].contains(&mode)) {
        return Err(ConfigError::Value {
            name: "ENTREPOST_DATABASE_URL",
            value: format!("sslmode={}", mode.unwrap_or_default()),
            expected:
                "a mode that does not depend on the other side: verify-full, or disable if the network is trusted"
                    .into(),
        });
    }
    if !asked(&url, "sslmode") && !asked(&url, "ssl-mode") {
        url.query_pairs_mut().append_pair("sslmode", "verify-full");
    }
    if !asked(&url, "sslrootcert")
        && let Some(file) = source.get("ENTREPOST_EXTRA_CA_FILE")
    {
        url.query_pairs_mut().append_pair("sslrootcert", &file);
    }
    Ok(Secret::new(url.into()))
}

impl Config {
    /// Reads all settings.
    pub fn read(source: &Source) -> Result<Self, ConfigError> {
        let authority = source.parsed(
            "ENTREPOST_MICROSOFT_AUTHORITY",
            "https://login.microsoftonline.com",
            "an https address without a path (plain http only on loopback)",
            authority_url,
        )?;
        // Another authority's tokens are not Microsoft's to see.
        let graph = if authority.host_str() == Some(clouds::GLOBAL) { "https://graph.microsoft.com" } else { "" };
        let graph = source.parsed(
            "ENTREPOST_MICROSOFT_GRAPH",
            graph,
            "an https address without a path (plain http only on loopback)",
            |text| if text.is_empty() { Some(None) } else { authority_url(text).map(Some) },
        )?;
        let extra_ca = source.optional("ENTREPOST_EXTRA_CA_FILE", |source| {
            let path = source.get("ENTREPOST_EXTRA_CA_FILE").unwrap_or_default();
            std::fs::read(&path).map_err(|error| ConfigError::Value {
                name: "ENTREPOST_EXTRA_CA_FILE",
                value: path,
                expected: error.to_string(),
            })
        })?;
        let scopes = "https://outlook.office.com/SMTP.Send https://outlook.office.com/IMAP.AccessAsUser.All offline_access openid profile email";
        let text = |name, default: &str| source.get(name).unwrap_or_else(|| default.to_owned());
        let server = "a host and a port, such as smtp.office365.com:587";
        let system_smtp = match source.secret("ENTREPOST_SYSTEM_SMTP_URL", "ENTREPOST_SYSTEM_SMTP_URL_FILE")? {
            None => None,
            Some(text) => Some(SystemSmtp::parse(&text).ok_or_else(|| ConfigError::Value {
                name: "ENTREPOST_SYSTEM_SMTP_URL",
                value: "(not shown)".into(),
                expected: "an address is expected such as smtp://user:password@relay.example?tls=required, with special characters of the password percent-encoded; ?tls=none sends everything in the clear".into(),
            })?),
        };
        let header = "the name of a header is expected, such as X-Forwarded-For";
        let client_address_header = source.optional("ENTREPOST_CLIENT_ADDRESS_HEADER", |source| {
            source.parsed("ENTREPOST_CLIENT_ADDRESS_HEADER", "", header, |text| text.parse().ok())
        })?;
        let listen: SocketAddr = source.parsed(
            "ENTREPOST_LISTEN",
            "127.0.0.1:3000",
            "an address and a port, such as 127.0.0.1:3000",
            |text| text.parse().ok(),
        )?;
        Ok(Self {
            listen,
            public_url: PublicUrl::parse(source, listen.port())?,
            database_url: database_url(source)?,
            master_key: source.get("ENTREPOST_MASTER_KEY").map(Secret::new),
            master_key_given: source.get("ENTREPOST_MASTER_KEY_FILE").is_some(),
            master_key_file: text("ENTREPOST_MASTER_KEY_FILE", "data/master.key").into(),
            notifications_domain: source.parsed(
                "ENTREPOST_NOTIFICATIONS_DOMAIN",
                "mail.localhost",
                "a domain, such as mail.school.example",
                |text| {
                    let sample = format!("notifications@sample.{text}");
                    app::model::EmailAddress::parse(&sample).is_ok().then(|| text.to_owned())
                },
            )?,
            system_smtp,
            clouds: Clouds::read(
                source,
                Microsoft {
                    authority,
                    scopes: text("ENTREPOST_MICROSOFT_SCOPES", scopes),
                    app_scope: text("ENTREPOST_MICROSOFT_APP_SCOPE", "https://outlook.office365.com/.default"),
                    federation_audience: text("ENTREPOST_MICROSOFT_FEDERATION_AUDIENCE", "api://AzureADTokenExchange"),
                    smtp: source.parsed(
                        "ENTREPOST_MICROSOFT_SMTP",
                        "smtp.office365.com:587",
                        server,
                        ServerAddress::parse,
                    )?,
                    imap: source.parsed(
                        "ENTREPOST_MICROSOFT_IMAP",
                        "outlook.office365.com:993",
                        server,
                        ServerAddress::parse,
                    )?,
                    graph,
                    spf: source.parsed(
                        "ENTREPOST_MICROSOFT_SPF",
                        clouds::SPF,
                        "a domain, such as spf.protection.outlook.com",
                        clouds::spf,
                    )?,
                },
            )?,
            support_contact: source.get("ENTREPOST_SUPPORT_CONTACT"),
            outbound_address: outbound_address(source)?,
            extra_ca,
            dns_servers: dns_servers(source)?,
            client_address_header,
            quotas: Quotas::read(source)?,
            space: DiskSpace::read(source)?,
            connections: source
                .optional("ENTREPOST_CONNECTIONS", |source| source.count("ENTREPOST_CONNECTIONS", ""))?,
            connections_per_address: source.count("ENTREPOST_CONNECTIONS_PER_ADDRESS", "1024")?,
            sign_in_lifetime: source.seconds("ENTREPOST_SIGN_IN_SECONDS", "600")?,
            arrival_limit: source.seconds("ENTREPOST_ARRIVAL_SECONDS", "120")?,
            retest_interval: source.seconds("ENTREPOST_RETEST_SECONDS", "3600")?,
            limits: SendLimits::read(source)?,
            attachment_limit: source.parsed(
                "ENTREPOST_ATTACHMENT_BYTES",
                "25000000",
                "a number of bytes, at most 100000000, is expected",
                |text| text.parse().ok().filter(|bytes| (1..=100_000_000).contains(bytes)),
            )?,
            outbox_kept: source.parsed(
                "ENTREPOST_OUTBOX_DAYS",
                "90",
                "a whole number of days, 1 or more, is expected",
                |text| {
                    text.parse::<u64>()
                        .ok()
                        .filter(|days| (1..=36_500).contains(days))
                        .map(|days| Duration::from_secs(days * 86_400))
                },
            )?,
            audit_days: source.parsed(
                "ENTREPOST_AUDIT_DAYS",
                "400",
                "a whole number of days, 1 or more, is expected",
                |text| text.parse().ok().filter(|days| (1..=36_500).contains(days)),
            )?,
            poll_interval: source.seconds("ENTREPOST_POLL_SECONDS", "300")?,
            relay: RelayConfig::read(source)?,
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
    fn databases_elsewhere_are_spoken_to_in_tls() {
        let url = |text: &str| read(&[("ENTREPOST_DATABASE_URL", text)]).unwrap().database_url.expose().to_owned();
        assert!(url("postgres://u:p@db.example/entrepost").contains("sslmode=verify-full"));
        assert!(url("postgres://u:p@10.0.0.7:5432/entrepost?application_name=x").contains("sslmode=verify-full"));
        assert!(url("postgres:///entrepost?host=db.example").contains("sslmode=verify-full"));
        assert!(url("postgres://localhost/entrepost?hostaddr=203.0.113.9").contains("sslmode=verify-full"));
        for mode in ["prefer", "allow"] {
            let text = format!("postgres://u:p@db.example/entrepost?sslmode={mode}");
            let error = read(&[("ENTREPOST_DATABASE_URL", &text)]).unwrap_err().to_string();
            assert!(error.contains("verify-full") && !error.contains("u:p"), "{error}");
        }
        for unchanged in [
            "postgres://u:p@db.example/entrepost?sslmode=disable",
            "postgres://u:p@127.0.0.1:5432/entrepost",
            "postgres://u:p@localhost/entrepost",
            "postgres:///entrepost?host=/run/postgresql",
            "sqlite://data/entrepost.db",
        ] {
            assert_eq!(url(unchanged), unchanged);
        }
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
            ("ENTREPOST_OUTBOX_DAYS", "0"),
            ("ENTREPOST_DNS_SERVERS", "dns.example"),
            ("ENTREPOST_MICROSOFT_SPF", "include:spf.protection.outlook.com"),
            ("ENTREPOST_CLIENT_ADDRESS_HEADER", "X Forwarded For"),
            ("ENTREPOST_RELAY_LISTEN", "2587"),
            ("ENTREPOST_RELAY_PLAIN_ALLOW", "10.1.2"),
            ("ENTREPOST_RELAY_KEY_FILE", "/etc/key.pem"),
            ("ENTREPOST_RELAY_LOG_DAYS", "0"),
            ("ENTREPOST_SYSTEM_SMTP_URL", "relay.example:25"),
            ("ENTREPOST_SYSTEM_SMTP_URL", "smtp://user:marked@relay.example"),
            ("ENTREPOST_SYSTEM_SMTP_URL", "https://user:marked@relay.example"),
            ("ENTREPOST_SYSTEM_SMTP_URL", "smtp://user:marked@relay.example?tls=yes"),
        ] {
            let error = read(&[(name, value)]).unwrap_err().to_string();
            let named = if name == "ENTREPOST_RELAY_KEY_FILE" { "ENTREPOST_RELAY_CERTIFICATE_FILE" } else { name };
            assert!(error.contains(named) && !error.contains("marked"), "{error}");
        }
        assert!(read(&[("ENTREPOST_MICROSOFT_AUTHORITY", "http://localhost:3100")]).is_ok());
        let relay = read(&[("ENTREPOST_SYSTEM_SMTP_URL", "smtp://user:pass@relay.example?tls=required")]).unwrap();
        assert_eq!(relay.system_smtp.unwrap().server(), &ServerAddress { host: "relay.example".to_owned(), port: 587 });
    }

    #[test]
    fn a_port_without_passwords_needs_a_list_of_addresses() {
        let listen = |address| ("ENTREPOST_RELAY_PLAIN_LISTEN", address);
        let error = read(&[listen("0.0.0.0:2525")]).unwrap_err().to_string();
        assert!(error.contains("ENTREPOST_RELAY_PLAIN_ALLOW"), "{error}");
        let relay = read(&[listen("127.0.0.1:2525")]).unwrap().relay;
        let at = |text: &str| text.parse::<std::net::IpAddr>().unwrap();
        assert!(relay.allows_plain(at("127.0.0.1"), None) && !relay.allows_plain(at("192.0.2.1"), None));
        let allow = ("ENTREPOST_RELAY_PLAIN_ALLOW", "10.1.0.0/16=school, 192.0.2.7");
        let relay = read(&[listen("0.0.0.0:2525"), allow]).unwrap().relay;
        assert!(
            relay.allows_plain(at("10.1.9.9"), Some("school")) && !relay.allows_plain(at("10.1.9.9"), Some("other"))
        );
        assert!(relay.allows_plain(at("192.0.2.7"), Some("other")) && !relay.allows_plain(at("127.0.0.1"), None));
    }
}
