//! Where institutions are served.

use url::Url;

use super::{ConfigError, Source};

/// Placeholder for the slug while parsing; must not occur otherwise.
const SAMPLE: &str = "zz-slug-zz";

#[derive(Debug, Clone)]
pub struct PublicUrl {
    template: String,
    default_institution: Option<String>,
}

impl PublicUrl {
    /// `port`: that of the address served on, which the default follows.
    pub(super) fn parse(source: &Source, port: u16) -> Result<Self, ConfigError> {
        let name = "ENTREPOST_PUBLIC_URL";
        let default_institution = source.get("ENTREPOST_DEFAULT_INSTITUTION");
        let template = source.get(name).unwrap_or_else(|| {
            let host = if default_institution.is_some() { "localhost" } else { "{institution}.localhost" };
            format!("http://{host}:{port}")
        });
        let template = template.trim_end_matches('/').to_owned();
        let wrong =
            |expected: &str| ConfigError::Value { name, value: template.clone(), expected: expected.to_owned() };
        let sample = template.replace("{institution}", SAMPLE);
        let url = Url::parse(&sample).map_err(|_| wrong("a URL such as https://{institution}.mail.example"))?;
        if !matches!(url.scheme(), "http" | "https") || url.path() != "/" || url.query().is_some() {
            return Err(wrong("an http or https address without a path"));
        }
        // As browsers write an origin: lower case, without the scheme's own port.
        let origin = url.origin().ascii_serialization();
        let template = match template.find("{institution}") {
            Some(_) => origin.replacen(SAMPLE, "{institution}", 1),
            None => origin,
        };
        match (&default_institution, template.contains("{institution}")) {
            (None, false) => Err(wrong(
                "{institution} must be part of the host, unless ENTREPOST_DEFAULT_INSTITUTION names the only institution",
            )),
            (Some(_), true) => Err(wrong("with ENTREPOST_DEFAULT_INSTITUTION the address has no {institution}")),
            _ => Ok(Self { template, default_institution }),
        }
    }

    /// The slug of the only institution that is served, where one is named.
    pub fn default_institution(&self) -> Option<&str> {
        self.default_institution.as_deref()
    }

    /// Error if the only served institution doesn't exist.
    pub fn unserved(&self, slugs: &[&str]) -> Option<String> {
        let only = self.default_institution().filter(|only| !slugs.contains(only))?;
        let there =
            if slugs.is_empty() { "none is there yet".into() } else { format!("there is {}", slugs.join(", ")) };
        Some(format!("ENTREPOST_DEFAULT_INSTITUTION = {only}: no such institution ({there})"))
    }

    /// The public address of an institution, without a trailing slash.
    pub fn of(&self, slug: &str) -> String {
        self.template.replace("{institution}", slug)
    }

    /// The host of an institution's public address.
    pub fn host(&self, slug: &str) -> String {
        Url::parse(&self.of(slug)).ok().and_then(|url| url.host_str().map(ToOwned::to_owned)).unwrap_or_default()
    }

    /// The name below which institutions have their hosts; the host, where there is one institution.
    pub fn common_host(&self) -> String {
        let host = self.host("institution-slug");
        host.strip_prefix("institution-slug.").unwrap_or(&host).to_owned()
    }

    /// The slug that a Host header names (its port is ignored), if any.
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
    pub fn suits_microsoft(&self) -> bool {
        self.is_https() || self.template == "http://localhost" || self.template.starts_with("http://localhost:")
    }

    /// Whether browsers reach it by https: cookies are `Secure` then.
    pub fn is_https(&self) -> bool {
        self.template.starts_with("https:")
    }
}
