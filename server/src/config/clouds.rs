//! Microsoft's clouds. Tokens and secrets go to the hosts of this list only.
//!
//! Hosts: <https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud>,
//! <https://learn.microsoft.com/microsoft-365/enterprise/urls-and-ip-address-ranges>. Clouds whose Exchange hosts are not published come
//! from the operator's file.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use url::Url;

use super::{ConfigError, Microsoft, ServerAddress, Source, authority_url};

#[derive(Debug, Clone)]
pub struct Cloud {
    /// As stored; empty for the server's own.
    pub name: String,
    pub label: String,
    pub hosts: Arc<Microsoft>,
}

/// The clouds that an institution may choose from: the server's own first.
#[derive(Debug, Clone)]
pub struct Clouds {
    all: Arc<[Cloud]>,
    /// RFC 2606, 2: `.invalid` never resolves.
    nowhere: Arc<Microsoft>,
}

/// Name, label, authority, host of Outlook (IMAP and scopes), of SMTP, of Graph, suffix of the federation audience, include of SPF
/// (<https://learn.microsoft.com/defender-office-365/email-authentication-spf-configure>).
const PRESETS: [(&str, &str, &str, &str, &str, &str, &str, &str); 3] = [
    (
        "us_gov",
        "US Government (GCC High)",
        "https://login.microsoftonline.us",
        "outlook.office365.us",
        "smtp.office365.us",
        "graph.microsoft.us",
        "USGov",
        "spf.protection.office365.us",
    ),
    (
        "us_dod",
        "US Government (DoD)",
        "https://login.microsoftonline.us",
        "outlook-dod.office365.us",
        "outlook-dod.office365.us",
        "dod-graph.microsoft.us",
        "USGov",
        "spf.protection.office365.us",
    ),
    (
        "china",
        "China (21Vianet)",
        "https://login.partner.microsoftonline.cn",
        "partner.outlook.cn",
        "smtp.partner.outlook.cn",
        "microsoftgraph.chinacloudapi.cn",
        "China",
        "spf.protection.partner.outlook.cn",
    ),
];
/// The global cloud's include.
pub(super) const SPF: &str = "spf.protection.outlook.com";
pub(super) const GLOBAL: &str = "login.microsoftonline.com";

/// One cloud of the operator's file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    label: String,
    authority: String,
    smtp: String,
    imap: String,
    scopes: String,
    app_scope: String,
    federation_audience: String,
    #[serde(default)]
    spf: Option<String>,
    #[serde(default)]
    graph: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    cloud: Vec<Entry>,
}

impl Clouds {
    /// The server's own cloud, the presets beside the global one, and those of the operator's file.
    pub(super) fn read(source: &Source, own: Microsoft) -> Result<Self, ConfigError> {
        let is_global = own.authority.host_str() == Some(GLOBAL);
        let label = if is_global {
            "Global, and US Government GCC".to_owned()
        } else {
            format!("This server's own ({})", own.authority.host_str().unwrap_or_default())
        };
        let mut all = vec![Cloud { name: String::new(), label, hosts: Arc::new(own) }];
        // A server with other hosts of its own, such as a test's, sends nothing to Microsoft's.
        if is_global {
            all.extend(PRESETS.into_iter().filter_map(preset));
        }
        if let Some(path) = source.get("ENTREPOST_MICROSOFT_CLOUDS_FILE") {
            all.extend(operators(&path)?);
        }
        Ok(Self { all: all.into(), nowhere: Arc::new(nowhere()) })
    }

    /// The server's own.
    pub fn own(&self) -> &Cloud {
        &self.all[0]
    }

    pub fn find(&self, name: &str) -> Option<&Cloud> {
        self.all.iter().find(|cloud| cloud.name == name)
    }

    /// The hosts of a grant's cloud. One that is not in the list has hosts that do not exist: nothing is sent anywhere else.
    pub fn hosts_of(&self, name: &str) -> &Microsoft {
        self.find(name).map_or(&self.nowhere, |cloud| &cloud.hosts)
    }

    pub fn all(&self) -> &[Cloud] {
        &self.all
    }

    /// The clouds whose authority an error names (AADSTS90038 says `MicrosoftOnline.US` and similar).
    pub fn named_by(&self, text: &str) -> Vec<&Cloud> {
        let text = text.to_ascii_lowercase();
        let names = |cloud: &&Cloud| {
            let host = cloud.hosts.authority.host_str().unwrap_or_default().to_ascii_lowercase();
            let domain = host.strip_prefix("login.").unwrap_or(&host);
            let bare = domain.strip_prefix("partner.").unwrap_or(domain);
            [domain, bare].iter().any(|domain| text.contains(&format!("'{domain}'")))
        };
        self.all.iter().filter(names).collect()
    }
}

fn nowhere() -> Microsoft {
    let server = |port| ServerAddress { host: "cloud.invalid".to_owned(), port };
    Microsoft {
        authority: Url::parse("https://cloud.invalid").unwrap_or_else(|_| unreachable!("a constant")),
        scopes: String::new(),
        app_scope: String::new(),
        federation_audience: String::new(),
        smtp: server(587),
        imap: server(993),
        graph: None,
        spf: String::new(),
    }
}

/// A domain for SPF's `include`.
pub(super) fn spf(text: &str) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-' || c == '_';
    (text.contains('.') && text.chars().all(is_plain)).then(|| text.to_ascii_lowercase())
}

fn preset(
    (name, label, authority, outlook, smtp, graph, audience, spf): (&str, &str, &str, &str, &str, &str, &str, &str),
) -> Option<Cloud> {
    let server = |host: &str, port| ServerAddress { host: host.to_owned(), port };
    let hosts = Microsoft {
        authority: Url::parse(authority).ok()?,
        scopes: format!(
            "https://{outlook}/SMTP.Send https://{outlook}/IMAP.AccessAsUser.All offline_access openid profile email"
        ),
        app_scope: format!("https://{outlook}/.default"),
        federation_audience: format!("api://AzureADTokenExchange{audience}"),
        smtp: server(smtp, 587),
        imap: server(outlook, 993),
        graph: Some(Url::parse(&format!("https://{graph}")).ok()?),
        spf: spf.to_owned(),
    };
    Some(Cloud { name: name.to_owned(), label: label.to_owned(), hosts: Arc::new(hosts) })
}

fn operators(path: &str) -> Result<Vec<Cloud>, ConfigError> {
    let wrong = |expected: String| ConfigError::Value {
        name: "ENTREPOST_MICROSOFT_CLOUDS_FILE",
        value: path.to_owned(),
        expected,
    };
    let text = std::fs::read_to_string(PathBuf::from(path)).map_err(|error| wrong(error.to_string()))?;
    let file: File = toml::from_str(&text).map_err(|error| wrong(error.message().to_owned()))?;
    let mut found: Vec<Cloud> = Vec::new();
    for entry in file.cloud {
        let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b"-_".contains(&b));
        let taken = entry.name == app::model::OWN_CLOUD
            || PRESETS.iter().any(|(name, ..)| *name == entry.name)
            || found.iter().any(|one| one.name == entry.name);
        if !plain(&entry.name) || taken {
            return Err(wrong(format!(
                "the name {:?} must be new, of small letters, hyphens and underscores",
                entry.name
            )));
        }
        let server = |text: &str| {
            ServerAddress::parse(text).ok_or_else(|| wrong(format!("{}: {text:?} is no host and port", entry.name)))
        };
        let authority = authority_url(&entry.authority)
            .ok_or_else(|| wrong(format!("{}: the authority must be an https address without a path", entry.name)))?;
        let include = entry.spf.as_deref().unwrap_or(SPF);
        let include = spf(include).ok_or_else(|| wrong(format!("{}: {include:?} is no domain for SPF", entry.name)))?;
        let graph = match entry.graph.as_deref() {
            None => None,
            Some(text) => Some(
                authority_url(text)
                    .ok_or_else(|| wrong(format!("{}: graph must be an https address without a path", entry.name)))?,
            ),
        };
        let hosts = Microsoft {
            authority,
            graph,
            spf: include,
            smtp: server(&entry.smtp)?,
            imap: server(&entry.imap)?,
            scopes: entry.scopes,
            app_scope: entry.app_scope,
            federation_audience: entry.federation_audience,
        };
        found.push(Cloud { name: entry.name, label: entry.label, hosts: Arc::new(hosts) });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn errors_name_clouds() {
        let clouds = Config::read(&Source::of(&[])).unwrap().clouds;
        let named = |text: &str| clouds.named_by(text).iter().map(|cloud| cloud.name.clone()).collect::<Vec<_>>();
        assert_eq!(
            named(
                "AADSTS90038: Tenant 'x.com' request is being redirected to the National Cloud 'microsoftonline.us'."
            ),
            ["us_gov", "us_dod"]
        );
        assert_eq!(named("the National Cloud 'MicrosoftOnline.CN'."), ["china"]);
        assert_eq!(named("the National Cloud 'MicrosoftOnline.COM'."), [""]);
        assert!(named("the National Cloud 'MicrosoftOnline.DE'.").is_empty());
    }

    #[test]
    fn a_server_with_hosts_of_its_own_offers_none_of_microsofts() {
        let own = [("ENTREPOST_MICROSOFT_AUTHORITY", "http://localhost:1".to_owned())];
        let clouds = Config::read(&Source::of(&own)).unwrap().clouds;
        assert_eq!(clouds.all().len(), 1);
    }

    #[test]
    fn the_operators_file_is_checked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("clouds.toml");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let setting = [("ENTREPOST_MICROSOFT_CLOUDS_FILE", path.display().to_string())];
            Config::read(&Source::of(&setting)).map(|config| config.clouds)
        };
        let entry = |name: &str, authority: &str, smtp: &str| {
            format!(
                "[[cloud]]\nname = {name:?}\nlabel = \"B\"\nauthority = {authority:?}\nsmtp = {smtp:?}\nimap = \"i.example:993\"\nscopes = \"s\"\napp_scope = \"a\"\nfederation_audience = \"f\"\n"
            )
        };
        let right = entry("bleu", "https://login.sovcloud-identity.fr", "smtp.example:587");
        let clouds = read(&right).unwrap();
        assert_eq!(clouds.find("bleu").unwrap().hosts.smtp.port, 587);
        for wrong in [
            entry("Bleu", "https://login.example", "smtp.example:587"),
            entry("china", "https://login.example", "smtp.example:587"),
            entry("bleu", "http://login.example", "smtp.example:587"),
            entry("bleu", "https://login.example", "smtp.example"),
            format!("{right}{right}"),
            "[[cloud]]\nname = \"x\"\n".to_owned(),
            "hello".to_owned(),
        ] {
            assert!(read(&wrong).is_err(), "{wrong}");
        }
    }
}
