//! Sign in with Microsoft: one sign-in opens a session, and connects the mailbox where none works yet. Mail is asked for with the
//! same request if the person is known by a link or by the browser, and otherwise with a second one once they are known.
//!
//! Accounts are matched by `oid` and `tid`, never by address: an address can be given to another person, and claims of addresses can
//! be set by people. The first link needs the link of an invitation, or a mailbox that its owner connected while signed in. Where
//! everyone signs in with Microsoft, an open invitation to the sign-in name is enough: the tenant's administrators give that name.
//! What waits for Microsoft's answer is sealed in a cookie: requests of strangers make no rows.

use std::sync::Arc;

use app::backend::{BackendError, Callback, Completed, Cookie, NextPage, ProviderRedirect, Result, SignedIn, Visitor};
use app::error::AppError;
use app::model::{
    ACCOUNT_PATH, AppPath, AttemptId, AttemptKind, AuditAction, CredentialKind, InstitutionId, LOGIN_PATH,
    MailboxState, Notice, Outcome, Provider, Role, Stage, Tone, UserId,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Answer, ExchangeError, MicrosoftSignIn};
use crate::clock::sha256;
use crate::diagnosis::Fault;
use crate::identity::{Identity, Prompt, Scopes, SignIn};
use crate::service::{Happened, Services, Who, sessions};
use crate::store::{AppKey, NewAttempt, Page, Registration, Slot, Tx, User};
use crate::vault::{Place, Secret};

/// The sign-in page with a button that asks for no mailbox.
const WITHOUT_MAIL: &str = "/login?mail=no";

/// Steps of sign-ins from one network within a window, in milliseconds.
const PER_NETWORK: i64 = 2_000;
const WINDOW_MS: i64 = 15 * 60 * 1000;
/// After a failure, a sign-in asks for the mailbox again a day later, in milliseconds; User Account › Email does at any time.
const ASKED_AGAIN_MS: i64 = 24 * 60 * 60 * 1000;

/// A sign-in that waits for Microsoft's answer.
#[derive(Serialize, Deserialize)]
struct Waiting {
    state: String,
    nonce: String,
    verifier: String,
    app: AppKey,
    next: String,
    /// The token of an invitation link.
    invitation: Option<String>,
    /// Whether mail scopes were asked for.
    mail: bool,
    /// Whether to connect the mailbox.
    #[serde(default)]
    connect: bool,
    until: i64,
}

/// Binds the cookie to its institution.
fn cookie_place(institution: InstitutionId) -> Place {
    Place::new("cookies", "microsoft_sign_in", institution)
}

/// `oid@tid` of this tenant. Without both claims an account proves nothing here.
pub(super) fn subject_of(identity: &Identity, registration: &Registration) -> Option<String> {
    let (oid, tenant) = identity.subject.rsplit_once('@')?;
    let (oid, tenant): (Uuid, Uuid) = (oid.parse().ok()?, tenant.parse().ok()?);
    (tenant == registration.tenant_id.0).then(|| format!("{oid}@{tenant}"))
}

/// What lets a Microsoft account be linked that isn't yet.
#[derive(Clone, Copy)]
enum FirstLink<'a> {
    /// The token of an invitation link.
    Token(&'a str),
    /// An invitation to the account's sign-in name.
    SignInName,
}

/// A session that was opened.
struct Opened {
    user: User,
    cookies: Vec<Cookie>,
    token: String,
    /// The person's password is gone.
    dropped: bool,
}

/// Why nobody was signed in: a notice, and its page.
struct Failed {
    notice: Notice,
    path: String,
    /// For the log; the account, if it is known.
    account: Option<String>,
    reason: &'static str,
    /// Of a refusal by Microsoft.
    cause: Option<String>,
}

fn failed(reason: &'static str, title: &str, text: &str) -> Failed {
    Failed {
        notice: Notice::new(Tone::Problem, title, text),
        path: LOGIN_PATH.to_owned(),
        account: None,
        reason,
        cause: None,
    }
}

impl Services {
    pub(in crate::service) async fn registration_in_use(
        &self,
        institution: InstitutionId,
    ) -> Result<Option<Registration>> {
        let settings = self.store.email_settings(institution).await?;
        let registration = self.store.registration(institution, Slot::Current).await?;
        Ok(registration.filter(|_| settings.provider == Provider::ExchangeOnline))
    }

    /// Begins a sign-in of a visitor. `mail`: also to connect the mailbox, unless the person of this browser has one that works.
    pub(in crate::service) async fn begin_person(
        &self,
        visitor: &Visitor,
        next: &AppPath,
        invitation: Option<&str>,
        mail: bool,
    ) -> Result<ProviderRedirect> {
        let institution = visitor.institution.id;
        let Some(registration) = self.registration_in_use(institution).await? else {
            return Err(AppError::refused(
                "Your institution hasn't set up MS Exchange Online yet. Sign in with your password.",
            )
            .into());
        };
        self.count_stranger(visitor)?;
        // A link is for one person: an account that this browser signed in before does not count.
        let mut expected = self.known_user(visitor);
        if let Some(token) = invitation {
            self.count_link(visitor).await;
            expected = Some(self.valid_invitation(visitor, token).await?.user.id);
        }
        // A person who is not known may have a mailbox that works, or an account whose licence or policy refuses mail.
        let connects = match expected {
            Some(user) => !self.has_working_mailbox(institution, user).await?,
            None => false,
        };
        let (connect, mail) = (mail, mail && connects);
        let credentials = self.tokens.credentials(institution, &registration).await?;
        let lifetime = self.sign_in_ms();
        let waiting = Waiting {
            state: self.clock.token(),
            nonce: self.clock.token(),
            verifier: self.clock.token(),
            app: registration.app(),
            next: next.as_str().to_owned(),
            invitation: invitation.map(ToOwned::to_owned),
            mail,
            connect,
            until: self.clock.now().plus_ms(lifetime).0,
        };
        let sign_in = SignIn {
            redirect_uri: &self.redirect_uri(&visitor.institution.public_url),
            state: &waiting.state,
            nonce: &waiting.nonce,
            verifier: &Secret::new(waiting.verifier.clone()),
            login_hint: "",
            // Classrooms share computers.
            prompt: Some(Prompt::SelectAccount),
            scopes: if mail { Scopes::Mail } else { Scopes::Identity },
        };
        let url = self.entra.authorize_url(&credentials, &sign_in).await.map_err(|error| {
            Fault::identity(&error, self.clock.now()).log("sign-in", "start");
            AppError::refused(
                "Microsoft can't be reached now. Try again in a few minutes, or sign in with your password.",
            )
        })?;
        let text = Secret::new(serde_json::to_string(&waiting)?);
        let sealed = self.vault.seal(&cookie_place(institution), &text)?;
        Ok(ProviderRedirect {
            url: url.into(),
            cookie: sessions::cookie(self, sessions::MICROSOFT, &sealed, lifetime / 1000),
        })
    }

    /// The sign-in that this browser began with a state.
    fn waiting(&self, visitor: &Visitor, state: &str) -> Option<Waiting> {
        let sealed = visitor.microsoft_sign_in.as_deref()?;
        let opened = self.vault.open(&cookie_place(visitor.institution.id), sealed).ok()?;
        let waiting: Waiting = serde_json::from_str(opened.expose()).ok()?;
        (waiting.state == state && waiting.until >= self.clock.now().0).then_some(waiting)
    }

    /// Completes a sign-in of a visitor. `None`: this browser began none with this state.
    pub(super) async fn complete_person(
        self: &Arc<Self>,
        visitor: &Visitor,
        callback: &Callback,
        run: bool,
    ) -> Option<Completed> {
        let waiting = self.waiting(visitor, &callback.state)?;
        let done = match self.count_stranger(visitor) {
            Ok(()) => self.person_signed_in(visitor, &waiting, callback, run).await,
            Err(error) => Err(failed("too many tries", "You're not signed in.", &error.told(&**self).to_string())),
        };
        let mut completed = match done {
            Ok(completed) => completed,
            Err(Failed { notice, path, account, reason, cause }) => {
                let (institution, from) = (visitor.institution.id, visitor.address);
                let written = self.audit_failed_sign_in(institution, account.as_deref(), from, reason, cause).await;
                if let Err(error) = written {
                    let _ = error.told(&**self);
                }
                Completed { next: NextPage::Path(path), cookies: Vec::new(), notice: Some(notice) }
            }
        };
        // Used up, whatever came of it.
        completed.cookies.push(sessions::cookie(self, sessions::MICROSOFT, "", 0));
        Some(completed)
    }

    /// Strangers cause requests to Microsoft: so many from each network.
    fn count_stranger(&self, visitor: &Visitor) -> Result<()> {
        let (now, network) = (self.clock.now(), format!("microsoft:{}:{}", visitor.institution.id, visitor.address));
        let (count, _) = self.guesses.count(&network, now, now.plus_ms(-WINDOW_MS));
        if count > PER_NETWORK { Err(AppError::TooMany { minutes: 15 }.into()) } else { Ok(()) }
    }

    async fn person_signed_in(
        self: &Arc<Self>,
        visitor: &Visitor,
        waiting: &Waiting,
        callback: &Callback,
        run: bool,
    ) -> Result<Completed, Failed> {
        let broken = |error: BackendError| failed("refused", "You're not signed in.", &error.told(&**self).to_string());
        let signed_in = match self.exchange_person(visitor, waiting, callback).await {
            Ok(signed_in) => signed_in,
            Err(ExchangeError::Refused(fault)) => return Err(Self::refused_person(visitor, waiting, &fault)),
            Err(ExchangeError::Backend(error)) => return Err(broken(error)),
        };
        let institution = visitor.institution.id;
        let Some(subject) = subject_of(&signed_in.identity, &signed_in.registration) else {
            let text = "Its answer lacks the account's object ID (oid) or tenant (tid). Sign in with your password.";
            return Err(failed("no oid or tid", "Microsoft doesn't say which account this is.", text));
        };
        let found = self.store.user_by_microsoft(institution, &subject).await.map_err(|error| broken(error.into()))?;
        let invited = match &waiting.invitation {
            Some(token) => Some((self.valid_invitation(visitor, token).await.map_err(broken)?.user, token.as_str())),
            None => None,
        };
        let opening = match (found, invited) {
            (Some(user), Some((invited, _))) if user.id != invited.id => {
                let text = format!("It belongs to {}, and the link is for {}.", user.address, invited.address);
                return Err(failed(
                    "a link for another person",
                    "This Microsoft account belongs to another person here.",
                    &text,
                ));
            }
            (Some(user), invited) => (user, invited.map(|(_, token)| FirstLink::Token(token))),
            (None, Some((invited, token))) => (invited, Some(FirstLink::Token(token))),
            (None, None) => {
                let invited = self.invited_by_name(institution, &signed_in.identity).await.map_err(broken)?;
                let joined = match &invited {
                    Some(_) => None,
                    None => self.newcomer(institution, &signed_in.identity, &subject).await.map_err(broken)?,
                };
                if let Some(user) = invited {
                    (user, Some(FirstLink::SignInName))
                } else if let Some(user) = joined {
                    (user, None)
                } else {
                    if signed_in.identity.is_guest {
                        let text = "It belongs to another organization and is a guest of your institution's tenant. Guests get no account by signing in: pick your institution's account, or ask your administrator for an invitation link.";
                        return Err(failed("a guest account", "This is a guest account.", text));
                    }
                    let text = format!(
                        "No account at Entrepost belongs to {}. Ask your administrator for an invitation, or sign in with your password and connect your mailbox first: after that this button works.",
                        signed_in.identity.sign_in_name
                    );
                    return Err(failed("unknown Microsoft account", "This Microsoft account isn't known here.", &text));
                }
            }
        };
        let address = opening.0.address.clone();
        let opened = self.open_for(visitor, opening.0, opening.1, &subject).await;
        let opened = opened.map_err(|error| Failed { account: Some(address), ..broken(error) })?;
        let Opened { user, cookies, token, dropped } = opened;
        let next = AppPath::parse(Some(&waiting.next));
        let notice = dropped.then(|| {
            let text = "You sign in with Microsoft now. Someone else with the link could have set the password.";
            Notice::new(Tone::Warning, "Your password was removed.", text)
        });
        let mut completed = Completed { next: NextPage::Path(next.as_str().to_owned()), cookies, notice };
        if !waiting.connect {
            return Ok(completed);
        }
        let session = sessions::find(self, &visitor.institution, &token, visitor.address).await;
        let Ok(Some(person)) = session else { return Ok(completed) };
        let connecting = if waiting.mail {
            self.connect_person(&person, &user, signed_in, run).await
        } else {
            self.ask_for_mailbox(visitor, &person, &signed_in.identity).await
        };
        match connecting {
            Ok(Some(next)) => completed.next = next,
            Ok(None) => {}
            // They are signed in, whatever becomes of the mailbox.
            Err(error) => {
                let _ = error.told(&**self);
                completed.next = NextPage::Path(ACCOUNT_PATH.to_owned());
            }
        }
        Ok(completed)
    }

    /// Opens the session, and links the account if an invitation allows it.
    async fn open_for(
        &self,
        visitor: &Visitor,
        user: User,
        invitation: Option<FirstLink<'_>>,
        subject: &str,
    ) -> Result<Opened> {
        let institution = visitor.institution.id;
        let refused = || AppError::refused("This account is disabled at Entrepost. Ask your administrator.");
        if user.disabled_at.is_some() {
            return Err(refused().into());
        }
        let can_tell = self.outbox.sender(institution, &visitor.institution.slug).await?.is_some();
        let mut tx = self.store.begin().await?;
        self.store.lock_institution(&mut tx, institution).await?;
        let mut dropped = false;
        // By a link that set a password, which another person may have used.
        let was_locked = self.store.is_mail_locked(&mut tx, institution, user.id).await?;
        if let Some(first) = invitation {
            // Of two requests with one invitation, only one succeeds.
            let is_open = match first {
                FirstLink::Token(token) => self.store.use_invitation(&mut tx, institution, &sha256(token)).await?,
                FirstLink::SignInName => {
                    self.store.use_open_invitation(&mut tx, institution, user.id, self.clock.now()).await?
                }
            };
            if !is_open {
                return Err(AppError::NotFound.into());
            }
            if !self.store.link_microsoft(&mut tx, institution, user.id, subject).await? {
                let text = "Your Entrepost account belongs to another Microsoft account. Sign in with that one, or ask your administrator.";
                return Err(AppError::refused(text).into());
            }
            // As with a password that a link sets: earlier sessions end, and mail is hidden until an account that the person's mailboxes
            // know signs in. That may be this one.
            self.store.end_sessions_of(&mut tx, institution, user.id).await?;
            dropped |= self.drop_replaced_password(&mut tx, institution, &user).await?;
            self.store.lock_mail(&mut tx, institution, user.id).await?;
        }
        // It may have been disabled, or linked otherwise, meanwhile.
        if !self.store.microsoft_holds(&mut tx, institution, user.id, subject).await? {
            return Err(refused().into());
        }
        let shown = self.store.unlock_mail(&mut tx, institution, user.id, subject).await?;
        if shown {
            // A link may have given another person a password: it ends here, even for the only administrator.
            self.store.end_sessions_of(&mut tx, institution, user.id).await?;
            dropped |= if was_locked && user.password_hash.is_some() {
                self.store.drop_password(&mut tx, institution, user.id).await?;
                true
            } else {
                self.drop_replaced_password(&mut tx, institution, &user).await?
            };
        } else if invitation.is_some() && can_tell && self.store.is_mail_locked(&mut tx, institution, user.id).await? {
            let message = self.password_reset_message(&visitor.institution, &user.address)?;
            self.enqueue(&mut tx, &message).await?;
        }
        let (cookie, token) = sessions::open_with_token(self, &mut tx, institution, user.id).await?;
        self.store.forget_undelivered(&mut tx, institution, &user.address).await?;
        if let Some(old) = &visitor.person {
            self.store.end_session(&mut tx, institution, old.session()).await?;
        }
        let happened = Happened::new(AuditAction::SignIn, &user.address).with("With", "Microsoft");
        let happened = if invitation.is_some() { happened.with("Linked", "by an invitation") } else { happened };
        let happened = if dropped { happened.with("Password", "removed") } else { happened };
        self.audit(&mut tx, institution, Who::Account(&user, visitor.address), happened).await?;
        if shown {
            let password = if dropped { "removed" } else { "kept, or none" };
            let happened = Happened::new(AuditAction::MailShown, &user.address).with("Password", password);
            self.audit(&mut tx, institution, Who::Account(&user, visitor.address), happened).await?;
        }
        tx.commit().await?;
        self.outbox.wake();
        let cookies = [Some(cookie), self.known_browser(institution, user.id)].into_iter().flatten().collect();
        Ok(Opened { user, cookies, token, dropped })
    }

    /// Deletes the password that signing in with Microsoft replaces. It stays with the last administrator who has one while the app has
    /// only a secret: when that ends, no one else could come in to renew it. `true`: there was one, and it is gone.
    async fn drop_replaced_password(&self, tx: &mut Tx, institution: InstitutionId, user: &User) -> Result<bool> {
        if user.password_hash.is_none() {
            return Ok(false);
        }
        let registration = self.store.registration(institution, Slot::Current).await?;
        let is_secret = registration.is_some_and(|registration| registration.credential == CredentialKind::Secret);
        // Also where passwords are for emergencies only.
        if (is_secret || self.passwords_are_off(institution).await?)
            && user.role == Role::Administrator
            && self.store.other_administrators(tx, institution, user.id).await? == 0
        {
            tracing::warn!(user = %user.id, "a password stays for emergencies: no other administrator has one");
            return Ok(false);
        }
        self.store.drop_password(tx, institution, user.id).await?;
        Ok(true)
    }

    /// Asks Microsoft for the mailbox of the account that has just signed in, unless one works.
    async fn ask_for_mailbox(
        &self,
        visitor: &Visitor,
        person: &SignedIn,
        identity: &Identity,
    ) -> Result<Option<NextPage>> {
        let institution = person.institution().id;
        if self.has_working_mailbox(institution, person.user_id()).await? {
            return Ok(None);
        }
        // Who lacks a licence or a permission is not asked at each sign-in.
        let since = self.clock.now().plus_ms(-ASKED_AGAIN_MS);
        let newest = self.store.attempts_of(institution, person.user_id(), Page::newest(1)).await?;
        if newest.first().is_some_and(|one| one.created_at > since && one.outcome == Outcome::Failed) {
            return Ok(None);
        }
        let (kind, hint) = (AttemptKind::Personal, identity.sign_in_name.as_str());
        let redirect = self.begin_sign_in_as(person, visitor, kind, person.address(), hint, None).await?;
        Ok(Some(NextPage::Provider(redirect)))
    }

    /// Connects the person's own mailbox with the grant of this sign-in, if none works. Returns the page of the attempt.
    async fn connect_person(
        self: &Arc<Self>,
        person: &SignedIn,
        user: &User,
        signed_in: MicrosoftSignIn,
        run: bool,
    ) -> Result<Option<NextPage>> {
        let institution = person.institution().id;
        if signed_in.granted.refresh.is_none() || self.has_working_mailbox(institution, user.id).await? {
            return Ok(None);
        }
        self.check_attempts(person).await?;
        let (id, now) = (AttemptId(self.clock.uuid()), self.clock.now());
        let new = NewAttempt {
            id,
            user: user.id,
            kind: AttemptKind::Personal,
            stage: Stage::SigningIn,
            address: user.address.clone(),
            automatic: false,
            app: signed_in.registration.app(),
            sign_in: None,
            mailbox: None,
            callback_expires_at: now.plus_ms(self.sign_in_ms()),
        };
        let mut tx = self.store.begin().await?;
        self.store.add_attempt(&mut tx, institution, &new, now).await?;
        tx.commit().await?;
        let attempt = self.attempt_for(person, id).await?;
        if self.signed_in(person, &attempt, signed_in).await? {
            self.start_checks(person.clone(), id, run);
        }
        Ok(Some(NextPage::Path(AttemptKind::Personal.path(id))))
    }

    async fn has_working_mailbox(&self, institution: InstitutionId, user: UserId) -> Result<bool> {
        let mailboxes = self.store.mailboxes_of(institution, user).await?;
        Ok(mailboxes
            .iter()
            .any(|mailbox| mailbox.kind == AttemptKind::Personal && mailbox.state != MailboxState::NeedsReconnect))
    }

    /// Validates the response, exchanges the code, validates the id_token.
    async fn exchange_person(
        &self,
        visitor: &Visitor,
        waiting: &Waiting,
        callback: &Callback,
    ) -> Result<MicrosoftSignIn, ExchangeError> {
        let now = self.clock.now();
        if callback.error.is_some() {
            return Err(ExchangeError::Refused(Fault::callback(&super::oauth_error(callback), now)));
        }
        let registration = self.registration_in_use(visitor.institution.id).await?;
        let registration = registration.filter(|registration| registration.app() == waiting.app);
        let Some(registration) = registration else {
            return Err(ExchangeError::Refused(Fault::new("registration_changed", now, &[])));
        };
        let from = Answer {
            registration,
            verifier: Secret::new(waiting.verifier.clone()),
            nonce: Secret::new(waiting.nonce.clone()),
            redirect_uri: self.redirect_uri(&visitor.institution.public_url),
            scopes: if waiting.mail { Scopes::Mail } else { Scopes::Identity },
        };
        self.redeem(visitor.institution.id, callback, from).await
    }

    /// In a visitor's words. A missing permission, licence or policy of the mailbox must not keep anyone from signing in.
    fn refused_person(visitor: &Visitor, waiting: &Waiting, fault: &Fault) -> Failed {
        fault.log("sign-in", "microsoft");
        let reader = crate::diagnosis::Reader {
            institution: visitor.institution.name.clone(),
            public_url: visitor.institution.public_url.clone(),
            ..Default::default()
        };
        let why = fault.explain(&reader);
        // Without the app nobody comes in by Microsoft, with mail or without.
        let is_of_app = fault.is_of_app();
        let without_mail = waiting.mail && fault.is_refusal() && !is_of_app;
        let more = match (is_of_app, without_mail) {
            (true, _) => {
                " Until an administrator fixes it, no one can sign in with Microsoft: if you have a password, use it below; administrators who kept theirs fix it under Institution Config › General › Email."
            }
            (false, true) => " You can sign in without connecting your mailbox.",
            (false, false) => "",
        };
        let path = match &waiting.invitation {
            Some(token) if without_mail => format!("/invitation/{token}?mail=no"),
            Some(token) => format!("/invitation/{token}"),
            None if without_mail => WITHOUT_MAIL.to_owned(),
            None => LOGIN_PATH.to_owned(),
        };
        let shown = failed("refused by Microsoft", &why.title, &format!("{}{more}", why.summary));
        Failed { path, cause: Some(fault.cause.clone()), ..shown }
    }
}
