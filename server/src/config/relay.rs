//! The relay: listeners for programs and devices.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use super::{ConfigError, Source};

#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// Submission, with STARTTLS.
    pub listen: Option<SocketAddr>,
    /// TLS from the first byte.
    pub tls_listen: Option<SocketAddr>,
    /// Without TLS or sign-in, for `plain_allow`.
    pub plain_listen: Option<SocketAddr>,
    pub plain_allow: Vec<Allowed>,
    /// Certificate chain and key, as PEM; if unset, one is made and kept in the database.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// What greeting and guide name; if unset, the host of the public address.
    pub hostname: Option<String>,
    /// Largest message, in bytes. Exchange Online's default for a mailbox is 35 MB.
    pub message_bytes: u64,
    /// Bytes of messages in memory at one time, over all connections. What does not fit gets 452.
    pub memory_bytes: u64,
    /// Connections at one time.
    pub connections: usize,
    /// Of those, from one network address.
    pub connections_per_address: usize,
    /// How long the log of connections is kept, in days.
    pub log_days: i64,
}

/// A network that may use the plain listener, for one institution or for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    pub network: IpNet,
    pub institution: Option<String>,
}

/// An IP address or a network.
pub fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// Whether one of these networks contains an address.
pub fn is_within(networks: &[String], address: IpAddr) -> bool {
    networks.iter().filter_map(|text| network(text)).any(|own| own.contains(&address))
}

fn allowed(source: &Source) -> Result<Vec<Allowed>, ConfigError> {
    let name = "ENTREPOST_RELAY_PLAIN_ALLOW";
    let Some(text) = source.get(name) else { return Ok(Vec::new()) };
    let parse = |part: &str| {
        let (address, institution) = part.split_once('=').map_or((part, None), |(address, slug)| (address, Some(slug)));
        let institution = institution.map(|slug| slug.trim().to_owned());
        Some(Allowed { network: network(address.trim())?, institution })
    };
    text.split(',').map(parse).collect::<Option<_>>().ok_or_else(|| ConfigError::Value {
        name,
        value: text,
        expected: "IP addresses or networks, separated by commas, each with =INSTITUTION where it is for one only, such as 10.1.0.0/16=school".into(),
    })
}

impl RelayConfig {
    pub(super) fn read(source: &Source) -> Result<Self, ConfigError> {
        let address = |name: &'static str| {
            source.optional(name, |source| {
                source.parsed(name, "", "an address and a port, such as 127.0.0.1:2587", |text| text.parse().ok())
            })
        };
        let (certificate, key) = ("ENTREPOST_RELAY_CERTIFICATE_FILE", "ENTREPOST_RELAY_KEY_FILE");
        let certificate = match (source.get(certificate), source.get(key)) {
            (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
            (None, None) => None,
            (given, _) => {
                let (name, other) = if given.is_some() { (key, certificate) } else { (certificate, key) };
                return Err(ConfigError::Value {
                    name,
                    value: String::new(),
                    expected: format!("a PEM file is expected, because {other} is set"),
                });
            }
        };
        let plain_listen: Option<SocketAddr> = address("ENTREPOST_RELAY_PLAIN_LISTEN")?;
        let mut plain_allow = allowed(source)?;
        if let Some(listen) = plain_listen
            && plain_allow.is_empty()
        {
            if !listen.ip().is_loopback() {
                return Err(ConfigError::Value {
                    name: "ENTREPOST_RELAY_PLAIN_ALLOW",
                    value: String::new(),
                    expected: format!(
                        "the addresses of devices are expected: {listen} takes mail without a password from anyone who reaches it"
                    ),
                });
            }
            plain_allow = ["127.0.0.0/8", "::1"]
                .into_iter()
                .filter_map(network)
                .map(|network| Allowed { network, institution: None })
                .collect();
        }
        Ok(Self {
            listen: address("ENTREPOST_RELAY_LISTEN")?,
            tls_listen: address("ENTREPOST_RELAY_TLS_LISTEN")?,
            plain_listen,
            plain_allow,
            certificate,
            hostname: source.get("ENTREPOST_RELAY_HOSTNAME"),
            message_bytes: source.parsed(
                "ENTREPOST_RELAY_MESSAGE_BYTES",
                "35000000",
                "a number of bytes from 100000 to 150000000 is expected",
                |text| text.parse().ok().filter(|bytes| (100_000..=150_000_000).contains(bytes)),
            )?,
            memory_bytes: source.bytes("ENTREPOST_RELAY_MEMORY_BYTES", "268435456")?,
            connections: source.count("ENTREPOST_RELAY_CONNECTIONS", "1000")?,
            connections_per_address: source.count("ENTREPOST_RELAY_CONNECTIONS_PER_ADDRESS", "200")?,
            log_days: source.parsed(
                "ENTREPOST_RELAY_LOG_DAYS",
                "14",
                "a whole number of days, 1 or more, is expected",
                |text| text.parse().ok().filter(|days| (1..=3_650).contains(days)),
            )?,
        })
    }

    pub fn is_on(&self) -> bool {
        self.listen.is_some() || self.tls_listen.is_some() || self.plain_listen.is_some()
    }

    /// Whether an address may use the plain listener for an institution.
    pub fn allows_plain(&self, address: IpAddr, slug: Option<&str>) -> bool {
        self.plain_allow.iter().any(|allowed| {
            allowed.network.contains(&address)
                && slug.is_none_or(|slug| allowed.institution.as_deref().is_none_or(|named| named == slug))
        })
    }
}
