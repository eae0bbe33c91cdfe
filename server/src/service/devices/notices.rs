//! Tells the contact of a device of failures that came after the message was taken: one notice for each cause and day.

use app::model::{Timestamp, device_path};

use super::super::Services;
use super::submit::without_addresses;
use crate::diagnosis::Reader;
use crate::store::StoreError;

/// Failures that one round looks at.
const MOST: i64 = 200;
/// Older ones are past, in milliseconds: two days.
const RECENT_MS: i64 = 2 * 24 * 60 * 60 * 1000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

impl Services {
    pub(in crate::service) async fn tell_contacts(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let failed = self.store.failures_to_tell(now.plus_ms(-RECENT_MS), MOST).await?;
        for (institution, device, delivery) in failed {
            let row = self.store.institution(institution).await?;
            let device = self.store.device(institution, device).await?;
            let (Some(row), Some(device)) = (row, device) else {
                let mut tx = self.store.begin().await?;
                self.store.note_failure_told(&mut tx, institution, delivery.id).await?;
                tx.commit().await?;
                continue;
            };
            let institution = self.institution(row);
            let cause = delivery.fault.as_ref().map_or("unknown", |fault| fault.cause.as_str()).to_owned();
            let mut tx = self.store.begin().await?;
            // Told or not, it is looked at once.
            self.store.note_failure_told(&mut tx, institution.id, delivery.id).await?;
            let is_first = self.store.note_device_notice(&mut tx, device.id, &cause, day(now)).await?;
            if is_first && !device.settings.contact.is_empty() {
                let name = &device.settings.name;
                let reader =
                    Reader { administrator: true, address: device.settings.mailbox.clone(), ..Reader::default() };
                let told = delivery.fault.as_ref().map(|fault| fault.with_facts(without_addresses).explain(&reader));
                let why = told.map_or_else(
                    || without_addresses(&delivery.answer),
                    |told| format!("{} {}", told.title, told.summary),
                );
                let text = format!(
                    "Hello,\n\na message of {name} was taken by Entrepost and could not be delivered.\n\n{why}\n\nWhat to do is on its page:\n\n{}{}\n\nYou get this at most once a day for each kind of failure.\n",
                    institution.public_url,
                    device_path(device.id)
                );
                let subject = format!("{name}: a message was not delivered");
                match self.notification(&institution, &device.settings.contact, &subject, &text) {
                    Ok(message) => self.enqueue(&mut tx, &message).await?,
                    Err(error) => tracing::error!("cannot seal a notice: {error}"),
                }
            }
            tx.commit().await?;
            self.outbox.wake();
        }
        Ok(())
    }
}

fn day(at: Timestamp) -> i64 {
    at.0.div_euclid(DAY_MS)
}
