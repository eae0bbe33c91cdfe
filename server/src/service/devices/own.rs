//! Programs that people add for their own mailboxes, where the institution allows it.

use app::backend::{Administrator, MailOwner, OwnPrograms, Result, SignedIn};
use app::error::AppError;
use app::model::{
    AttemptKind, AuditAction, DeviceForm, DeviceId, DeviceSettings, MailboxId, MailboxState, Notice, OwnProgram,
    OwnProgramsView, Tone,
};
use async_trait::async_trait;

use super::super::{Handle, Happened, Services, Who};
use super::admin::{shown_once, state, told};
use crate::store::Device;

/// Programs of one person.
const MOST_OWN: usize = 10;

impl Services {
    async fn own_device(&self, user: &SignedIn, device: DeviceId) -> Result<Device> {
        let found = self.store.device(user.institution().id, device).await?;
        found.filter(|device| device.owner == Some(user.user_id())).ok_or_else(|| AppError::NotFound.into())
    }
}

#[async_trait]
impl OwnPrograms for Handle {
    async fn may_add(&self, user: &SignedIn) -> Result<bool> {
        Ok(self.relay_bound.get().is_some() && self.store.own_programs(user.institution().id).await?)
    }

    async fn programs(&self, user: &MailOwner) -> Result<OwnProgramsView> {
        let (institution, now) = (user.institution(), self.clock.now());
        let mailboxes = self.store.mailboxes_of(institution.id, user.user_id()).await?;
        let newest = self.store.newest_relay_lines(institution.id).await?;
        let devices = self.store.devices_of(institution.id, user.user_id()).await?;
        let programs = devices.into_iter().map(|device| {
            let mailbox =
                mailboxes.iter().find(|mailbox| mailbox.address.eq_ignore_ascii_case(&device.settings.mailbox));
            let last = newest.iter().find(|line| line.device == Some(device.id)).filter(|line| line.event.is_problem());
            OwnProgram {
                id: device.id,
                login: format!("{}@{}", device.login, institution.slug),
                state: state(&device, mailbox, now),
                problem: last.map(|line| line.event.words()),
                advice: last.and_then(|line| line.event.advice()),
                last_used_at: device.last_used_at,
                mailbox: device.settings.mailbox,
                name: device.settings.name,
            }
        });
        Ok(OwnProgramsView {
            is_allowed: OwnPrograms::may_add(self, user).await?,
            programs: programs.collect(),
            mailboxes: mailboxes
                .iter()
                .filter(|mailbox| mailbox.kind == AttemptKind::Personal && mailbox.state == MailboxState::Connected)
                .map(|mailbox| (mailbox.id, mailbox.address.clone()))
                .collect(),
            relay: self.relay_address(&institution.slug),
        })
    }

    async fn add(&self, user: &MailOwner, mailbox: MailboxId, name: String, anywhere: bool) -> Result<Notice> {
        let institution = user.institution().id;
        if !OwnPrograms::may_add(self, user).await? {
            return Err(AppError::refused(
                "Your institution doesn't allow programs of your own. Ask an administrator.",
            )
            .into());
        }
        let mailboxes = self.store.mailboxes_of(institution, user.user_id()).await?;
        let own = mailboxes.into_iter().find(|own| own.id == mailbox && own.kind == AttemptKind::Personal);
        let Some(own) = own else {
            return Err(AppError::field("mailbox", "Mailbox", "Choose a mailbox of yours.").into());
        };
        let form = DeviceForm {
            name,
            kind: "program".into(),
            mailbox: own.address,
            recipients: if anywhere { "anywhere" } else { "own" }.into(),
            contact: user.address().to_owned(),
            ..DeviceForm::default()
        };
        let settings = DeviceSettings::parse(&form, |_| false).map_err(|fields| AppError::Invalid { fields })?;
        if self.store.devices_of(institution, user.user_id()).await?.len() >= MOST_OWN {
            return Err(
                AppError::refused(format!("You can have {MOST_OWN} programs. Remove one that you don't use.")).into()
            );
        }
        let (password, stored) = self.new_password();
        let login = self.free_login(institution, &settings.name).await?;
        let device = Device { owner: Some(user.user_id()), ..self.new_device(institution, login, settings) };
        let mut tx = self.store.begin().await?;
        self.store.add_device(&mut tx, &device).await?;
        self.store.add_device_password(&mut tx, device.id, &stored).await?;
        let happened = told(AuditAction::DeviceAdded, &device.settings).with("Of", user.address());
        self.audit(&mut tx, institution, Who::Person(user), happened).await?;
        tx.commit().await?;
        Ok(shown_once(&format!("{} is added.", device.settings.name), &password))
    }

    async fn renew_password(&self, user: &MailOwner, device: DeviceId) -> Result<Notice> {
        let device = self.own_device(user, device).await?;
        let (password, stored) = self.new_password();
        let mut tx = self.store.begin().await?;
        self.store.end_device_passwords(&mut tx, device.id, self.clock.now()).await?;
        self.store.add_device_password(&mut tx, device.id, &stored).await?;
        let happened = Happened::new(AuditAction::DevicePassword, &device.settings.name).with("The old one", "ended");
        self.audit(&mut tx, device.institution, Who::Person(user), happened).await?;
        tx.commit().await?;
        Ok(shown_once("A new password; the old one has ended.", &password))
    }

    async fn remove(&self, user: &MailOwner, device: DeviceId) -> Result<Notice> {
        let device = self.own_device(user, device).await?;
        let mut tx = self.store.begin().await?;
        self.store.drop_device(&mut tx, device.institution, device.id).await?;
        let happened = Happened::new(AuditAction::DeviceRemoved, &device.settings.name);
        self.audit(&mut tx, device.institution, Who::Person(user), happened).await?;
        tx.commit().await?;
        let title = format!("{} is removed.", device.settings.name);
        Ok(Notice::new(Tone::Success, title, "Its password has ended. What it had queued is still sent."))
    }

    async fn allow(&self, admin: &Administrator, allowed: bool) -> Result<Notice> {
        let institution = admin.institution().id;
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        if !self.store.set_own_programs(&mut tx, institution, allowed).await? {
            return Err(AppError::refused("Set up email first: Institution Config › General › Email.").into());
        }
        let happened = Happened::new(AuditAction::ConfigurationSaved, "");
        let happened = happened.with("Programs of people", if allowed { "allowed" } else { "not allowed" });
        self.audit(&mut tx, institution, Who::Person(admin), happened).await?;
        tx.commit().await?;
        let text = if allowed {
            "People add them under User Account › Email."
        } else {
            "Programs that people have added can no longer send."
        };
        Ok(Notice::new(Tone::Success, "Saved.", text))
    }
}
