//! The log filter. Libraries log tokens and mail below INFO (async-imap every byte of a session, html5ever every tag of a message),
//! so their records below INFO are never shown, whatever ENTREPOST_LOG says.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::filter::ParseError;

/// The default filter.
pub const DEFAULT: &str = "info,sqlx=warn";

/// Crates of this program, which log no secrets at any level.
const OWN: [&str; 4] = ["server", "entrepost", "app", "sandbox"];

fn is_own(target: &str) -> bool {
    let name = target.split("::").next().unwrap_or_default();
    OWN.contains(&name)
}

fn is_verbose(level: &str) -> bool {
    // An empty level means all.
    let level = level.trim();
    level.is_empty() || level.parse::<LevelFilter>().is_ok_and(|level| level > LevelFilter::INFO)
}

/// The filter of `ENTREPOST_LOG`, without records that may contain secrets.
pub fn filter(wanted: &str) -> Result<EnvFilter, ParseError> {
    // Errors quote the directive as written.
    EnvFilter::try_new(wanted)?;
    let mut directives = Vec::new();
    for directive in wanted.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
        // Spans and fields ("target[span{field=value}]") would match libraries, too.
        let (target, level) = match directive.rsplit_once('=') {
            Some((target, level)) if !target.contains(['[', '{']) => (target.trim(), level.trim()),
            Some(_) => continue,
            None if directive.parse::<LevelFilter>().is_ok() => ("", directive),
            None if directive.contains(['[', '{']) => continue,
            None => (directive, "trace"),
        };
        match (target, is_verbose(level)) {
            ("", true) => {
                directives.push("info".to_owned());
                directives.extend(OWN.iter().map(|own| format!("{own}={level}")));
            }
            ("", false) => directives.push(level.to_owned()),
            (target, true) if !is_own(target) => directives.push(format!("{target}=info")),
            (target, _) => directives.push(format!("{target}={level}")),
        }
    }
    // Filters match prefixes of names, so whole crate names are needed.
    if directives.iter().any(|directive| directive.rsplit_once('=').is_some_and(|(_, level)| is_verbose(level))) {
        directives.push("server_fn=info".to_owned());
    }
    EnvFilter::try_new(directives.join(","))
}

#[cfg(test)]
mod tests {
    use super::filter;

    #[test]
    fn libraries_are_never_verbose() {
        for wanted in [
            "trace",
            "TRACE",
            "debug,async_imap=trace",
            "async_imap",
            "async_imap::imap_stream=trace,info",
            "html5ever=5",
            "info,[request{id=1}]=trace",
            "lettre=debug",
            "05",
            "+5",
            "async_imap=",
            "async_imap=+5",
        ] {
            // Some spellings of a level are invalid.
            let Ok(made) = filter(wanted).map(|made| made.to_string()) else { continue };
            for directive in made.split(',') {
                let own = ["server", "entrepost", "app", "sandbox"].iter().any(|own| directive.starts_with(own));
                let lower = directive.to_lowercase();
                assert!(
                    own || !["trace", "debug", "=", "5"].iter().any(|end| lower.ends_with(end)),
                    "{wanted} became {made}"
                );
            }
        }
        assert!(filter("server=debug").unwrap().to_string().contains("server=debug"));
        assert!(filter("nonsense=loud").is_err());
    }

    #[test]
    fn own_crates_are_not_beginnings_of_names() {
        for wanted in ["trace", "server=trace", "server"] {
            let subscriber = tracing_subscriber::fmt().with_env_filter(filter(wanted).unwrap()).finish();
            tracing::subscriber::with_default(subscriber, || {
                assert!(tracing::enabled!(target: "server::mail", tracing::Level::TRACE), "{wanted}");
                assert!(!tracing::enabled!(target: "server_fn::codec", tracing::Level::DEBUG), "{wanted}");
                assert!(tracing::enabled!(target: "server_fn::codec", tracing::Level::INFO), "{wanted}");
            });
        }
    }
}
