//! Domains that people send from, and what they publish.

use app::model::{InstitutionId, Timestamp};

use super::sql::{changed, columns, execute, fetch_all, select};
use super::{DatabaseKind, Result, Store};
use crate::dns::Published;

/// A domain of an institution.
#[derive(Debug, Clone)]
pub struct SenderDomainRow {
    pub institution: InstitutionId,
    pub domain: String,
    pub due_at: Timestamp,
    pub checked_at: Option<Timestamp>,
    published: Option<String>,
}

columns!(SenderDomainRow: institution = "institution_id", domain, due_at, checked_at, published);

impl SenderDomainRow {
    /// What was found; `None` before the first look-up, and for what another version stored.
    pub fn published(&self) -> Option<Published> {
        serde_json::from_str(self.published.as_deref()?).ok()
    }
}

impl Store {
    /// Takes the domains from the mailboxes: new ones are due now, unused ones go.
    pub async fn collect_sender_domains(&self, now: Timestamp) -> Result<()> {
        let position = match self.backend() {
            DatabaseKind::Sqlite => "instr",
            DatabaseKind::Postgres => "strpos",
        };
        // The name is a constant of this file.
        let collect = format!(
            "INSERT INTO sender_domains (institution_id, domain, mailboxes, due_at)
             SELECT institution_id, substr(address_key, {position}(address_key, '@') + 1), COUNT(*), $1
             FROM mailboxes WHERE {position}(address_key, '@') > 1 GROUP BY 1, 2
             ON CONFLICT (institution_id, domain) DO UPDATE SET mailboxes = excluded.mailboxes"
        );
        execute!(&self.writes, sqlx::AssertSqlSafe(collect); now)?;
        let forget = format!(
            "DELETE FROM sender_domains WHERE NOT EXISTS (SELECT 1 FROM mailboxes m WHERE m.institution_id = sender_domains.institution_id
              AND substr(m.address_key, {position}(m.address_key, '@') + 1) = sender_domains.domain)"
        );
        execute!(&self.writes, sqlx::AssertSqlSafe(forget))
    }

    /// The domains of an institution's mailboxes, in lower case.
    pub async fn mailbox_domains(&self, institution: InstitutionId) -> Result<Vec<String>> {
        let keys: Vec<String> = fetch_all!(&self.reads,
            "SELECT DISTINCT address_key FROM mailboxes WHERE institution_id = $1"; institution
        )?;
        let domains = keys.iter().filter_map(|key| key.rsplit_once('@')).map(|(_, domain)| domain.to_owned());
        Ok(domains.collect::<std::collections::BTreeSet<_>>().into_iter().collect())
    }

    /// The domains that most mailboxes have.
    pub async fn sender_domains(&self, institution: InstitutionId, limit: i64) -> Result<Vec<SenderDomainRow>> {
        fetch_all!(&self.reads,
            select::<SenderDomainRow>("FROM sender_domains WHERE institution_id = $1 ORDER BY mailboxes DESC, domain LIMIT $2");
            institution, limit
        )
    }

    pub async fn due_sender_domains(&self, now: Timestamp, limit: i64) -> Result<Vec<SenderDomainRow>> {
        fetch_all!(&self.reads,
            select::<SenderDomainRow>("FROM sender_domains WHERE due_at <= $1 ORDER BY due_at LIMIT $2"); now, limit
        )
    }

    /// Claims a look-up by setting when the next is due. `false`: another replica has it.
    pub async fn claim_sender_domain(&self, row: &SenderDomainRow, next: Timestamp) -> Result<bool> {
        let claimed = changed!(&self.writes,
            "UPDATE sender_domains SET due_at = $1 WHERE institution_id = $2 AND domain = $3 AND due_at = $4";
            next, row.institution, row.domain.as_str(), row.due_at
        )?;
        Ok(claimed == 1)
    }

    pub async fn put_published(
        &self,
        row: &SenderDomainRow,
        published: &Published,
        now: Timestamp,
        next: Timestamp,
    ) -> Result<()> {
        execute!(&self.writes,
            "UPDATE sender_domains SET published = $1, checked_at = $2, due_at = $3 WHERE institution_id = $4 AND domain = $5";
            serde_json::to_string(published).unwrap_or_default(), now, next, row.institution, row.domain.as_str()
        )
    }
}
