//! The home page: what needs attention, and what works.

use app::backend::{Home, SignedIn};
use app::error::AppError;
use app::model::{EMAIL_CONFIG_PATH, MailboxState, Notice, Provider, Tone};

use super::background::alerts::REMIND_DAYS;
use super::{OrInternal, Services};
use crate::diagnosis::Fault;
use crate::store::Slot;

impl Services {
    /// What the home page says, most urgent first.
    pub(super) async fn home_page(&self, user: &SignedIn) -> Result<Home, AppError> {
        let institution = user.institution().id;
        let config = || EMAIL_CONFIG_PATH.to_owned();
        let mut home = Home::default();
        let mut say = |tone, title: &str, text: String, path: String, action: &str| {
            home.notices.push((Notice::new(tone, title, text), path, action.to_owned()));
        };
        let settings = self.store.email_settings(institution).await.or_internal(self)?;
        let registration = self.store.registration(institution, Slot::Current).await.or_internal(self)?;
        if user.administrator().is_ok() {
            let days = registration.as_ref().and_then(|current| self.registration_view(current).secret_days_left);
            match (&registration, settings.provider) {
                (None, _) => say(
                    Tone::Warning,
                    "Set up email first.",
                    "Choose MS Exchange Online and paste the three values of your app registration.".into(),
                    config(),
                    "Set up email",
                ),
                (Some(current), Provider::ExchangeOnline) if current.verified_at.is_none() => {
                    say(
                        Tone::Warning,
                        "The app registration is not verified yet.",
                        "Microsoft could not be asked when it was saved.".into(),
                        config(),
                        "Verify again",
                    );
                }
                _ => {}
            }
            if let Some((_, problem)) = self.store.registration_problem(institution).await.or_internal(self)? {
                let diagnosis = Fault::from_json(&problem).explain(&self.reader(user, ""));
                say(
                    Tone::Problem,
                    "Microsoft refuses the app registration.",
                    format!(
                        "{} Nobody can send or receive until this is fixed; waiting messages stay queued.",
                        diagnosis.title
                    ),
                    config(),
                    "Mend it",
                );
            }
            match days {
                Some(days) if days < 0 => say(
                    Tone::Problem,
                    "The Client Secret has expired.",
                    "Nobody can connect, and mail will stop. Create a new one and paste its Value.".into(),
                    config(),
                    "Renew the secret",
                ),
                Some(days) if days <= REMIND_DAYS[0] => say(
                    Tone::Warning,
                    "The Client Secret expires soon.",
                    format!("It ends in {days} days. A new one takes effect at once for everybody."),
                    config(),
                    "Renew the secret",
                ),
                _ => {}
            }
            if let Some(problem) = settings.notification_problem.filter(|_| settings.custom_from) {
                say(
                    Tone::Problem,
                    "The notification mailbox fails.",
                    format!("{problem}. The system's sender is used instead, where there is one."),
                    config(),
                    "Look at it",
                );
            }
            let undelivered = self.store.undelivered_notifications(institution).await.or_internal(self)?;
            if let Some((address, why)) = undelivered.first() {
                let others = if undelivered.len() > 1 { " The list of users shows the others." } else { "" };
                say(
                    Tone::Warning,
                    "An email of Entrepost did not arrive.",
                    format!("{address} did not get it: {}.{others}", why.trim_end_matches('.')),
                    "/institution/users".into(),
                    "Open Users",
                );
            }
            let mailboxes = self.store.mailboxes(institution).await.or_internal(self)?;
            let sender = mailboxes.iter().find(|mailbox| Some(mailbox.id) == settings.notification_mailbox);
            let sender_works =
                settings.custom_from && sender.is_some_and(|mailbox| mailbox.state != MailboxState::NeedsReconnect);
            let can_send = self.config.system_smtp.is_some() || sender_works;
            if !can_send {
                say(
                    Tone::Warning,
                    "Notifications cannot be sent.",
                    "There is no system SMTP and no notification mailbox. Invitations are links to hand over.".into(),
                    config(),
                    "Choose a sender",
                );
            }
            let stuck = mailboxes.iter().filter(|mailbox| mailbox.state != MailboxState::Connected).count();
            if stuck > 0 {
                let what = if stuck == 1 {
                    "1 mailbox does not work.".to_owned()
                } else {
                    format!("{stuck} mailboxes do not work.")
                };
                say(
                    Tone::Warning,
                    &what,
                    "The list of users shows which.".into(),
                    "/institution/users".into(),
                    "Open Users",
                );
            }
        }
        let mine = self.store.mailboxes_of(institution, user.user_id()).await.or_internal(self)?;
        let account = || "/account/email".to_owned();
        let ready = registration.is_some() && settings.provider == Provider::ExchangeOnline;
        if mine.is_empty() && ready {
            say(
                Tone::Warning,
                "Your mailbox is not connected.",
                "It takes a minute: sign in at Microsoft once.".into(),
                account(),
                "Connect my mailbox",
            );
        }
        for mailbox in mine {
            match mailbox.state {
                MailboxState::Connected => say(
                    Tone::Success,
                    &format!("{} is connected.", mailbox.address),
                    "Entrepost sends and receives as you.".into(),
                    "/mail/inbox".to_owned(),
                    "Open the inbox",
                ),
                MailboxState::Blocked => say(
                    Tone::Problem,
                    &format!("{} does not work yet.", mailbox.address),
                    "A check fails. Your sign-in is kept.".into(),
                    account(),
                    "See what is wrong",
                ),
                MailboxState::NeedsReconnect => {
                    // The institution may have ended the connection: then nothing needs to be done at Microsoft.
                    let fault = mailbox.problem.as_deref().map(Fault::from_json);
                    let why = fault.map(|fault| fault.explain(&self.reader(user, &mailbox.address)));
                    let text = why.map_or_else(
                        || "Microsoft has ended the connection.".to_owned(),
                        |why| format!("{} {}", why.title, why.summary),
                    );
                    let title = format!("{} is not connected any more.", mailbox.address);
                    say(Tone::Problem, &title, text, account(), "What to do");
                }
            }
        }
        Ok(home)
    }
}
