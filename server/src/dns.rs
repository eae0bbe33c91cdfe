//! DNS as receivers of mail see it: what a domain publishes about who may send in its name.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Resolver, TokioResolver};
use serde::{Deserialize, Serialize};

/// Time limit of one query.
const PATIENCE: Duration = Duration::from_secs(3);
/// Queries of each name.
const TRIES: usize = 2;
/// Records of one kind that are kept, and characters of each.
const MOST_RECORDS: usize = 20;
const MOST_CHARACTERS: usize = 4_000;
/// RFC 7208, 4.6.4: terms of an SPF record that need look-ups, nested ones included.
pub const MOST_LOOKUPS: usize = 10;
/// Names that are asked for a DMARC record, from the domain upwards.
const MOST_PARENTS: usize = 8;

/// What a look-up found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found<T> {
    Records(T),
    /// The name or the type does not exist.
    Nothing,
    /// No answer, or one that says nothing. With the reason.
    Failed(String),
}

/// Nested records of an SPF record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpfTree {
    /// Terms that need look-ups; counting ends above [`MOST_LOOKUPS`].
    pub lookups: usize,
    /// Domains whose senders pass, directly or not.
    pub includes: Vec<String>,
    /// An include depends on each message (macros).
    pub is_unclear: bool,
    /// Included domains without a record: receivers answer with an error.
    pub broken: Vec<String>,
    /// A look-up that failed.
    pub failed: Option<String>,
}

/// What a domain publishes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Hosts, the preferred first.
    pub mx: Found<Vec<String>>,
    /// Records that begin with `v=spf1`.
    pub spf: Found<Vec<String>>,
    pub spf_tree: SpfTree,
    /// Keys of Microsoft's two selectors.
    pub selectors: [Found<Vec<String>>; 2],
    /// The domain whose DMARC policy holds, and its records.
    pub dmarc: Found<(String, Vec<String>)>,
}

impl Published {
    /// Whether a look-up failed.
    pub fn failed(&self) -> bool {
        let selectors = self.selectors.iter().any(|selector| matches!(selector, Found::Failed(_)));
        selectors
            || self.spf_tree.failed.is_some()
            || matches!(self.mx, Found::Failed(_))
            || matches!(self.spf, Found::Failed(_))
            || matches!(self.dmarc, Found::Failed(_))
    }
}

pub struct Dns(TokioResolver);

impl Dns {
    /// Asks these servers, or the system's. Nothing is cached: an administrator who has changed a record looks again.
    pub fn new(servers: &[SocketAddr]) -> Result<Self, NetError> {
        let mut builder = if servers.is_empty() {
            Resolver::builder_tokio()?
        } else {
            let servers = servers.iter().map(|server| {
                let at = |mut connection: ConnectionConfig| {
                    connection.port = server.port();
                    connection
                };
                NameServerConfig::new(server.ip(), true, vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())])
            });
            let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
            Resolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        options.timeout = PATIENCE;
        options.attempts = TRIES;
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        Ok(Self(builder.build()?))
    }

    async fn records(&self, name: &str, kind: RecordType) -> Found<Vec<RData>> {
        // With the final dot the system's search domains stay out.
        let Ok(full) = Name::from_utf8(format!("{}.", name.trim_end_matches('.'))) else {
            return Found::Failed(format!("{name} is no name of DNS"));
        };
        match self.0.lookup(full, kind).await {
            Ok(found) => {
                let data = found.answers().iter().map(|record| record.data.clone());
                let data: Vec<RData> = data.filter(|data| data.record_type() == kind).collect();
                if data.is_empty() { Found::Nothing } else { Found::Records(data) }
            }
            Err(error) if error.is_no_records_found() => Found::Nothing,
            Err(error) => Found::Failed(format!("{name}: {error}")),
        }
    }

    /// Texts of a name that are records of one kind.
    async fn texts_of(&self, name: &str, is: impl Fn(&str) -> bool) -> Found<Vec<String>> {
        match self.records(name, RecordType::TXT).await {
            Found::Records(all) => {
                let texts = all.iter().filter_map(|data| match data {
                    // RFC 7208, 3.3: strings of one record are joined without a blank.
                    RData::TXT(text) => Some(String::from_utf8_lossy(&text.txt_data.concat()).into_owned()),
                    _ => None,
                });
                let texts = texts.filter(|text| is(text)).take(MOST_RECORDS);
                let texts: Vec<String> = texts.map(|text| text.chars().take(MOST_CHARACTERS).collect()).collect();
                if texts.is_empty() { Found::Nothing } else { Found::Records(texts) }
            }
            Found::Nothing => Found::Nothing,
            Found::Failed(why) => Found::Failed(why),
        }
    }

    async fn mail_servers(&self, domain: &str) -> Found<Vec<String>> {
        match self.records(domain, RecordType::MX).await {
            Found::Records(all) => {
                let mut hosts: Vec<(u16, String)> = all
                    .iter()
                    .filter_map(|data| match data {
                        RData::MX(mx) => Some((mx.preference, plain(&mx.exchange))),
                        _ => None,
                    })
                    .collect();
                hosts.sort();
                hosts.truncate(MOST_RECORDS);
                Found::Records(hosts.into_iter().map(|(_, host)| host).collect())
            }
            Found::Nothing => Found::Nothing,
            Found::Failed(why) => Found::Failed(why),
        }
    }

    /// Follows the includes of an SPF record.
    async fn spf_tree(&self, record: &str) -> SpfTree {
        let mut tree = SpfTree::default();
        let mut records = vec![record.to_owned()];
        while let Some(record) = records.pop() {
            for term in spf_terms(&record) {
                tree.lookups += usize::from(term.needs_lookup());
                if tree.lookups > MOST_LOOKUPS {
                    return tree;
                }
                tree.is_unclear |= term.name == "include" && term.value.contains('%');
                let Some(domain) = term.nested() else { continue };
                // RFC 7208, 5.2: what another qualifier includes doesn't pass.
                if term.qualifier == '+' && !tree.includes.contains(&domain) {
                    tree.includes.push(domain.clone());
                }
                match self.texts_of(&domain, is_spf).await {
                    Found::Records(found) => records.extend(found.into_iter().next()),
                    Found::Nothing => tree.broken.push(domain),
                    Found::Failed(why) => tree.failed = Some(why),
                }
            }
        }
        tree
    }

    /// The DMARC records that hold for a domain: its own, or those of a domain above it.
    async fn dmarc(&self, domain: &str) -> Found<(String, Vec<String>)> {
        let mut at = domain;
        for _ in 0..MOST_PARENTS {
            match self.texts_of(&format!("_dmarc.{at}"), is_dmarc).await {
                Found::Records(all) => return Found::Records((at.to_owned(), all)),
                Found::Failed(why) => return Found::Failed(why),
                Found::Nothing => {}
            }
            match at.split_once('.') {
                Some((_, above)) if above.contains('.') => at = above,
                _ => break,
            }
        }
        Found::Nothing
    }

    pub async fn published(&self, domain: &str) -> Published {
        let (one, two) = (format!("selector1._domainkey.{domain}"), format!("selector2._domainkey.{domain}"));
        let (mx, spf, one, two, dmarc) = tokio::join!(
            self.mail_servers(domain),
            self.texts_of(domain, is_spf),
            self.texts_of(&one, is_dkim_key),
            self.texts_of(&two, is_dkim_key),
            self.dmarc(domain),
        );
        let spf_tree = match &spf {
            Found::Records(all) => self.spf_tree(&all[0]).await,
            _ => SpfTree::default(),
        };
        Published { mx, spf, spf_tree, selectors: [one, two], dmarc }
    }
}

fn plain(name: &Name) -> String {
    name.to_utf8().trim_end_matches('.').to_lowercase()
}

/// RFC 7208, 4.5: the version ends at a blank or at the end.
fn is_spf(text: &str) -> bool {
    text.split(' ').next().is_some_and(|version| version.eq_ignore_ascii_case("v=spf1"))
}

/// RFC 7489, 6.3: the version is the first tag.
fn is_dmarc(text: &str) -> bool {
    let first = text.split(';').next().unwrap_or_default();
    first.split_once('=').is_some_and(|(name, value)| name.trim() == "v" && value.trim() == "DMARC1")
}

/// RFC 6376, 3.6.1: `p=` without a value says that the key was withdrawn.
fn is_dkim_key(text: &str) -> bool {
    tag(text, "p").is_some_and(|key| !key.is_empty())
}

/// The value of a tag in a list such as `v=DMARC1; p=none`.
pub fn tag<'a>(record: &'a str, name: &str) -> Option<&'a str> {
    let tags = record.split(';').filter_map(|tag| tag.split_once('='));
    tags.map(|(known, value)| (known.trim(), value.trim())).find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// A mechanism or modifier of an SPF record.
#[derive(Debug, PartialEq, Eq)]
pub struct SpfTerm {
    /// `+`, `-`, `~` or `?`.
    pub qualifier: char,
    /// Lower case.
    pub name: String,
    pub value: String,
}

impl SpfTerm {
    fn needs_lookup(&self) -> bool {
        ["include", "a", "mx", "ptr", "exists", "redirect"].contains(&self.name.as_str())
    }

    /// The domain whose record is part of this one. Macros depend on each message, so such a name is not followed.
    fn nested(&self) -> Option<String> {
        let is_nested = ["include", "redirect"].contains(&self.name.as_str()) && !self.value.contains('%');
        is_nested.then(|| self.value.trim_end_matches('.').to_lowercase()).filter(|domain| !domain.is_empty())
    }
}

/// The terms after the version that count (RFC 7208, 4.6.1): those up to `all`, and a redirect only where there is no `all`
/// (5.1, 6.1).
pub fn spf_terms(record: &str) -> Vec<SpfTerm> {
    let term = |text: &str| {
        let qualifier = text.chars().next().filter(|sign| "+-~?".contains(*sign));
        let rest = text.strip_prefix(['+', '-', '~', '?']).unwrap_or(text);
        let (name, value) = rest.find([':', '=', '/']).map_or((rest, ""), |at| (&rest[..at], &rest[at + 1..]));
        SpfTerm { qualifier: qualifier.unwrap_or('+'), name: name.to_lowercase(), value: value.to_owned() }
    };
    let mut terms: Vec<SpfTerm> = record.split_ascii_whitespace().skip(1).map(term).collect();
    if let Some(at) = terms.iter().position(|term| term.name == "all") {
        terms.truncate(at + 1);
        terms.retain(|term| term.name != "redirect");
    }
    terms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_read_as_rfc_7208_writes_them() {
        let all = spf_terms("v=spf1 a mx/24 a:host.example/28 ?include:One.example. exists:%{i}.x redirect=r.example");
        let names: Vec<(char, &str, &str)> =
            all.iter().map(|term| (term.qualifier, term.name.as_str(), term.value.as_str())).collect();
        assert_eq!(
            names,
            [
                ('+', "a", ""),
                ('+', "mx", "24"),
                ('+', "a", "host.example/28"),
                ('?', "include", "One.example."),
                ('+', "exists", "%{i}.x"),
                ('+', "redirect", "r.example"),
            ]
        );
        let ended = spf_terms("v=spf1 redirect=r.example mx ~ALL include:late.example");
        let names: Vec<&str> = ended.iter().map(|term| term.name.as_str()).collect();
        assert_eq!((names, ended[1].qualifier), (vec!["mx", "all"], '~'));
        assert_eq!(all[3].nested().as_deref(), Some("one.example"));
        assert_eq!(all.iter().filter(|term| term.needs_lookup()).count(), 6);
    }

    #[test]
    fn records_are_told_apart() {
        assert!(is_spf("v=spf1") && is_spf("V=SPF1 -all") && !is_spf("v=spf10 -all") && !is_spf("MS=ms123"));
        assert!(is_dmarc("v=DMARC1; p=none") && is_dmarc("v = DMARC1;p=reject") && !is_dmarc("p=none; v=DMARC1"));
        assert!(is_dkim_key("v=DKIM1; k=rsa; p=MIIB") && is_dkim_key("p=MIIB") && !is_dkim_key("v=DKIM1; p="));
        assert_eq!(tag("v=DMARC1; p = quarantine ; sp=none", "p"), Some("quarantine"));
    }
}
