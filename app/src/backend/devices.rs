use async_trait::async_trait;

use super::{Administrator, MailOwner, MailStream, Result, SignedIn};
use crate::model::{DeviceForm, DeviceId, DeviceView, LogPlace, MailboxId, Notice, OwnProgramsView, ProgramsView};

/// What becomes of a saved device.
pub struct SavedDevice {
    pub id: DeviceId,
    pub notice: Notice,
}

/// Programs and devices that send through the relay.
#[async_trait]
pub trait Devices: Send + Sync {
    /// `before`: where the log begins.
    async fn programs(&self, admin: &Administrator, before: LogPlace) -> Result<ProgramsView>;
    async fn device(&self, admin: &Administrator, device: DeviceId, before: LogPlace) -> Result<DeviceView>;
    /// Adds a device, whose notice has its password, or changes one.
    async fn save_device(&self, admin: &Administrator, form: DeviceForm) -> Result<SavedDevice>;
    async fn pause_device(&self, admin: &Administrator, device: DeviceId, paused: bool) -> Result<Notice>;
    /// A new password; the old one works for a day, or ends now.
    async fn renew_password(&self, admin: &Administrator, device: DeviceId, ends_now: bool) -> Result<Notice>;
    async fn remove_device(&self, admin: &Administrator, device: DeviceId) -> Result<Notice>;
    /// Queues a test message as the device would.
    async fn send_device_test(&self, admin: &Administrator, device: DeviceId) -> Result<Notice>;
    /// The certificate that the relay made for itself, as PEM.
    async fn relay_certificate(&self, admin: &Administrator) -> Result<String>;
    /// What is shown of a device, as a short text that changes with it.
    async fn device_version(&self, admin: &Administrator, device: DeviceId) -> Result<String>;
    /// An item for each change after a version.
    async fn watch_device(&self, admin: &Administrator, device: DeviceId, version: String) -> Result<MailStream>;
}

/// Programs that people add for their own mailboxes.
#[async_trait]
pub trait OwnPrograms: Send + Sync {
    /// Whether the institution allows it, and the relay is on.
    async fn may_add(&self, user: &SignedIn) -> Result<bool>;
    async fn programs(&self, user: &MailOwner) -> Result<OwnProgramsView>;
    /// The notice has the password. `anywhere`: it may write to other domains than the institution's.
    async fn add(&self, user: &MailOwner, mailbox: MailboxId, name: String, anywhere: bool) -> Result<Notice>;
    async fn renew_password(&self, user: &MailOwner, device: DeviceId) -> Result<Notice>;
    async fn remove(&self, user: &MailOwner, device: DeviceId) -> Result<Notice>;
    async fn allow(&self, admin: &Administrator, allowed: bool) -> Result<Notice>;
}
