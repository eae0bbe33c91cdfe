//! `entrepost audit verify`.

use server::clock::Clock;
use server::config::{Config, Source};
use server::wiring::{StartError, build};

use super::{Missing, say};

/// Verifies the audit log of an institution, or of all. Fails if one is not whole.
pub async fn verify_audit(slug: Option<&str>) -> Result<(), StartError> {
    let config = Config::read(&Source::from_process()?)?;
    if let Some(missing) = Missing::of(&config) {
        return Err(StartError::Other(format!("{missing}: run this where the server runs, with its settings")));
    }
    let services = build(config, Clock::system()).await?;
    let mut institutions = services.store.institutions().await?;
    institutions.retain(|institution| slug.is_none_or(|slug| institution.slug == slug));
    if let (Some(slug), true) = (slug, institutions.is_empty()) {
        return Err(StartError::Other(format!("there is no institution {slug}")));
    }
    let mut broken = Vec::new();
    for institution in institutions {
        let report = services.verify_audit(institution.id).await;
        let report = report.map_err(|error| StartError::Other(error.to_string()))?;
        let slug = &institution.slug;
        let period = match (report.from, report.to) {
            (Some(from), Some(to)) => format!(", {} to {}", from.iso(), to.iso()),
            _ => String::new(),
        };
        let entries = if report.entries == 1 { "1 entry".to_owned() } else { format!("{} entries", report.entries) };
        if report.findings.is_empty() {
            let end =
                report.end.map(|(number, hash)| format!("; the last is {number}, hash {hash}")).unwrap_or_default();
            say(&format!("ok    {slug}: {entries}{period}{end}"));
            continue;
        }
        for finding in &report.findings {
            say(&format!("FAIL  {slug}: {finding}"));
        }
        broken.push(institution.slug);
    }
    services.store.close().await;
    if broken.is_empty() {
        return Ok(());
    }
    Err(StartError::Other(format!("the audit log was changed from outside: {}", broken.join(", "))))
}
