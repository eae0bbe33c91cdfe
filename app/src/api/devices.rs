//! Institution › Programs and devices.

use leptos::prelude::*;

#[cfg(feature = "ssr")]
use super::request::{Request, id};
use crate::error::AppError;
#[cfg(feature = "ssr")]
use crate::model::{DeviceForm, Flash, FormName, PROGRAMS_PATH, device_path};

/// The page of a device; of all, where the id is none.
#[cfg(feature = "ssr")]
fn page_of(device: &str) -> String {
    device.parse().map_or_else(|_| PROGRAMS_PATH.to_owned(), device_path)
}

#[server(name = SaveDevice, prefix = "/api", endpoint = "save_device")]
pub async fn save_device(
    #[server(default)] id: String,
    #[server(default)] name: String,
    #[server(default)] kind: String,
    #[server(default)] mailbox: String,
    #[server(default)] sender_rule: String,
    #[server(default)] display_name: String,
    #[server(default)] recipients: String,
    #[server(default)] recipient_list: String,
    #[server(default)] messages_per_hour: String,
    #[server(default)] contact: String,
    #[server(default)] networks: String,
    #[server(default)] by_address: String,
    #[server(default)] ask_first: String,
    #[server(default)] expires_on: String,
) -> Result<(), AppError> {
    let request = Request::current().await?;
    let here = page_of(&id);
    let form = DeviceForm {
        id,
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
    };
    let typed = form.clone();
    match async { request.backend.devices.save_device(&request.administrator()?, form).await }.await {
        Ok(saved) => {
            request.leave(FormName::Device, Flash::notice(saved.notice)).await;
            request.go(&device_path(saved.id));
        }
        Err(error) => request.refuse(&here, FormName::Device, &typed.typed(), error).await,
    }
    Ok(())
}

#[server(name = PauseDevice, prefix = "/api", endpoint = "pause_device")]
pub async fn pause_device(device: String, paused: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let path = page_of(&device);
    let work =
        async { request.backend.devices.pause_device(&request.administrator()?, id(&device)?, paused == "true").await };
    request.notice(&path, FormName::Any, work).await
}

#[server(name = RenewDevicePassword, prefix = "/api", endpoint = "renew_device_password")]
pub async fn renew_device_password(device: String, #[server(default)] ends: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let path = page_of(&device);
    let work =
        async { request.backend.devices.renew_password(&request.administrator()?, id(&device)?, ends == "now").await };
    request.notice(&path, FormName::Any, work).await
}

#[server(name = RemoveDevice, prefix = "/api", endpoint = "remove_device")]
pub async fn remove_device(device: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async { request.backend.devices.remove_device(&request.administrator()?, id(&device)?).await };
    request.notice(PROGRAMS_PATH, FormName::Any, work).await
}

#[server(name = SendDeviceTest, prefix = "/api", endpoint = "send_device_test")]
pub async fn send_device_test(device: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let path = page_of(&device);
    let work = async { request.backend.devices.send_device_test(&request.administrator()?, id(&device)?).await };
    request.notice(&path, FormName::Any, work).await
}
