//! The relay's log: written in groups beside the connections, which never wait for it.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use app::model::{DeliveryId, DeviceId, InstitutionId, RelayEvent, Timestamp};
use tokio::sync::mpsc;

use super::super::Services;
use crate::clock::Clock;
use crate::concurrency::window_counters::WindowCounters;
use crate::config::is_within;
use crate::store::{RelayEntry, StoreError};

/// Lines that wait to be written; more are dropped.
const WAITING: usize = 8_192;
const GROUP: usize = 256;
/// How long a group gathers.
const GATHER: Duration = Duration::from_millis(100);
/// Lines of one device, or of connections that belong to none, within an hour: a broken device must not fill the disk.
const MOST_OF_DEVICE: i64 = 5_000;
const MOST_OF_STRANGERS: i64 = 500;
/// Lines from one address whose device is not known, and such lines of all.
const MOST_OF_ADDRESS: i64 = 200;
const MOST_LOOKED_UP: i64 = 20_000;
const HOUR_MS: i64 = 60 * 60 * 1000;

/// Whom a line belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Device(InstitutionId, DeviceId),
    /// To an institution, and to none of its devices.
    Institution(InstitutionId),
    /// To the device that has the address, if one has.
    Address,
}

struct Line {
    origin: Origin,
    address: IpAddr,
    at: Timestamp,
    event: RelayEvent,
}

enum Item {
    Line(Line),
    /// An answer was received: a message like this one is another.
    Received(Receipt),
}

/// A message whose answer was received, by its fingerprint.
pub(super) type Receipt = (String, DeliveryId);

/// The writing end.
pub struct RelayLog {
    clock: Clock,
    lines: mpsc::Sender<Item>,
    /// Taken by the task that writes.
    waiting: std::sync::Mutex<Option<mpsc::Receiver<Item>>>,
    counts: WindowCounters,
    /// Receipts that are being deleted.
    received: std::sync::Mutex<HashSet<Receipt>>,
}

impl RelayLog {
    pub fn new(clock: Clock) -> Self {
        let (lines, waiting) = mpsc::channel(WAITING);
        Self {
            clock,
            lines,
            waiting: std::sync::Mutex::new(Some(waiting)),
            counts: WindowCounters::default(),
            received: std::sync::Mutex::default(),
        }
    }

    pub fn write(&self, origin: Origin, address: IpAddr, event: RelayEvent) {
        let line = Line { origin, address: address.to_canonical(), at: self.clock.now(), event };
        if self.lines.try_send(Item::Line(line)).is_err() {
            tracing::warn!("a line of the relay's log is dropped: too many wait");
        }
    }

    fn receipts(&self) -> std::sync::MutexGuard<'_, HashSet<Receipt>> {
        self.received.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A receipt that finds no room here ends by its age.
    pub(super) fn note_received(&self, receipt: Receipt) {
        if self.lines.try_send(Item::Received(receipt.clone())).is_ok() {
            self.receipts().insert(receipt);
        }
    }

    /// Whether an answer was received, and its receipt is not deleted yet.
    pub(super) fn was_received(&self, receipt: &Receipt) -> bool {
        self.receipts().contains(receipt)
    }

    fn has_room(&self, subject: &str, most: i64) -> bool {
        let now = self.clock.now();
        self.counts.count(subject, now, now.plus_ms(-HOUR_MS)).0 <= most
    }
}

impl Services {
    /// Writes the relay's log until the server stops.
    pub async fn write_relay_log(self: Arc<Self>) {
        let taken = self.relay_log.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let Some(mut waiting) = taken else { return };
        let mut group = Vec::with_capacity(GROUP);
        loop {
            tokio::select! {
                count = waiting.recv_many(&mut group, GROUP) => {
                    if count == 0 {
                        return;
                    }
                    if count < GROUP {
                        tokio::time::sleep(GATHER).await;
                        while group.len() < GROUP && let Ok(more) = waiting.try_recv() {
                            group.push(more);
                        }
                    }
                }
                () = self.stop.cancelled() => {
                    waiting.close();
                    while waiting.recv_many(&mut group, GROUP).await > 0 {
                        self.write_group(std::mem::take(&mut group)).await;
                    }
                    return;
                }
            }
            self.write_group(std::mem::take(&mut group)).await;
        }
    }

    async fn write_group(&self, group: Vec<Item>) {
        let (mut lines, mut received) = (Vec::new(), Vec::new());
        for item in group {
            match item {
                Item::Line(line) => lines.push(line),
                Item::Received(receipt) => received.push(receipt),
            }
        }
        self.drop_receipts(received).await;
        let written = async {
            let mut entries = Vec::new();
            for line in lines {
                if let Some((institution, device)) = self.owner_of(&line).await? {
                    entries.push(Self::entry(institution, device, line));
                }
            }
            if entries.is_empty() { Ok::<_, StoreError>(()) } else { self.store.add_relay_log(&entries).await }
        };
        if let Err(error) = written.await {
            tracing::error!("cannot write the relay's log: {error}");
        }
    }

    async fn drop_receipts(&self, received: Vec<Receipt>) {
        if received.is_empty() {
            return;
        }
        if let Err(error) = self.store.drop_receipts(&received).await {
            tracing::error!("cannot delete receipts of messages: {error}");
            // They are tried again; until then they are known here.
            received.into_iter().for_each(|receipt| self.relay_log.note_received(receipt));
            return;
        }
        let mut kept = self.relay_log.receipts();
        for receipt in &received {
            kept.remove(receipt);
        }
    }

    fn entry(institution: InstitutionId, device: Option<DeviceId>, line: Line) -> RelayEntry {
        RelayEntry {
            // In the order of writing.
            id: uuid::Uuid::now_v7(),
            institution,
            device,
            at: line.at,
            address: line.address.to_string(),
            event: line.event,
        }
    }

    /// Whom a line is shown to. `None`: nobody can be told, or too many were written.
    async fn owner_of(&self, line: &Line) -> Result<Option<(InstitutionId, Option<DeviceId>)>, StoreError> {
        let owner = match line.origin {
            Origin::Device(institution, device) => Some((institution, Some(device))),
            Origin::Institution(institution) => Some((institution, None)),
            // Each is looked up: one address must not use up what others may cause.
            Origin::Address
                if !self.relay_log.has_room(&format!("from {}", line.address), MOST_OF_ADDRESS)
                    || !self.relay_log.has_room("strangers", MOST_LOOKED_UP) =>
            {
                return Ok(None);
            }
            Origin::Address => self.device_at(line.address).await?,
        };
        let Some((institution, device)) = owner else {
            tracing::debug!(address = %line.address, "relay: a connection that belongs to no device {}", line.event.words());
            return Ok(None);
        };
        let (subject, most) = match device {
            Some(device) => (device.to_string(), MOST_OF_DEVICE),
            None => (institution.to_string(), MOST_OF_STRANGERS),
        };
        Ok(owner.filter(|_| self.relay_log.has_room(&subject, most)))
    }

    /// The device that has an address: the only one that last came from it, or whose networks contain it. Otherwise the institution
    /// that the operator allowed it for, or the only one of this server.
    async fn device_at(&self, address: IpAddr) -> Result<Option<(InstitutionId, Option<DeviceId>)>, StoreError> {
        let mut here = self.store.devices_last_from(&address.to_string(), 2).await?;
        if here.is_empty() {
            here = self.store.devices_with_networks().await?;
            here.retain(|device| is_within(&device.settings.networks, address));
        }
        match here.as_slice() {
            [one] => return Ok(Some((one.institution, Some(one.id)))),
            [first, rest @ ..] if rest.iter().all(|device| device.institution == first.institution) => {
                return Ok(Some((first.institution, None)));
            }
            _ => {}
        }
        let mut named = self.config.relay.plain_allow.iter().filter(|allowed| allowed.network.contains(&address));
        if let Some(slug) = named.find_map(|allowed| allowed.institution.as_deref())
            && let Some(row) = self.store.institution_by_slug(slug).await?
        {
            return Ok(Some((row.id, None)));
        }
        let all = self.store.institutions().await?;
        Ok(match all.as_slice() {
            [only] => Some((only.id, None)),
            _ => None,
        })
    }
}
