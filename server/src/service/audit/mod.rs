//! The audit log: who did what, when and from where, in a chain of hashes whose ends are sealed.
//!
//! An entry is written in the transaction of what it tells, last of all: every transaction locks the log after everything else.
//! Neither secrets nor subjects, recipients or texts of messages are written.

mod verify;

use std::net::IpAddr;

use app::backend::{Administrator, Audit, BackendError, Result, SignedIn};
use app::model::{AuditAction, AuditPage, AuditQuery, AuditRow, InstitutionId};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use super::{Handle, Services};
use crate::clock::sha256;
use crate::csv;
use crate::store::{AuditEntry, Tx, User};
use crate::vault::{Place, Secret};

pub use verify::AuditReport;

/// Entries on one page, and in one part of a download.
const PAGE: usize = 50;
const PART: i64 = 1_000;
/// Failed sign-ins of an institution that are written within an hour: strangers cause them. Those at accounts that do not exist, and
/// those that were refused unchecked, must not hide the others.
const FAILURES: i64 = 1_000;
const FAILURES_UNKNOWN: i64 = 100;
const FAILURES_THROTTLED: i64 = 100;
/// Reason of a sign-in that was refused before its password was checked.
pub(super) const THROTTLED: &str = "too many failures before: the password was not checked";
const HOUR_MS: i64 = 60 * 60 * 1000;

/// Who acts.
#[derive(Debug, Clone, Copy)]
pub enum Who<'a> {
    Person(&'a SignedIn),
    /// Someone who proved to be this account, from this address.
    Account(&'a User, IpAddr),
    Visitor(IpAddr),
    /// The program by itself, or a command of it.
    Program(&'static str),
}

/// What happened.
#[derive(Debug)]
pub struct Happened<'a> {
    pub action: AuditAction,
    pub subject: &'a str,
    pub details: Vec<(&'static str, String)>,
}

impl<'a> Happened<'a> {
    pub fn new(action: AuditAction, subject: &'a str) -> Self {
        Self { action, subject, details: Vec::new() }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.details.push((name, value.into()));
        self
    }
}

/// Both ends of a log.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Ends {
    /// Number of the first entry, and the hash of the one before it, which was deleted; empty at the beginning.
    first: i64,
    before: String,
    last: i64,
    hash: String,
}

impl Ends {
    fn empty() -> Self {
        Self { first: 1, before: String::new(), last: 0, hash: String::new() }
    }
}

/// Sealing place of the ends of a log.
fn ends_place(institution: InstitutionId) -> Place {
    Place::new("audit_ends", "sealed", institution)
}

/// The hash of an entry: over all its fields and the hash of the one before.
fn hash_of(previous: &str, institution: InstitutionId, entry: &AuditEntry) -> String {
    let AuditEntry { number, at, actor_id, actor, origin, action, subject, details, hash: _ } = entry;
    let actor_id = actor_id.map(|id| id.to_string()).unwrap_or_default();
    let fields = serde_json::json!([
        previous,
        institution.to_string(),
        number,
        at.0,
        actor_id,
        actor,
        origin,
        action.as_str(),
        subject,
        details
    ]);
    sha256(&fields.to_string())
}

impl Services {
    /// Writes an entry. To be called last in a transaction.
    pub async fn audit(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        who: Who<'_>,
        happened: Happened<'_>,
    ) -> Result<()> {
        self.audit_all(tx, institution, who, vec![happened]).await
    }

    /// The same for several: the log is locked, and its ends are sealed, once.
    pub async fn audit_all(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        who: Who<'_>,
        happened: Vec<Happened<'_>>,
    ) -> Result<()> {
        let sealed = self.store.lock_audit(tx, institution).await?;
        let mut ends = match self.ends(institution, &sealed) {
            Some(ends) => ends,
            None => self.ends_anew(tx, institution, &sealed).await?,
        };
        for happened in happened {
            self.append(tx, institution, &mut ends, who, happened).await?;
        }
        self.put_ends(tx, institution, &ends).await
    }

    async fn put_ends(&self, tx: &mut Tx, institution: InstitutionId, ends: &Ends) -> Result<()> {
        let text = Secret::new(serde_json::to_string(ends)?);
        let sealed = self.vault.seal(&ends_place(institution), &text)?;
        Ok(self.store.put_audit_ends(tx, institution, &sealed).await?)
    }

    fn ends(&self, institution: InstitutionId, sealed: &str) -> Option<Ends> {
        let opened = self.vault.open(&ends_place(institution), sealed).ok()?;
        serde_json::from_str(opened.expose()).ok()
    }

    /// For a new log; and for one whose sealed ends are missing or not ours, which is written into it.
    async fn ends_anew(&self, tx: &mut Tx, institution: InstitutionId, sealed: &str) -> Result<Ends> {
        let bounds = self.store.audit_bounds(tx, institution).await?;
        let mut ends = Ends::empty();
        let action = if bounds.is_none() && sealed.is_empty() { AuditAction::LogBegun } else { AuditAction::LogBroken };
        if let Some(bounds) = bounds {
            let last = self.store.audit_entry(tx, institution, bounds.last).await?;
            ends.first = bounds.first;
            ends.last = bounds.last;
            ends.hash = last.map(|entry| entry.hash).unwrap_or_default();
        }
        if action == AuditAction::LogBroken {
            tracing::error!(%institution, "the sealed ends of the audit log are missing or not ours: it was changed from outside");
        }
        self.append(tx, institution, &mut ends, Who::Program("Entrepost"), Happened::new(action, "")).await?;
        Ok(ends)
    }

    async fn append(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        ends: &mut Ends,
        who: Who<'_>,
        happened: Happened<'_>,
    ) -> Result<()> {
        let (actor_id, actor, origin) = match who {
            Who::Person(user) => (Some(user.user_id()), user.address().to_owned(), user.origin().to_string()),
            Who::Account(user, address) => (Some(user.id), user.address.clone(), address.to_string()),
            Who::Visitor(address) => (None, String::new(), address.to_string()),
            Who::Program(name) => (None, name.to_owned(), String::new()),
        };
        let mut entry = AuditEntry {
            number: ends.last + 1,
            at: self.clock.now(),
            actor_id,
            actor,
            origin,
            action: happened.action,
            subject: happened.subject.to_owned(),
            details: serde_json::to_string(&happened.details)?,
            hash: String::new(),
        };
        entry.hash = hash_of(&ends.hash, institution, &entry);
        self.store.add_audit_entry(tx, institution, &entry).await?;
        ends.last = entry.number;
        ends.hash = entry.hash;
        Ok(())
    }

    /// Begins the logs of institutions that have none: from then on a missing one is a finding.
    pub async fn begin_logs(&self) -> Result<()> {
        for institution in self.store.institutions_without_log().await? {
            let mut tx = self.store.begin().await?;
            self.audit_all(&mut tx, institution, Who::Program("Entrepost"), Vec::new()).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Writes a failed sign-in, up to a number an hour. `account`: the address of the account, if there is one.
    pub(super) async fn audit_failed_sign_in(
        &self,
        institution: InstitutionId,
        account: Option<&str>,
        from: IpAddr,
        reason: &'static str,
        cause: Option<String>,
    ) -> Result<()> {
        let (kind, most) = match account {
            None => ("unknown", FAILURES_UNKNOWN),
            Some(_) if reason == THROTTLED => ("throttled", FAILURES_THROTTLED),
            Some(_) => ("known", FAILURES),
        };
        let (now, counter) = (self.clock.now(), format!("audit:{kind}:{institution}"));
        let (count, _) = self.store.count_within(&counter, 1, now, now.plus_ms(-HOUR_MS)).await?;
        if count > most {
            return Ok(());
        }
        // What was typed as an unknown account may be a password.
        let mut happened = Happened::new(AuditAction::SignInFailed, account.unwrap_or_default()).with("Reason", reason);
        if let Some(cause) = cause {
            happened = happened.with("Cause", cause);
        }
        if count == most {
            happened = happened.with("Note", "further failures of this kind within this hour are not listed");
        }
        let mut tx = self.store.begin().await?;
        self.audit(&mut tx, institution, Who::Visitor(from), happened).await?;
        Ok(tx.commit().await?)
    }
}

fn row(entry: AuditEntry) -> AuditRow {
    AuditRow {
        number: entry.number,
        at: entry.at,
        actor: entry.actor,
        origin: entry.origin,
        action: entry.action,
        subject: entry.subject,
        details: serde_json::from_str(&entry.details).unwrap_or_default(),
    }
}

#[async_trait]
impl Audit for Handle {
    async fn page(&self, admin: &Administrator, query: &AuditQuery) -> Result<AuditPage> {
        let limit = i64::try_from(PAGE + 1).unwrap_or(i64::MAX);
        let mut found = self.store.audit_entries(admin.institution().id, query, limit).await?;
        let more = found.len() > PAGE;
        found.truncate(PAGE);
        Ok(AuditPage { rows: found.into_iter().map(row).collect(), more, kept_days: self.config.audit_days })
    }

    async fn export(&self, admin: &Administrator, query: AuditQuery) -> Result<BoxStream<'static, Result<String>>> {
        let institution = admin.institution().id;
        let mut happened = Happened::new(AuditAction::LogExported, "");
        for (name, value) in query.values() {
            let name = match name {
                "what" => "What",
                "person" => "Person",
                "from" => "From",
                "to" => "To",
                _ => continue,
            };
            happened = happened.with(name, value);
        }
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        self.audit(&mut tx, institution, Who::Person(admin), happened).await?;
        tx.commit().await?;
        let first = AuditQuery { before: None, ..query };
        let head = futures::stream::once(async { Ok("number,time,who,from,what,whom,details\r\n".to_owned()) });
        let services = self.0.clone();
        let parts = futures::stream::try_unfold(Some(first), move |query| {
            let services = services.clone();
            async move {
                let Some(query) = query else { return Ok(None) };
                let found = services.store.audit_entries(institution, &query, PART).await?;
                let more = i64::try_from(found.len()).is_ok_and(|count| count == PART);
                let next = found.last().filter(|_| more).map(|last| AuditQuery { before: Some(last.number), ..query });
                Ok::<_, BackendError>(Some((found.into_iter().map(|entry| line(row(entry))).collect::<String>(), next)))
            }
        });
        Ok(head.chain(parts).boxed())
    }
}

fn line(row: AuditRow) -> String {
    let details: Vec<String> = row.details.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let cells = [
        row.number.to_string(),
        row.at.iso(),
        row.actor,
        row.origin,
        row.action.label().to_owned(),
        row.subject,
        details.join(" | "),
    ];
    csv::line(&cells)
}
