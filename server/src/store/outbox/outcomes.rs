//! Outcomes known after sending: bounces, cancel and retry, proof from Sent Items.

use crate::diagnosis::Fault;
use crate::store::sql::{changed, execute, fetch_all, fetch_one, fetch_optional};
use std::collections::HashSet;

use app::model::{DeliveryId, DeliveryState, InstitutionId, MailCounts, Timestamp, UserId};

use super::{SendQueue, put_queue};
use crate::message::FailedRecipient;
use crate::store::{Mailbox, Result, Store, Tx};

impl Store {
    /// Records a bounce that arrived in the mailbox a message was sent from (for notifications, the institution's): who did not get it,
    /// and why. A delivery still being sent counts as bounced once its sending ends. `false`: the message is unknown, or the report
    /// names none of its recipients.
    pub async fn bounce_delivery(
        &self,
        mailbox: &Mailbox,
        message_id: &str,
        failed: &[FailedRecipient],
        fault: &Fault,
        now: Timestamp,
    ) -> Result<bool> {
        let mut tx = self.begin().await?;
        let Some(failed) = named_recipients(&mut tx, mailbox, message_id, failed).await? else { return Ok(false) };
        let answer = failed.first().map(|first| format!("{}: {}", first.address, first.reason)).unwrap_or_default();
        // A second report may name other recipients; the first report's text is kept. The lock makes concurrent records visible.
        let bounced: Option<(DeliveryId, Option<UserId>)> = fetch_optional!(&mut *tx,
            "UPDATE deliveries SET bounce_answer = COALESCE(bounce_answer, $1), bounce_fault = COALESCE(bounce_fault, $2)
             WHERE institution_id = $3 AND (user_id = $4 OR device_id IS NOT NULL AND send_queue_id = $6 OR user_id IS NULL AND device_id IS NULL
               AND EXISTS (SELECT 1 FROM email_settings e WHERE e.institution_id = $3 AND e.notification_mailbox_id = $6))
               AND message_id = $5 AND state IN ('sent', 'unknown', 'bounced', 'queued', 'deferred', 'sending') RETURNING id, user_id";
            answer, fault, mailbox.institution, mailbox.user, message_id, mailbox.id
        )?;
        let Some((delivery_id, writer)) = bounced else { return Ok(false) };
        for FailedRecipient { address, reason } in &failed {
            execute!(&mut *tx,
                "UPDATE recipients SET state = 'refused', answer = $1 WHERE delivery_id = $2 AND address = $3";
                reason, delivery_id, address
            )?;
        }
        settle_returned(&mut tx, delivery_id, now).await?;
        tx.mail_changed(mailbox.institution, writer);
        tx.commit().await?;
        Ok(true)
    }

    /// Cancels a waiting delivery. If some recipients have it already, it counts as sent to them. Returns its new state; `None`: it
    /// was sent already, or belongs to another person.
    pub async fn cancel_delivery(
        &self,
        institution: InstitutionId,
        user_id: UserId,
        delivery_id: DeliveryId,
        now: Timestamp,
    ) -> Result<Option<DeliveryState>> {
        let mut tx = self.begin().await?;
        let state: Option<DeliveryState> = fetch_optional!(&mut *tx,
            "UPDATE deliveries SET finished_at = $1, answer = CASE WHEN attempts = 0 THEN '' ELSE answer END,
               state = CASE WHEN EXISTS (SELECT 1 FROM recipients WHERE delivery_id = deliveries.id AND state = 'accepted')
                 THEN 'sent' ELSE 'cancelled' END
             WHERE institution_id = $2 AND user_id = $3 AND id = $4 AND state IN ('queued', 'deferred') RETURNING state";
            now, institution, user_id, delivery_id
        )?;
        if state == Some(DeliveryState::Sent) {
            forget_sent(&mut tx, delivery_id, "cancelled before it was sent to them").await?;
        }
        tx.mail_changed(institution, user_id);
        tx.commit().await?;
        Ok(state)
    }

    /// Queues a delivery again at its writer's request; its age restarts. `false`: it belongs to another person, or is being sent.
    pub async fn retry_delivery(
        &self,
        institution: InstitutionId,
        user_id: UserId,
        delivery_id: DeliveryId,
        queue: &SendQueue,
        now: Timestamp,
    ) -> Result<bool> {
        let mut tx = self.begin().await?;
        put_queue(&mut tx, queue).await?;
        let rows = changed!(&mut *tx,
            "UPDATE deliveries SET state = 'queued', attempts = 0, next_attempt_at = $1, created_at = $1, aging_since = 0, finished_at = NULL,
               answer = '', fault = NULL, bounce_answer = NULL, bounce_fault = NULL, send_queue_id = $2
             WHERE institution_id = $3 AND user_id = $4 AND id = $5 AND state IN ('failed', 'cancelled', 'unknown')";
            now, queue.id, institution, user_id, delivery_id
        )?;
        if rows == 0 {
            return Ok(false);
        }
        execute!(&mut *tx,
            "UPDATE recipients SET state = 'pending', answer = '' WHERE delivery_id = $1 AND state IN ('refused', 'pending')";
            delivery_id
        )?;
        tx.mail_changed(institution, user_id);
        tx.commit().await?;
        Ok(true)
    }

    /// Records that an unknown delivery was found in Sent Items.
    pub async fn prove_sent(
        &self,
        institution: InstitutionId,
        delivery_id: DeliveryId,
        answer: &str,
        now: Timestamp,
    ) -> Result<bool> {
        let mut tx = self.begin().await?;
        let proven: Option<Option<UserId>> = fetch_optional!(&mut *tx,
            "UPDATE deliveries SET state = 'sent', answer = $1, fault = NULL, finished_at = $2
             WHERE institution_id = $3 AND id = $4 AND state = 'unknown' RETURNING user_id";
            answer, now, institution, delivery_id
        )?;
        if let Some(writer) = proven {
            // Recipients refused in that session have a reply recorded.
            execute!(&mut *tx,
                "UPDATE recipients SET state = CASE WHEN answer = '' THEN 'accepted' ELSE 'refused' END
                 WHERE delivery_id = $1 AND state = 'pending'";
                delivery_id
            )?;
            forget_sent(&mut tx, delivery_id, answer).await?;
            let recipients: i64 = fetch_one!(&mut *tx,
                "SELECT COUNT(*) FROM recipients WHERE delivery_id = $1 AND state = 'accepted'";
                delivery_id
            )?;
            tx.count_mail(institution, now, MailCounts { sent: 1, recipients, ..MailCounts::default() });
            settle_returned(&mut tx, delivery_id, now).await?;
            tx.mail_changed(institution, writer);
        }
        self.commit_and_tell(tx).await?;
        Ok(proven.is_some())
    }

    /// Kept notifications that did not arrive: address and reason, the newest per address.
    pub async fn undelivered_notifications(&self, institution: InstitutionId) -> Result<Vec<(String, String)>> {
        let all: Vec<(String, String)> = fetch_all!(&self.reads,
            "SELECT address, answer FROM (
              SELECT r.address, COALESCE(NULLIF(r.answer, ''), d.answer) AS answer, d.state, d.created_at,
               ROW_NUMBER() OVER (PARTITION BY LOWER(r.address) ORDER BY d.created_at DESC, d.id) AS nth
              FROM deliveries d JOIN recipients r ON r.delivery_id = d.id
              WHERE d.institution_id = $1 AND d.user_id IS NULL AND d.device_id IS NULL) AS newest
             WHERE nth = 1 AND state IN ('failed', 'bounced') ORDER BY created_at DESC";
            institution
        )?;
        let mut seen = HashSet::new();
        let undelivered = all.into_iter().filter(|(address, _)| seen.insert(address.to_lowercase())).collect();
        Ok(undelivered)
    }
}

impl Store {
    /// Forgets undelivered notifications to an address: the person signed in, or an administrator dismissed them.
    pub async fn forget_undelivered(&self, tx: &mut Tx, institution: InstitutionId, address: &str) -> Result<()> {
        let all: Vec<(DeliveryId, String)> = fetch_all!(&mut **tx,
            "SELECT d.id, r.address FROM deliveries d JOIN recipients r ON r.delivery_id = d.id
             WHERE d.institution_id = $1 AND d.user_id IS NULL AND d.device_id IS NULL AND d.state IN ('failed', 'bounced')";
            institution
        )?;
        for (delivery_id, _) in all.iter().filter(|(_, known)| known.to_lowercase() == address.to_lowercase()) {
            for delete in ["DELETE FROM recipients WHERE delivery_id = $1", "DELETE FROM deliveries WHERE id = $1"] {
                execute!(&mut **tx, delete; delivery_id)?;
            }
        }
        Ok(())
    }
}

/// A delivery with a bounce is bounced once its sending ended, or once no recipient is pending or in doubt. Until then it keeps its
/// state. The text of a person's message is kept.
pub(super) async fn settle_returned(tx: &mut Tx, delivery_id: DeliveryId, now: Timestamp) -> Result<()> {
    let settled: Option<InstitutionId> = fetch_optional!(&mut **tx,
        "UPDATE deliveries SET state = 'bounced', answer = bounce_answer, fault = bounce_fault, finished_at = $1,
             body_sealed = CASE WHEN user_id IS NULL THEN '' ELSE body_sealed END
         WHERE id = $2 AND bounce_fault IS NOT NULL AND (state = 'sent'
           OR state = 'unknown' AND NOT EXISTS (SELECT 1 FROM recipients
            WHERE delivery_id = $2 AND state = 'pending' AND answer = '')
           OR state IN ('queued', 'deferred') AND NOT EXISTS (SELECT 1 FROM recipients
            WHERE delivery_id = $2 AND state = 'pending')) RETURNING institution_id";
        now, delivery_id
    )?;
    if let Some(institution) = settled {
        tx.count_mail(institution, now, MailCounts { bounced: 1, ..MailCounts::default() });
        // Recipients refused in that session have a reply recorded.
        execute!(&mut **tx,
            "UPDATE recipients SET state = 'refused' WHERE delivery_id = $1 AND state = 'pending'";
            delivery_id
        )?;
    }
    Ok(())
}

/// The recipients of the message that a report names: anyone can forge one. For a message to one recipient, the report may
/// name the address that their mail is forwarded to.
async fn named_recipients(
    tx: &mut Tx,
    mailbox: &Mailbox,
    message_id: &str,
    failed: &[FailedRecipient],
) -> Result<Option<Vec<FailedRecipient>>> {
    let addresses: Vec<String> = fetch_all!(&mut **tx,
        "SELECT r.address FROM recipients r JOIN deliveries d ON d.id = r.delivery_id
         WHERE d.institution_id = $1 AND d.message_id = $2";
        mailbox.institution, message_id
    )?;
    let named = failed.iter().filter_map(|failed| {
        let known = addresses.iter().find(|known| known.to_lowercase() == failed.address.to_lowercase())?;
        Some(FailedRecipient { address: known.clone(), reason: failed.reason.clone() })
    });
    let named: Vec<_> = named.collect();
    Ok(match (named.is_empty(), addresses.as_slice(), failed.first()) {
        (false, ..) => Some(named),
        (true, [only], Some(FailedRecipient { address, reason })) => {
            Some(vec![FailedRecipient { address: only.clone(), reason: format!("{reason} ({address})") }])
        }
        _ => None,
    })
}

/// Finishes a sent delivery: pending recipients do not get it, and the text is kept only for those who did not.
pub(super) async fn forget_sent(tx: &mut Tx, delivery_id: DeliveryId, why: &str) -> Result<()> {
    execute!(&mut **tx,
        "UPDATE recipients SET state = 'refused', answer = CASE WHEN answer = '' THEN $1 ELSE answer END
         WHERE delivery_id = $2 AND state = 'pending'";
        why, delivery_id
    )?;
    execute!(&mut **tx,
        "UPDATE deliveries SET body_sealed = '' WHERE id = $1
           AND (user_id IS NULL OR NOT EXISTS (SELECT 1 FROM recipients WHERE delivery_id = $1 AND state = 'refused'))";
        delivery_id
    )?;
    Ok(())
}
