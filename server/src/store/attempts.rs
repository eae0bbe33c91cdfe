//! Connection attempts and their checks.

use crate::diagnosis::Fault;
use crate::store::sql::{changed, columns, execute, fetch_all, fetch_optional, returning, select};
use app::model::{
    AttemptId, AttemptKind, CheckKind, CheckStatus, InstitutionId, MailboxId, Outcome, Stage, Timestamp, UserId,
};

use super::{AppKey, Page, Result, Store, Tx};

/// Automatic attempts kept per person; older ones are deleted. Attempts started by people are all kept.
const KEPT: i64 = 200;
/// How long an attempt may wait for the start of its checks, in milliseconds.
const READY_MS: i64 = 60 * 60 * 1000;

#[derive(Debug, Clone)]
pub struct Attempt {
    pub id: AttemptId,
    pub institution: InstitutionId,
    pub user: UserId,
    pub kind: AttemptKind,
    pub stage: Stage,
    pub address: String,
    /// Only an arrived message proves the address.
    pub prove_address: bool,
    pub automatic: bool,
    pub app: AppKey,
    /// SHA-256 of the browser's cookie.
    pub browser_sha256: Option<String>,
    /// The sealed PKCE verifier.
    pub verifier_sealed: Option<String>,
    pub nonce_sealed: Option<String>,
    /// The sealed refresh token, while the user decides or an address is being proven.
    pub grant_sealed: Option<String>,
    /// Expiry of `grant_sealed`.
    pub grant_expires_at: Option<Timestamp>,
    pub sign_in_name: String,
    /// The Microsoft account: `oid@tid`.
    pub subject: String,
    pub mailbox: Option<MailboxId>,
    pub outcome: Outcome,
    pub created_at: Timestamp,
    /// Deadline for the redirect from Microsoft.
    pub callback_expires_at: Timestamp,
    /// Lease of the run.
    pub lease_until: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

/// What a sign-in at Microsoft is bound to.
#[derive(Debug, Clone)]
pub struct NewSignIn {
    pub state_sha256: String,
    pub browser_sha256: String,
    pub verifier_sealed: String,
    pub nonce_sealed: String,
}

#[derive(Debug, Clone)]
pub struct NewAttempt {
    pub id: AttemptId,
    pub user: UserId,
    pub kind: AttemptKind,
    /// `signing_in`, or `ready` with a stored grant.
    pub stage: Stage,
    pub address: String,
    pub automatic: bool,
    pub app: AppKey,
    pub sign_in: Option<NewSignIn>,
    pub mailbox: Option<(MailboxId, String)>,
    /// Deadline for the redirect from Microsoft.
    pub callback_expires_at: Timestamp,
}

/// State of an attempt that waits for a decision or for its checks.
#[derive(Debug, Clone)]
pub struct Resting {
    pub stage: Stage,
    pub address: String,
    /// Only an arrived message proves it.
    pub prove_address: bool,
    pub sign_in_name: String,
    /// `oid@tid`.
    pub subject: String,
    /// The sealed grant, if no mailbox has it.
    pub grant_sealed: Option<String>,
    pub grant_expires_at: Option<Timestamp>,
    pub mailbox: Option<MailboxId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub kind: CheckKind,
    pub status: CheckStatus,
    pub detail: String,
    pub duration_ms: Option<i64>,
    pub fault: Option<Fault>,
}

columns!(Attempt: id, institution = "institution_id", user = "user_id", kind, stage, address, prove_address, automatic,
    app = "client_id, tenant_id, cloud", browser_sha256, verifier_sealed, nonce_sealed, grant_sealed, grant_expires_at, sign_in_name, subject,
    mailbox = "mailbox_id", outcome, created_at, callback_expires_at, lease_until, finished_at);
columns!(Check: kind = "c.kind", status, detail, duration_ms, fault);

fn position(kind: CheckKind) -> i64 {
    let position = CheckKind::ALL.iter().position(|one| *one == kind).unwrap_or_default();
    i64::try_from(position).unwrap_or_default()
}

impl Store {
    /// Stores an attempt and its seven waiting checks (none for consent). That of Graph is added where it is made.
    pub async fn add_attempt(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        new: &NewAttempt,
        now: Timestamp,
    ) -> Result<()> {
        let sign_in = new.sign_in.as_ref();
        execute!(&mut **tx,
            "INSERT INTO attempts (id, institution_id, user_id, kind, stage, address, automatic, client_id, tenant_id, state_sha256,
               browser_sha256, verifier_sealed, nonce_sealed, mailbox_id, sign_in_name, created_at, callback_expires_at,
               cloud)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)";
            new.id, institution, new.user, new.kind, new.stage, new.address, new.automatic, new.app.client_id,
            new.app.tenant_id, sign_in.map(|sign_in| &sign_in.state_sha256), sign_in.map(|sign_in| &sign_in.browser_sha256),
            sign_in.map(|sign_in| &sign_in.verifier_sealed), sign_in.map(|sign_in| &sign_in.nonce_sealed), new.mailbox.as_ref().map(|(id, _)| id.to_string()),
            new.mailbox.as_ref().map_or("", |(_, name)| name.as_str()), now, new.callback_expires_at,
            new.app.cloud
        )?;
        if new.kind != AttemptKind::Consent {
            for kind in CheckKind::ALL.into_iter().filter(|kind| *kind != CheckKind::Graph) {
                execute!(&mut **tx,
                    "INSERT INTO checks (attempt_id, position, kind, status) VALUES ($1, $2, $3, 'waiting')";
                    new.id, position(kind), kind
                )?;
            }
        }
        Ok(())
    }

    /// Uses up a state: returns its attempt once.
    pub async fn take_state(&self, institution: InstitutionId, state_sha256: &str) -> Result<Option<Attempt>> {
        fetch_optional!(&self.writes,
            returning::<Attempt>(
                "UPDATE attempts SET state_sha256 = NULL WHERE institution_id = $1 AND state_sha256 = $2 AND stage = 'signing_in'"
            );
            institution, state_sha256
        )
    }

    pub async fn attempt(&self, institution: InstitutionId, attempt_id: AttemptId) -> Result<Option<Attempt>> {
        fetch_optional!(&self.reads,
            select::<Attempt>("FROM attempts WHERE institution_id = $1 AND id = $2");
            institution, attempt_id
        )
    }

    /// A person's attempts for their own mailboxes before a time, newest first.
    pub async fn attempts_of(&self, institution: InstitutionId, user_id: UserId, page: Page) -> Result<Vec<Attempt>> {
        fetch_all!(&self.reads,
            select::<Attempt>("FROM attempts
             WHERE institution_id = $1 AND user_id = $2 AND kind = 'personal' AND created_at < $3 ORDER BY created_at DESC, id LIMIT $4");
            institution, user_id, page.before, page.limit
        )
    }

    /// The institution's attempts for notifications before a time, newest first.
    pub async fn notification_attempts(&self, institution: InstitutionId, page: Page) -> Result<Vec<Attempt>> {
        fetch_all!(&self.reads,
            select::<Attempt>("FROM attempts
             WHERE institution_id = $1 AND kind IN ('notifications', 'pair') AND created_at < $2 ORDER BY created_at DESC, id LIMIT $3");
            institution, page.before, page.limit
        )
    }

    /// Moves an attempt to its next stage with the result of the sign-in; deletes verifier and nonce. `false`: it has ended meanwhile
    /// (the user was disabled, or it expired) and must stay so.
    pub async fn rest_attempt(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        attempt_id: AttemptId,
        rest: &Resting,
    ) -> Result<bool> {
        let rows = changed!(&mut **tx,
            "UPDATE attempts SET stage = $1, address = $2, prove_address = $3, sign_in_name = $4, subject = $5, grant_sealed = $6,
               grant_expires_at = $7, mailbox_id = $8, verifier_sealed = NULL, nonce_sealed = NULL, browser_sha256 = NULL
             WHERE institution_id = $9 AND id = $10 AND stage <> 'finished'";
            rest.stage, rest.address, rest.prove_address, rest.sign_in_name, rest.subject, rest.grant_sealed,
            rest.grant_expires_at, rest.mailbox, institution, attempt_id
        )?;
        Ok(rows == 1)
    }

    /// Moves an attempt out of stage `from`, if it is there: of two requests only one succeeds.
    pub async fn move_attempt(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        attempt_id: AttemptId,
        from: Stage,
        to: Stage,
    ) -> Result<bool> {
        let rows = changed!(&mut **tx,
            "UPDATE attempts SET stage = $1 WHERE institution_id = $2 AND id = $3 AND stage = $4";
            to, institution, attempt_id, from
        )?;
        Ok(rows == 1)
    }

    /// Starts the run of a ready attempt for one caller.
    pub async fn lease_attempt(
        &self,
        institution: InstitutionId,
        attempt_id: AttemptId,
        until: Timestamp,
    ) -> Result<bool> {
        let rows = changed!(&self.writes,
            "UPDATE attempts SET stage = 'running', lease_until = $1 WHERE institution_id = $2 AND id = $3 AND stage = 'ready'";
            until, institution, attempt_id
        )?;
        Ok(rows == 1)
    }

    /// Ends an attempt and deletes its sealed values.
    pub async fn finish_attempt(
        &self,
        institution: InstitutionId,
        attempt_id: AttemptId,
        outcome: Outcome,
        now: Timestamp,
    ) -> Result<()> {
        execute!(&self.writes,
            "UPDATE attempts SET stage = 'finished', outcome = $1, finished_at = $2, grant_sealed = NULL, verifier_sealed = NULL,
               nonce_sealed = NULL, state_sha256 = NULL, lease_until = NULL
                WHERE institution_id = $3 AND id = $4 AND stage <> 'finished'";
            outcome, now, institution, attempt_id
        )
    }

    /// Ends every open attempt of a person and deletes their sealed values.
    pub async fn abandon_attempts_of(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        user_id: UserId,
        now: Timestamp,
    ) -> Result<()> {
        execute!(&mut **tx,
            "UPDATE attempts SET stage = 'finished', outcome = 'abandoned', finished_at = $1, grant_sealed = NULL, verifier_sealed = NULL,
               nonce_sealed = NULL, state_sha256 = NULL WHERE institution_id = $2 AND user_id = $3 AND stage <> 'finished'";
            now, institution, user_id
        )
    }

    /// Ends abandoned attempts: sign-ins without a redirect, decisions not made, runs whose process died.
    /// Also deletes old attempts beyond those kept per person.
    pub async fn sweep_attempts(&self, now: Timestamp) -> Result<()> {
        execute!(&self.writes,
            "UPDATE attempts SET stage = 'finished', outcome = 'abandoned', finished_at = $1, grant_sealed = NULL, verifier_sealed = NULL,
               nonce_sealed = NULL, state_sha256 = NULL
             WHERE (stage = 'signing_in' AND callback_expires_at < $1) OR (stage IN ('deciding', 'ready')
              AND grant_expires_at < $1)
                OR (stage = 'running' AND lease_until < $1) OR (stage = 'ready' AND created_at < $2)";
            now, now.plus_ms(-READY_MS)
        )?;
        let mut tx = self.begin().await?;
        let old =
            "SELECT id FROM attempts a WHERE stage = 'finished' AND automatic = 1 AND (SELECT COUNT(*) FROM attempts b
             WHERE b.institution_id = a.institution_id AND b.user_id = a.user_id AND b.automatic = 1
              AND b.created_at > a.created_at) >= $1";
        execute!(&mut *tx, sqlx::AssertSqlSafe(format!("DELETE FROM checks WHERE attempt_id IN ({old})")); KEPT)?;
        execute!(&mut *tx, sqlx::AssertSqlSafe(format!("DELETE FROM attempts WHERE id IN ({old})")); KEPT)?;
        tx.commit().await
    }

    /// The checks of an attempt, in order.
    pub async fn checks(&self, institution: InstitutionId, attempt_id: AttemptId) -> Result<Vec<Check>> {
        fetch_all!(&self.reads,
            select::<Check>("FROM checks c JOIN attempts a ON a.id = c.attempt_id
             WHERE a.institution_id = $1 AND c.attempt_id = $2 ORDER BY c.position");
            institution, attempt_id
        )
    }

    /// Adds a waiting check in its place.
    pub async fn add_check(&self, attempt_id: AttemptId, kind: CheckKind) -> Result<()> {
        execute!(&self.writes,
            "INSERT INTO checks (attempt_id, position, kind, status) VALUES ($1, $2, $3, 'waiting')";
            attempt_id, position(kind), kind
        )
    }

    pub async fn put_check(&self, institution: InstitutionId, attempt_id: AttemptId, check: &Check) -> Result<()> {
        execute!(&self.writes,
            "UPDATE checks SET status = $1, detail = $2, duration_ms = $3, fault = $4 WHERE attempt_id = $5 AND kind = $6
             AND EXISTS (SELECT 1 FROM attempts WHERE id = $5 AND institution_id = $7)";
            check.status, check.detail, check.duration_ms, check.fault, attempt_id, check.kind, institution
        )
    }
}
