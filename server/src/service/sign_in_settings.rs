//! Institution Config > General > Sign-in: passwords, and people of the tenant who have no account yet.

use app::backend::{Administrator, Result};
use app::error::AppError;
use app::model::{
    AuditAction, CredentialKind, EmailAddress, InstitutionId, Newcomers, Notice, PasswordRule, Role, SignInSettings,
    SignInSettingsView, Tone, UserId, person_name, read_domains,
};

use super::{Happened, Services, Who};
use crate::identity::Identity;
use crate::store::User;

/// A password that worked within this time counts as known, in milliseconds: 90 days.
const PROVEN_MS: i64 = 90 * 24 * 60 * 60 * 1000;
/// Administrators who keep their passwords, for emergencies.
const KEEPERS: usize = 2;

impl Services {
    /// Why passwords stay for everyone: signing in with Microsoft ends with the app's secret, and someone must be able to renew that.
    async fn passwords_stay(&self, institution: InstitutionId, proven: usize) -> Result<Option<String>> {
        let Some(registration) = self.registration_in_use(institution).await? else {
            return Ok(Some("MS Exchange Online isn't set up, so no one could sign in with Microsoft.".to_owned()));
        };
        if registration.credential == CredentialKind::Secret {
            let text = "The app has only a Client Secret. When it expires, no one could sign in to renew it: use a certificate or a federated credential first.";
            return Ok(Some(text.to_owned()));
        }
        if proven < KEEPERS {
            let text = format!(
                "At least {KEEPERS} administrators must have signed in with their password within the last 90 days, for emergencies. Now it is {proven}."
            );
            return Ok(Some(text));
        }
        Ok(None)
    }

    /// Whether this person's password opens nothing.
    pub(super) async fn password_is_off(&self, institution: InstitutionId, user: &User) -> Result<bool> {
        if !self.passwords_are_off(institution).await? {
            return Ok(false);
        }
        let keepers = self.store.password_keepers(institution).await?;
        // All keepers may have left: then any administrator comes in, or nobody could.
        let keeps = user.role == Role::Administrator && (keepers.is_empty() || keepers.contains(&user.id));
        Ok(!keeps)
    }

    /// How a person who was kept out signs in again.
    pub(super) async fn way_to_sign_in(&self, institution: InstitutionId, user: &User) -> Result<&'static str> {
        Ok(if self.password_is_off(institution, user).await? {
            "They can sign in again, with Microsoft."
        } else {
            "They can sign in again, with their password or with Microsoft."
        })
    }

    /// Whether everyone but a few administrators signs in with Microsoft.
    pub(super) async fn passwords_are_off(&self, institution: InstitutionId) -> Result<bool> {
        if self.store.sign_in_settings(institution).await?.passwords == PasswordRule::Everyone {
            return Ok(false);
        }
        let registration = self.registration_in_use(institution).await?;
        // Back to a secret, or to none: passwords work again.
        Ok(registration.is_some_and(|registration| registration.credential != CredentialKind::Secret))
    }

    pub(super) async fn sign_in_settings_view(&self, admin: &Administrator) -> Result<SignInSettingsView> {
        let institution = admin.institution().id;
        let proven = self.store.proven_administrators(institution, self.clock.now().plus_ms(-PROVEN_MS)).await?;
        Ok(SignInSettingsView {
            settings: self.store.sign_in_settings(institution).await?,
            passwords_stay: if self.passwords_are_off(institution).await? {
                None
            } else {
                self.passwords_stay(institution, proven.len()).await?
            },
            keepers: self.store.password_keepers(institution).await?,
            proven,
        })
    }

    pub(super) async fn save_sign_in_settings(
        &self,
        admin: &Administrator,
        passwords: &str,
        keepers: &[String],
        newcomers: &str,
        domains: &str,
    ) -> Result<Notice> {
        let institution = admin.institution().id;
        let choose = |field, label| AppError::field(field, label, "Choose one.");
        let passwords = PasswordRule::parse(passwords).ok_or_else(|| choose("passwords", "Passwords"))?;
        let newcomers = Newcomers::parse(newcomers).ok_or_else(|| choose("newcomers", "People without an account"))?;
        let domains = read_domains(domains).map_err(|wrong| {
            AppError::field(
                "domains",
                "Domains",
                format!("“{wrong}” is no domain. Enter one on each line, such as school.example."),
            )
        })?;
        if newcomers == Newcomers::Domains && domains.is_empty() {
            return Err(AppError::field("domains", "Domains", "Enter at least one domain.").into());
        }
        let mut kept = Vec::new();
        if passwords == PasswordRule::Administrators {
            let since = self.clock.now().plus_ms(-PROVEN_MS);
            let proven = self.store.proven_administrators(institution, since).await?;
            if let Some(why) = self.passwords_stay(institution, proven.len()).await? {
                return Err(AppError::field("passwords-administrators", "Passwords", why).into());
            }
            let is_chosen = |id: &UserId| keepers.iter().any(|keeper| *keeper == id.to_string());
            kept = proven.into_iter().filter(|(id, ..)| is_chosen(id)).collect();
            if kept.len() != KEEPERS || keepers.len() != KEEPERS {
                let text = format!("Choose {KEEPERS} administrators.");
                return Err(AppError::field("keepers", "Whose passwords stay", text).into());
            }
        }
        let settings = SignInSettings { passwords, newcomers, domains };
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        self.store.put_sign_in_settings(&mut tx, institution, &settings, self.clock.now()).await?;
        let ids: Vec<UserId> = kept.iter().map(|(id, ..)| *id).collect();
        self.store.put_password_keepers(&mut tx, institution, &ids).await?;
        let addresses: Vec<&str> = kept.iter().map(|(_, address, _)| address.as_str()).collect();
        let happened = Happened::new(AuditAction::ConfigurationSaved, "Sign-in")
            .with("Passwords", settings.passwords.as_str())
            .with("Whose passwords stay", addresses.join(", "))
            .with("People without an account", settings.newcomers.as_str())
            .with("Domains", settings.domains.join(", "));
        self.audit(&mut tx, institution, Who::Person(admin), happened).await?;
        tx.commit().await?;
        Ok(Notice::new(Tone::Success, "Saved.", "It applies to the next sign-in of each person."))
    }

    /// Who is invited under the sign-in name of an account of the tenant, where everyone signs in with Microsoft. There the list of
    /// links holds no secrets, only the address of the sign-in page.
    pub(super) async fn invited_by_name(
        &self,
        institution: InstitutionId,
        identity: &Identity,
    ) -> Result<Option<User>> {
        let Some(name) = identity.names.first().filter(|_| !identity.is_guest) else { return Ok(None) };
        if !self.passwords_are_off(institution).await? {
            return Ok(None);
        }
        let user = self.store.user_by_address(institution, name).await?;
        let Some(user) = user.filter(|user| !user.has_joined() && user.disabled_at.is_none()) else { return Ok(None) };
        let is_open = self.store.has_open_invitation(institution, user.id, self.clock.now()).await?;
        Ok(is_open.then_some(user))
    }

    /// An account for a person of the tenant whom no one invited, if the institution lets such people in. The sign-in name becomes the
    /// address: the tenant's administrators give it. `None`: they are told whom to ask.
    pub(super) async fn newcomer(
        &self,
        institution: InstitutionId,
        identity: &Identity,
        subject: &str,
    ) -> Result<Option<User>> {
        let settings = self.store.sign_in_settings(institution).await?;
        // Not the `email` claim, which people may be able to set.
        let Some(Ok(address)) = identity.names.first().map(|name| EmailAddress::parse(name)) else { return Ok(None) };
        let domain = address.as_str().rsplit('@').next().unwrap_or_default().to_lowercase();
        let is_let_in = match settings.newcomers {
            Newcomers::Refused => false,
            Newcomers::Assigned => true,
            Newcomers::Domains => settings.domains.contains(&domain),
        };
        // A guest's account belongs to another organization, whatever its name here says.
        if !is_let_in || identity.is_guest {
            return Ok(None);
        }
        let user = User {
            id: UserId(self.clock.uuid()),
            address: address.to_string(),
            name: person_name(identity.name.as_deref().unwrap_or_default()),
            role: Role::User,
            password_hash: None,
            linked: true,
            disabled_at: None,
            last_sign_in_at: None,
        };
        let mut tx = self.store.begin().await?;
        match self.store.add_user(&mut tx, institution, &user, self.clock.now()).await {
            Ok(()) => {}
            // The address has an account of somebody: it never links one by itself.
            Err(error) if error.is_duplicate() => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        if !self.store.link_microsoft(&mut tx, institution, user.id, subject).await? {
            return Ok(None);
        }
        let happened =
            Happened::new(AuditAction::PersonJoined, &user.address).with("Rule", settings.newcomers.as_str());
        self.audit(&mut tx, institution, Who::Program("Entrepost"), happened).await?;
        tx.commit().await?;
        Ok(Some(user))
    }

    /// Forgets which Microsoft account a person signs in with, and ends their sessions.
    pub(super) async fn unlink_microsoft(&self, admin: &Administrator, user: UserId) -> Result<Notice> {
        let institution = admin.institution().id;
        let person = self.store.user(institution, user).await?.ok_or(AppError::NotFound)?;
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        let is_last = person.role == Role::Administrator
            && person.password_hash.is_none()
            && self.store.other_administrators(&mut tx, institution, user).await? == 0;
        if is_last {
            return Err(AppError::refused(
                "No other administrator has a password, so no one could make a new link. Set a password for another administrator first.",
            )
            .into());
        }
        if !self.store.unlink_microsoft(&mut tx, institution, user).await? {
            return Err(AppError::refused("This person signs in with no Microsoft account.").into());
        }
        self.store.end_sessions_of(&mut tx, institution, user).await?;
        let happened = Happened::new(AuditAction::MicrosoftUnlinked, &person.address);
        self.audit(&mut tx, institution, Who::Person(admin), happened).await?;
        tx.commit().await?;
        Ok(Notice::new(
            Tone::Success,
            format!("{} is signed out.", person.address),
            "Their Microsoft account no longer opens this one. Make a new link, with which they can use another Microsoft account or set a password.",
        ))
    }
}
