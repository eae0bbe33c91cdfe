//! Verifying the log, and deleting what is old in it.

use app::backend::Result;
use app::model::{AuditAction, InstitutionId, Timestamp};

use super::{Ends, PART, hash_of};
use crate::service::Services;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// The result of a verification.
#[derive(Debug, Default)]
pub struct AuditReport {
    pub entries: u64,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
    /// The last entry's number and hash, to be noted elsewhere.
    pub end: Option<(i64, String)>,
    /// What is wrong, in words; none if the log is whole.
    pub findings: Vec<String>,
}

impl Services {
    /// Deletes entries that are old enough. The sealed ends keep the hash of the last one deleted. What is deleted is verified first:
    /// a time that was changed must not make the server cut its own log.
    pub async fn sweep_audit(&self) -> Result<()> {
        let before = self.clock.now().plus_ms(-self.config.audit_days.saturating_mul(DAY_MS));
        for institution in self.store.institutions_with_audit_before(before).await? {
            let mut tx = self.store.begin().await?;
            let sealed = self.store.lock_audit(&mut tx, institution).await?;
            // A log whose ends are not ours stays as it is.
            let Some(mut ends) = self.ends(institution, &sealed) else { continue };
            let Some(number) = self.store.last_old_audit_entry(&mut tx, institution, before).await? else { continue };
            let whole = match self.verify_up_to(institution, &ends, number).await? {
                Some(hash) if number < ends.last || number == ends.last && hash == ends.hash => Some(hash),
                _ => None,
            };
            let Some(hash) = whole else {
                tracing::error!(%institution, "old entries of the audit log were changed from outside: they stay");
                continue;
            };
            ends.first = number + 1;
            ends.before = hash;
            let deleted = self.store.drop_audit_entries(&mut tx, institution, number).await?;
            self.put_ends(&mut tx, institution, &ends).await?;
            tx.commit().await?;
            tracing::info!(%institution, "deleted {deleted} old entries of the audit log");
        }
        Ok(())
    }

    /// The hash of an entry, if all from the beginning of the log up to it are whole.
    async fn verify_up_to(&self, institution: InstitutionId, ends: &Ends, number: i64) -> Result<Option<String>> {
        let (mut next, mut previous) = (ends.first, ends.before.clone());
        loop {
            let part = self.store.audit_entries_from(institution, next, PART).await?;
            if part.is_empty() {
                return Ok(None);
            }
            for entry in part {
                if entry.number != next || hash_of(&previous, institution, &entry) != entry.hash {
                    return Ok(None);
                }
                if entry.number == number {
                    return Ok(Some(entry.hash));
                }
                next += 1;
                previous = entry.hash;
            }
        }
    }

    /// Recomputes the chain and compares it with its sealed ends.
    pub async fn verify_audit(&self, institution: InstitutionId) -> Result<AuditReport> {
        let mut report = AuditReport::default();
        let sealed = self.store.audit_ends(institution).await?;
        let ends = sealed.as_deref().and_then(|sealed| self.ends(institution, sealed));
        let Some(ends) = ends else {
            report.findings.push("the sealed end of the log is missing, or was sealed with another key".into());
            return Ok(report);
        };
        let (mut next, mut previous) = (ends.first, ends.before.clone());
        let mut lowest = i64::MIN;
        loop {
            let part = self.store.audit_entries_from(institution, lowest, PART).await?;
            let Some(end) = part.last() else { break };
            let after = end.number.checked_add(1);
            for entry in part {
                let number = entry.number;
                if number > ends.last {
                    // Written after the ends were read, or inserted.
                    let now =
                        self.store.audit_ends(institution).await?.and_then(|sealed| self.ends(institution, &sealed));
                    if now.is_none_or(|now| now.last < number) {
                        report.findings.push(format!("entry {number} was inserted after the end of the log"));
                    }
                    continue;
                }
                if number < ends.first {
                    report.findings.push(format!("entry {number} was inserted before the beginning of the log"));
                    continue;
                }
                if number > next {
                    let missing = if number - 1 == next {
                        format!("entry {next}")
                    } else {
                        format!("entries {next} to {}", number - 1)
                    };
                    report.findings.push(format!("{missing}: removed"));
                    // What follows is compared with what it says itself.
                } else if hash_of(&previous, institution, &entry) != entry.hash {
                    report.findings.push(format!("entry {number}: changed, or not written by this server"));
                }
                if entry.action == AuditAction::LogBroken {
                    report.findings.push(format!("entry {number}: the sealed end was missing when it was written"));
                }
                report.entries += 1;
                report.from = report.from.or(Some(entry.at));
                report.to = Some(entry.at);
                next = number.saturating_add(1);
                previous = entry.hash;
            }
            let Some(after) = after else { break };
            lowest = after;
        }
        report.end = Some((ends.last, ends.hash.clone()));
        if next <= ends.last {
            report.findings.push(format!("entries {next} to {}: removed", ends.last));
        } else if previous != ends.hash {
            report.findings.push(format!("entry {}: not the one that this server wrote last", ends.last));
        }
        Ok(report)
    }
}
