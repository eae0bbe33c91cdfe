//! An institution of the demo that is set up already, with a device that is ready to send.

use app::backend::BackendError;
use app::model::{
    AttemptKind, ClientId, DeviceForm, EmailAddress, InstitutionId, MailboxId, MailboxState, Provider, RegistrationId,
    Role, TenantId,
};
use sandbox::Sandbox;

use crate::access_tokens::grant_place;
use crate::app_credentials::secret_place;
use crate::service::{AddPerson, Services};
use crate::store::{EmailSettings, InstitutionRow, MailboxKey, NewMailbox, Registration, Slot};
use crate::vault::Secret;
use crate::wiring::StartError;

pub(super) const SLUG: &str = "ready";
pub(super) const MAILBOX: &str = "scan@demo.example";

/// A device, as its panel would be filled in.
pub struct ReadyDevice {
    pub user_name: String,
    pub password: String,
}

fn other(error: impl std::fmt::Display) -> StartError {
    StartError::Other(error.to_string())
}

/// Adds the institution with its mailbox, if it is missing. Its device has a new password at each start: passwords are not kept.
pub(super) async fn seed(services: &Services, sandbox: &Sandbox, password: &str) -> Result<ReadyDevice, StartError> {
    sandbox.world().add_redirect_uri(&services.redirect_uri(&services.config.public_url.of(SLUG)));
    let known = services.store.institution_by_slug(SLUG).await?;
    let institution = match known {
        Some(row) => row.id,
        None => add(services, sandbox, password).await?,
    };
    let device = services.demo_device(institution, &device_form()).await.map_err(|error| match error {
        BackendError::App(error) => other(error),
        BackendError::Internal(error) => other(error),
    })?;
    Ok(ReadyDevice { user_name: format!("{}@{SLUG}", device.0), password: device.1 })
}

/// The form of its device.
fn device_form() -> DeviceForm {
    DeviceForm {
        name: "Copier".into(),
        kind: "device".into(),
        mailbox: MAILBOX.into(),
        contact: MAILBOX.into(),
        ..DeviceForm::default()
    }
}

async fn add(services: &Services, sandbox: &Sandbox, password: &str) -> Result<InstitutionId, StartError> {
    let (store, clock) = (&services.store, &services.clock);
    let row = InstitutionRow { id: InstitutionId(clock.uuid()), slug: SLUG.into(), name: "Ready School".into() };
    let mut tx = store.begin().await?;
    store.add_institution(&mut tx, &row, clock.now()).await?;
    tx.commit().await?;
    for (address, role) in [("admin@demo.example", Role::Administrator), (MAILBOX, Role::User)] {
        let address = EmailAddress::parse(address).map_err(other)?;
        let password = Some(password);
        let person = AddPerson { institution: row.id, address: &address, name: "", role, password, announce: None };
        services.add_person(&person).await.map_err(other)?;
    }
    let (client, tenant, secret, grant, oid) = {
        let mut world = sandbox.world();
        if world.account_by_address(MAILBOX).is_none() {
            world.add_account(MAILBOX, "Scans");
        }
        let oid = world.account_by_sign_in(MAILBOX).map(|account| account.oid).unwrap_or_default();
        let grant = world.grant(MAILBOX, &services.config.clouds.own().hosts.scopes);
        (world.app.client_id, world.tenant_id, world.app.secret_value.clone(), grant, oid)
    };
    let user = store.user_by_address(row.id, MAILBOX).await?.ok_or_else(|| other("the demo has lost a person"))?;
    let mut registration =
        Registration::new(RegistrationId(clock.uuid()), ClientId(client), TenantId(tenant), clock.now());
    registration.verified_at = Some(clock.now());
    registration.secret_sealed = services.vault.seal(&secret_place(&registration), &Secret::new(secret))?;
    let mut tx = store.begin().await?;
    let settings = EmailSettings { provider: Provider::ExchangeOnline, ..EmailSettings::default() };
    store.put_email_settings(&mut tx, row.id, &settings, clock.now()).await?;
    store.put_registration(&mut tx, row.id, Slot::Current, &registration, clock.now()).await?;
    let new = NewMailbox {
        id: MailboxId(clock.uuid()),
        user: user.id,
        kind: AttemptKind::Personal,
        address: MAILBOX.into(),
        sign_in_name: MAILBOX.into(),
        subject: format!("{oid}@{tenant}"),
        app: registration.app(),
        refresh_token_sealed: String::new(),
        next_test_at: clock.now().plus_ms(3_600_000),
    };
    let mailbox = store.put_mailbox(&mut tx, row.id, &new, clock.now()).await?;
    let mailbox = mailbox.ok_or_else(|| other("the demo's mailbox is taken"))?;
    let key = MailboxKey { institution: row.id, id: mailbox };
    let sealed = services.vault.seal(&grant_place(mailbox), &Secret::new(grant))?;
    store.replace_grant(&mut tx, key, &sealed).await?;
    tx.commit().await?;
    store.set_mailbox_state(key, MailboxState::Connected, None, None, clock.now()).await?;
    Ok(row.id)
}
