//! Counts of what became of messages, by the hour.

use std::ops::AddAssign;

use app::model::{InstitutionId, MailCounts, Timestamp};

use super::sql::{columns, execute, execute_parts, fetch_all, powers_of_two};
use super::{Result, Store, Tx};

pub(super) const HOUR_MS: i64 = 60 * 60 * 1000;

struct HourRow {
    hour: i64,
    sent: i64,
    recipients: i64,
    deferred: i64,
    failed: i64,
    bounced: i64,
}
columns!(HourRow: hour, sent, recipients, deferred, failed, bounced);

/// One institution in one hour.
struct Counted {
    institution: InstitutionId,
    hour: i64,
    counts: MailCounts,
}

impl Tx {
    /// Counts what became of a message. Written when the transaction is committed.
    pub(super) fn count_mail(&mut self, institution: InstitutionId, at: Timestamp, counts: MailCounts) {
        self.counted.entry((institution, at.0.div_euclid(HOUR_MS))).or_default().add_assign(counts);
    }

    /// Late, and in the order of institutions, as all transactions lock.
    pub(super) async fn put_counts(&mut self) -> Result<()> {
        let counted = std::mem::take(&mut self.counted).into_iter();
        let counted: Vec<Counted> =
            counted.map(|((institution, hour), counts)| Counted { institution, hour, counts }).collect();
        let parts = powers_of_two(&counted).map(<[_]>::iter);
        execute_parts!(&mut **self,
            "INSERT INTO mail_hours (institution_id, hour, sent, recipients, deferred, failed, bounced) VALUES {}
             ON CONFLICT (institution_id, hour) DO UPDATE SET sent = mail_hours.sent + excluded.sent,
               recipients = mail_hours.recipients + excluded.recipients, deferred = mail_hours.deferred + excluded.deferred,
               failed = mail_hours.failed + excluded.failed, bounced = mail_hours.bounced + excluded.bounced";
            parts, |row| row.institution, row.hour, row.counts.sent, row.counts.recipients, row.counts.deferred, row.counts.failed,
            row.counts.bounced
        )
    }
}

impl Store {
    /// Counts of an institution since a time, by the hour, oldest first. Hours without messages are left out.
    pub async fn mail_hours(
        &self,
        institution: InstitutionId,
        since: Timestamp,
    ) -> Result<Vec<(Timestamp, MailCounts)>> {
        let rows: Vec<HourRow> = fetch_all!(&self.reads,
            super::sql::select::<HourRow>("FROM mail_hours WHERE institution_id = $1 AND hour >= $2 ORDER BY hour");
            institution, since.0.div_euclid(HOUR_MS)
        )?;
        Ok(rows
            .into_iter()
            .map(|HourRow { hour, sent, recipients, deferred, failed, bounced }| {
                (Timestamp(hour * HOUR_MS), MailCounts { sent, recipients, deferred, failed, bounced })
            })
            .collect())
    }

    pub async fn sweep_mail_hours(&self, before: Timestamp) -> Result<()> {
        execute!(&self.writes, "DELETE FROM mail_hours WHERE hour < $1"; before.0.div_euclid(HOUR_MS))
    }
}
