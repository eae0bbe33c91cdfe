//! Programs and devices, their passwords, and the receipts of their messages.

use app::model::{DeliveryId, DeviceId, DeviceSettings, InstitutionId, LogPlace, RelayEvent, Timestamp, UserId};
use std::collections::HashSet;
use uuid::Uuid;

use super::sql::{Columns, changed, columns, execute, execute_rows, fetch_all, fetch_optional, insert_rows, select};
use super::{DatabaseKind, Delivery, Result, Store, Tx};

#[derive(Debug, Clone)]
pub struct Device {
    pub id: DeviceId,
    pub institution: InstitutionId,
    pub login: String,
    pub settings: DeviceSettings,
    pub paused: bool,
    pub created_at: Timestamp,
    pub last_used_at: Option<Timestamp>,
    pub last_used_from: String,
    /// Whose program it is; none: the institution's.
    pub owner: Option<UserId>,
}

columns!(DeviceSettings: name, kind, mailbox, sender_rule, display_name, recipients, recipient_list, messages_per_hour, contact,
    networks, by_address, ask_first, expires_on);
// A person's program stops with the institution's permission, and with the person.
columns!(Device: id = "devices.id", institution = "devices.institution_id", login,
    settings = "name, kind, mailbox, sender_rule, display_name, recipients, recipient_list, messages_per_hour, contact,
    networks, by_address, ask_first, expires_on", paused = "CASE WHEN paused = 1 OR (owner_id IS NOT NULL AND (
      COALESCE((SELECT own_programs FROM email_settings s WHERE s.institution_id = devices.institution_id), 0) = 0
      OR EXISTS (SELECT 1 FROM users u WHERE u.id = devices.owner_id AND u.disabled_at IS NOT NULL))) THEN 1 ELSE 0 END", created_at = "devices.created_at", last_used_at, last_used_from, owner = "owner_id");

#[derive(Debug, Clone)]
pub struct DevicePassword {
    pub id: Uuid,
    pub sha256: String,
    pub prefix: String,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
}

columns!(DevicePassword: id, sha256, prefix, created_at, expires_at);

/// A line of the relay's log.
#[derive(Debug, Clone)]
pub struct RelayEntry {
    pub id: Uuid,
    pub institution: InstitutionId,
    pub device: Option<DeviceId>,
    pub at: Timestamp,
    pub address: String,
    pub event: RelayEvent,
}

columns!(RelayEntry: id, institution = "institution_id", device = "device_id", at, address, event);

impl Store {
    /// Fails with a duplicate if the login exists.
    pub async fn add_device(&self, tx: &mut Tx, new: &Device) -> Result<()> {
        let DeviceSettings {
            name,
            kind,
            mailbox,
            sender_rule,
            display_name,
            recipients,
            recipient_list,
            messages_per_hour,
            contact,
            networks,
            by_address,
            ask_first,
            expires_on,
        } = &new.settings;
        execute!(&mut **tx,
            "INSERT INTO devices (id, institution_id, name, login, kind, mailbox, mailbox_key, sender_rule, display_name,
               recipients, recipient_list, messages_per_hour, contact, networks, by_address, ask_first, expires_on, created_at,
               owner_id)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)";
            new.id, new.institution, name, new.login, *kind, mailbox, mailbox.to_lowercase(), *sender_rule, display_name,
            *recipients, recipient_list.join("\n"), *messages_per_hour, contact, networks.join("\n"), *by_address, *ask_first,
            expires_on.clone(), new.created_at, new.owner
        )
    }

    pub async fn set_device(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        device: DeviceId,
        new: &DeviceSettings,
    ) -> Result<()> {
        let DeviceSettings {
            name,
            kind,
            mailbox,
            sender_rule,
            display_name,
            recipients,
            recipient_list,
            messages_per_hour,
            contact,
            networks,
            by_address,
            ask_first,
            expires_on,
        } = new;
        execute!(&mut **tx,
            "UPDATE devices SET name = $3, kind = $4, mailbox = $5, mailbox_key = $6, sender_rule = $7, display_name = $8, recipients = $9,
               recipient_list = $10, messages_per_hour = $11, contact = $12, networks = $13, by_address = $14, ask_first = $15, expires_on = $16
             WHERE institution_id = $1 AND id = $2";
            institution, device, name, *kind, mailbox, mailbox.to_lowercase(), *sender_rule, display_name, *recipients,
            recipient_list.join("\n"), *messages_per_hour, contact, networks.join("\n"), *by_address, *ask_first, expires_on.clone()
        )
    }

    pub async fn pause_device(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        device: DeviceId,
        paused: bool,
    ) -> Result<()> {
        execute!(&mut **tx,
            "UPDATE devices SET paused = $3 WHERE institution_id = $1 AND id = $2"; institution, device, paused
        )
    }

    /// Its messages stay.
    pub async fn drop_device(&self, tx: &mut Tx, institution: InstitutionId, device: DeviceId) -> Result<()> {
        for statement in [
            "UPDATE deliveries SET told = 1 WHERE institution_id = $1 AND device_id = $2 AND told = 0",
            "DELETE FROM device_notices WHERE device_id IN (SELECT id FROM devices WHERE institution_id = $1 AND id = $2)",
            "DELETE FROM device_passwords WHERE device_id IN (SELECT id FROM devices WHERE institution_id = $1 AND id = $2)",
            "DELETE FROM relay_log WHERE institution_id = $1 AND device_id = $2",
            "DELETE FROM devices WHERE institution_id = $1 AND id = $2",
        ] {
            execute!(&mut **tx, statement; institution, device)?;
        }
        Ok(())
    }

    pub async fn devices(&self, institution: InstitutionId, limit: i64) -> Result<Vec<Device>> {
        fetch_all!(&self.reads,
            select::<Device>("FROM devices WHERE institution_id = $1 ORDER BY name, id LIMIT $2"); institution, limit
        )
    }

    /// A person's programs.
    pub async fn devices_of(&self, institution: InstitutionId, owner: UserId) -> Result<Vec<Device>> {
        fetch_all!(&self.reads,
            select::<Device>("FROM devices WHERE institution_id = $1 AND owner_id = $2 ORDER BY name, id"); institution, owner
        )
    }

    pub async fn device_logins(&self, institution: InstitutionId) -> Result<HashSet<String>> {
        let all: Vec<String> =
            fetch_all!(&self.reads, "SELECT login FROM devices WHERE institution_id = $1"; institution)?;
        Ok(all.into_iter().collect())
    }

    /// Whether people may add programs for their own mailboxes.
    pub async fn own_programs(&self, institution: InstitutionId) -> Result<bool> {
        let allowed: Option<bool> = fetch_optional!(&self.reads,
            "SELECT own_programs FROM email_settings WHERE institution_id = $1"; institution
        )?;
        Ok(allowed.unwrap_or_default())
    }

    /// `false`: email is not set up.
    pub async fn set_own_programs(&self, tx: &mut Tx, institution: InstitutionId, allowed: bool) -> Result<bool> {
        let changed = changed!(&mut **tx,
            "UPDATE email_settings SET own_programs = $2 WHERE institution_id = $1"; institution, allowed
        )?;
        Ok(changed > 0)
    }

    pub async fn device(&self, institution: InstitutionId, device: DeviceId) -> Result<Option<Device>> {
        fetch_optional!(&self.reads,
            select::<Device>("FROM devices WHERE institution_id = $1 AND id = $2"); institution, device
        )
    }

    /// The same within a transaction, which others that use the device wait for: its messages are counted one after the other.
    pub async fn device_within(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        device: DeviceId,
    ) -> Result<Option<Device>> {
        if self.backend() == DatabaseKind::Postgres {
            let _: Option<DeviceId> = fetch_optional!(&mut **tx,
                "SELECT id FROM devices WHERE institution_id = $1 AND id = $2 FOR UPDATE";
                institution, device
            )?;
        }
        fetch_optional!(&mut **tx, select::<Device>("FROM devices WHERE institution_id = $1 AND id = $2"); institution, device)
    }

    /// The device with a password, whose institution is not known yet.
    pub async fn device_by_password(&self, sha256: &str) -> Result<Option<(Device, DevicePassword)>> {
        let found: Option<DevicePassword> = fetch_optional!(&self.reads,
            select::<DevicePassword>("FROM device_passwords WHERE sha256 = $1"); sha256
        )?;
        let Some(password) = found else { return Ok(None) };
        let device: Option<Device> = fetch_optional!(&self.reads,
            select::<Device>("FROM devices WHERE id = (SELECT device_id FROM device_passwords WHERE sha256 = $1)"); sha256
        )?;
        Ok(device.map(|device| (device, password)))
    }

    /// Devices that a user name may mean: a login with the slug of its institution, or the address of a mailbox.
    pub async fn devices_named(&self, user_name: &str, limit: i64) -> Result<Vec<Device>> {
        let name = user_name.to_lowercase();
        let (login, slug) = name.rsplit_once('@').unwrap_or((&name, ""));
        fetch_all!(&self.reads,
            select::<Device>("FROM devices WHERE mailbox_key = $1
              OR (login = $2 AND institution_id = (SELECT id FROM institutions WHERE slug = $3)) LIMIT $4");
            name.as_str(), login, slug, limit
        )
    }

    /// Devices that are recognised by their address, of all institutions.
    pub async fn devices_by_address(&self) -> Result<Vec<Device>> {
        fetch_all!(&self.reads, select::<Device>("FROM devices WHERE by_address = 1"))
    }

    /// Devices with allowed networks, of all institutions.
    pub async fn devices_with_networks(&self) -> Result<Vec<Device>> {
        fetch_all!(&self.reads, select::<Device>("FROM devices WHERE networks <> ''"))
    }

    /// Devices that last came from an address: of all institutions, because a connection that fails early names none.
    pub async fn devices_last_from(&self, address: &str, limit: i64) -> Result<Vec<Device>> {
        fetch_all!(&self.reads,
            select::<Device>("FROM devices WHERE last_used_from = $1 ORDER BY last_used_at DESC LIMIT $2"); address, limit
        )
    }

    pub async fn note_device_used(
        &self,
        institution: InstitutionId,
        device: DeviceId,
        from: &str,
        now: Timestamp,
    ) -> Result<()> {
        execute!(&self.writes,
            "UPDATE devices SET last_used_at = $3, last_used_from = $4 WHERE institution_id = $1 AND id = $2";
            institution, device, now, from
        )
    }

    pub async fn add_device_password(&self, tx: &mut Tx, device: DeviceId, new: &DevicePassword) -> Result<()> {
        execute!(&mut **tx,
            "INSERT INTO device_passwords (id, device_id, sha256, prefix, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)";
            new.id, device, new.sha256, new.prefix, new.created_at, new.expires_at
        )
    }

    /// Its passwords end at a time, at the latest.
    pub async fn end_device_passwords(&self, tx: &mut Tx, device: DeviceId, at: Timestamp) -> Result<()> {
        execute!(&mut **tx,
            "UPDATE device_passwords SET expires_at = $2 WHERE device_id = $1 AND (expires_at IS NULL OR expires_at > $2)";
            device, at
        )
    }

    pub async fn device_passwords(&self, device: DeviceId) -> Result<Vec<DevicePassword>> {
        fetch_all!(&self.reads,
            select::<DevicePassword>("FROM device_passwords WHERE device_id = $1 ORDER BY created_at DESC"); device
        )
    }

    /// Whether a password is valid, read within a transaction.
    pub async fn password_is_valid(&self, tx: &mut Tx, sha256: &str, now: Timestamp) -> Result<bool> {
        let found: Option<i64> = fetch_optional!(&mut **tx,
            "SELECT 1 FROM device_passwords WHERE sha256 = $1 AND (expires_at IS NULL OR expires_at > $2)"; sha256, now
        )?;
        Ok(found.is_some())
    }

    /// A message whose answer the client may not have received. Returns the delivery that is queued for it already, if there is one.
    pub async fn put_receipt(
        &self,
        tx: &mut Tx,
        fingerprint: &str,
        delivery: DeliveryId,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Option<DeliveryId>> {
        // An older one is replaced.
        let new = changed!(&mut **tx,
            "INSERT INTO relay_receipts (fingerprint, delivery_id, at) VALUES ($1, $2, $3)
             ON CONFLICT (fingerprint) DO UPDATE SET delivery_id = $2, at = $3 WHERE relay_receipts.at < $4";
            fingerprint, delivery, now, since
        )?;
        if new > 0 {
            return Ok(None);
        }
        fetch_optional!(&mut **tx, "SELECT delivery_id FROM relay_receipts WHERE fingerprint = $1"; fingerprint)
    }

    /// The clients have received these answers.
    pub async fn drop_receipts(&self, receipts: &[(String, DeliveryId)]) -> Result<()> {
        execute_rows!(&self.writes,
            "DELETE FROM relay_receipts WHERE (fingerprint, delivery_id) IN (VALUES {})"; receipts, |receipt| receipt.0, receipt.1
        )
    }

    pub async fn add_relay_log(&self, entries: &[RelayEntry]) -> Result<()> {
        let mut tx = self.begin().await?;
        insert_rows!(&mut *tx,
            "INSERT INTO relay_log (id, institution_id, device_id, at, address, event) VALUES {}";
            entries, |entry| entry.id, entry.institution, entry.device, entry.at, entry.address, entry.event
        )?;
        tx.commit().await
    }

    /// Newest first; without a device, what belongs to none.
    pub async fn relay_log(
        &self,
        institution: InstitutionId,
        device: Option<DeviceId>,
        before: LogPlace,
        limit: i64,
    ) -> Result<Vec<RelayEntry>> {
        match device {
            Some(device) => fetch_all!(&self.reads,
                select::<RelayEntry>("FROM relay_log WHERE institution_id = $1 AND device_id = $2 AND at <= $3 AND (at < $3 OR id < $4)
                 ORDER BY at DESC, id DESC LIMIT $5");
                institution, device, before.at, before.id, limit
            ),
            None => fetch_all!(&self.reads,
                select::<RelayEntry>("FROM relay_log WHERE institution_id = $1 AND device_id IS NULL AND at <= $2 AND (at < $2 OR id < $3)
                 ORDER BY at DESC, id DESC LIMIT $4");
                institution, before.at, before.id, limit
            ),
        }
    }

    /// The newest line of each device.
    pub async fn newest_relay_lines(&self, institution: InstitutionId) -> Result<Vec<RelayEntry>> {
        fetch_all!(&self.reads,
            select::<RelayEntry>("FROM relay_log WHERE institution_id = $1 AND id IN (
               SELECT (SELECT l.id FROM relay_log l WHERE l.institution_id = $1 AND l.device_id = d.id ORDER BY l.at DESC, l.id DESC LIMIT 1)
               FROM devices d WHERE d.institution_id = $1)");
            institution
        )
    }

    /// The first recipients of a device's messages since a time, in their order.
    pub async fn device_recipients(
        &self,
        institution: InstitutionId,
        device: DeviceId,
        since: Timestamp,
        most: i64,
    ) -> Result<Vec<(DeliveryId, String)>> {
        fetch_all!(&self.reads,
            "SELECT r.delivery_id, r.address FROM recipients r JOIN deliveries d ON d.id = r.delivery_id
             WHERE d.institution_id = $1 AND d.device_id = $2 AND d.created_at >= $3 AND r.position < $4 ORDER BY r.position";
            institution, device, since, most
        )
    }

    /// How many messages a device queued since a time.
    pub async fn device_messages_since(
        &self,
        tx: &mut Tx,
        institution: InstitutionId,
        device: DeviceId,
        since: Timestamp,
    ) -> Result<i64> {
        let found: Option<i64> = fetch_optional!(&mut **tx,
            "SELECT COUNT(*) FROM deliveries WHERE institution_id = $1 AND device_id = $2 AND created_at > $3";
            institution, device, since
        )?;
        Ok(found.unwrap_or_default())
    }

    /// Whether a Message-ID was used before; the column is unique.
    pub async fn message_id_is_used(&self, message_id: &str) -> Result<bool> {
        let found: Option<i64> =
            fetch_optional!(&self.reads, "SELECT 1 FROM deliveries WHERE message_id = $1"; message_id)?;
        Ok(found.is_some())
    }

    /// Failed messages of devices since a time whose contacts were not told.
    pub async fn failures_to_tell(
        &self,
        since: Timestamp,
        limit: i64,
    ) -> Result<Vec<(InstitutionId, DeviceId, Delivery)>> {
        let statement = format!(
            "SELECT institution_id, device_id, {} FROM deliveries WHERE device_id IS NOT NULL AND told = 0
             AND state IN ('failed', 'bounced', 'unknown') AND finished_at > $1 ORDER BY finished_at LIMIT $2",
            Delivery::COLUMNS.replace("body_sealed", "''")
        );
        fetch_all!(&self.reads, sqlx::AssertSqlSafe(statement); since, limit)
    }

    pub async fn note_failure_told(&self, tx: &mut Tx, institution: InstitutionId, delivery: DeliveryId) -> Result<()> {
        execute!(&mut **tx, "UPDATE deliveries SET told = 1 WHERE institution_id = $1 AND id = $2"; institution, delivery)
    }

    /// `false`: there was a notice of this cause on this day.
    pub async fn note_device_notice(&self, tx: &mut Tx, device: DeviceId, cause: &str, day: i64) -> Result<bool> {
        let new = changed!(&mut **tx,
            "INSERT INTO device_notices (device_id, cause, day) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"; device, cause, day
        )?;
        Ok(new > 0)
    }

    /// Deletes what devices sent, once it is known that it will not be sent again: scans are pupils' records.
    pub async fn drop_device_bodies(&self) -> Result<()> {
        execute!(
            &self.writes,
            "UPDATE deliveries SET body_sealed = '' WHERE device_id IS NOT NULL AND body_sealed <> '' AND finished_at IS NOT NULL"
        )
    }

    /// The certificate that the relay made for itself, and its sealed key.
    pub async fn relay_certificate(&self) -> Result<Option<(String, String)>> {
        fetch_optional!(&self.reads, "SELECT certificate, key_sealed FROM relay_certificates WHERE id = 'relay'")
    }

    /// Unless there is one.
    pub async fn add_relay_certificate(&self, certificate: &str, key_sealed: &str, now: Timestamp) -> Result<()> {
        execute!(&self.writes,
            "INSERT INTO relay_certificates (id, certificate, key_sealed, created_at) VALUES ('relay', $1, $2, $3) ON CONFLICT DO NOTHING";
            certificate, key_sealed, now
        )
    }

    /// A text that changes with the log of a device and the state of its messages.
    pub async fn device_version(&self, institution: InstitutionId, device: DeviceId) -> Result<String> {
        let line: Option<String> = fetch_optional!(&self.reads,
            "SELECT id FROM relay_log WHERE institution_id = $1 AND device_id = $2 ORDER BY at DESC, id DESC LIMIT 1";
            institution, device
        )?;
        let states: Vec<(String, i64)> = fetch_all!(&self.reads,
            "SELECT state, attempts FROM deliveries WHERE institution_id = $1 AND device_id = $2 ORDER BY created_at DESC LIMIT 20";
            institution, device
        )?;
        let states: Vec<String> = states.into_iter().map(|(state, attempts)| format!("{state}{attempts}")).collect();
        Ok(crate::clock::sha256(&format!("{line:?}{states:?}")))
    }

    pub async fn sweep_relay(&self, log: Timestamp, receipts: Timestamp, passwords: Timestamp) -> Result<()> {
        execute!(&self.writes, "DELETE FROM relay_log WHERE at < $1"; log)?;
        execute!(&self.writes, "DELETE FROM relay_receipts WHERE at < $1"; receipts)?;
        execute!(&self.writes, "DELETE FROM device_notices WHERE day < $1"; log.0.div_euclid(24 * 60 * 60 * 1000))?;
        execute!(&self.writes, "DELETE FROM device_passwords WHERE expires_at < $1"; passwords)
    }
}
