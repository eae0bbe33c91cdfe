use async_trait::async_trait;

use super::{Administrator, MailStream, Result};
use crate::model::{DeviceForm, DeviceId, DeviceView, Notice, ProgramsView};

/// What becomes of a saved device.
pub struct SavedDevice {
    pub id: DeviceId,
    pub notice: Notice,
}

/// Programs and devices that send through the relay.
#[async_trait]
pub trait Devices: Send + Sync {
    async fn programs(&self, admin: &Administrator) -> Result<ProgramsView>;
    async fn device(&self, admin: &Administrator, device: DeviceId) -> Result<DeviceView>;
    /// Adds a device, whose notice has its password, or changes one.
    async fn save_device(&self, admin: &Administrator, form: DeviceForm) -> Result<SavedDevice>;
    async fn pause_device(&self, admin: &Administrator, device: DeviceId, paused: bool) -> Result<Notice>;
    /// A new password; the old one works for a day, or ends now.
    async fn renew_password(&self, admin: &Administrator, device: DeviceId, ends_now: bool) -> Result<Notice>;
    async fn remove_device(&self, admin: &Administrator, device: DeviceId) -> Result<Notice>;
    /// Queues a test message as the device would.
    async fn send_device_test(&self, admin: &Administrator, device: DeviceId) -> Result<Notice>;
    /// What is shown of a device, as a short text that changes with it.
    async fn device_version(&self, admin: &Administrator, device: DeviceId) -> Result<String>;
    /// An item for each change after a version.
    async fn watch_device(&self, admin: &Administrator, device: DeviceId, version: String) -> Result<MailStream>;
}
