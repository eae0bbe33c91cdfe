//! The home page: what needs attention, and what works.

use app::backend::{Home, HomeNotice, Result, SignedIn};
use app::model::{
    ACCOUNT_PATH, CredentialKind, EMAIL_CONFIG_PATH, EmailState, INBOX_PATH, InstitutionId, MailboxState, Notice,
    Provider, Tone, USERS_PATH,
};

use super::Services;
use crate::store::Slot;

impl Services {
    /// What the home page says, most urgent first.
    pub(super) async fn home_page(&self, user: &SignedIn) -> Result<Home> {
        let institution = user.institution().id;
        let config = || EMAIL_CONFIG_PATH.to_owned();
        let (mut notices, mut state) = (Vec::new(), None);
        let mut say = |tone, title: &str, text: String, path: String, action: &str| {
            let notice = Notice::new(tone, title, text);
            notices.push(HomeNotice { notice, path, action: action.to_owned(), is_past: false });
        };
        let settings = self.store.email_settings(institution).await?;
        let registration = self.store.registration(institution, Slot::Current).await?;
        if user.administrator().is_ok() {
            let found = self.email_state(user).await?;
            let Notice { tone, title, text, .. } = found.notice();
            let action = match &found {
                EmailState::NotSetUp => "Set up email",
                EmailState::Unchecked => "Check again",
                EmailState::Works { days_left: Some(days), .. } if *days < 0 => "Enter the date",
                EmailState::Works { credential: CredentialKind::Secret, .. } => "Renew the secret",
                EmailState::Works { .. } => "Open the configuration",
                EmailState::Stopped(_) => "Fix it",
            };
            if tone != Tone::Success {
                say(tone, &title, text, config(), action);
            }
            state = Some(found);
            if let Some(problem) = settings.notification_problem.filter(|_| settings.custom_from) {
                say(
                    Tone::Problem,
                    "The notification mailbox doesn't work.",
                    format!("{problem}. The system's sender is used instead, if there is one."),
                    config(),
                    "Fix it",
                );
            }
            if self.outbox.sender(institution, &user.institution().slug).await?.is_none() {
                say(
                    Tone::Warning,
                    "Notifications can't be sent.",
                    "There is no system SMTP and no notification mailbox. Copy invitation links and send them yourself.".into(),
                    config(),
                    "Choose a sender",
                );
            }
        }
        let mine = self.store.mailboxes_of(institution, user.user_id()).await?;
        let account = || ACCOUNT_PATH.to_owned();
        let ready = registration.is_some() && settings.provider == Provider::ExchangeOnline;
        // Nobody can connect one while the app is what is wrong.
        let is_stopped = state.as_ref().is_some_and(|state: &EmailState| state.stopped().is_some());
        if mine.is_empty() && ready && !is_stopped {
            say(
                Tone::Warning,
                "Your mailbox isn't connected.",
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
                    "You can send and receive in Entrepost.".into(),
                    INBOX_PATH.to_owned(),
                    "Open inbox",
                ),
                MailboxState::Blocked => say(
                    Tone::Problem,
                    &format!("{} doesn't work yet.", mailbox.address),
                    "A check fails. You don't need to sign in again.".into(),
                    account(),
                    "See what is wrong",
                ),
                MailboxState::NeedsReconnect => {
                    // The institution may have ended the connection: then nothing needs to be done at Microsoft.
                    let fault = mailbox.problem.as_ref();
                    let why = fault.map(|fault| fault.explain(&self.reader(user, &mailbox.address)));
                    let text = why.map_or_else(
                        || "Microsoft ended the connection.".to_owned(),
                        |why| format!("{} {}", why.title, why.summary),
                    );
                    let title = format!("{} needs to be reconnected.", mailbox.address);
                    say(Tone::Problem, &title, text, account(), "What to do");
                }
            }
        }
        if user.administrator().is_ok() {
            notices.extend(self.undelivered(institution).await?);
        }
        notices.sort_by_key(|one| one.notice.tone == Tone::Success);
        Ok(Home { state, notices })
    }

    /// Emails to people or to the reminder address that did not arrive.
    async fn undelivered(&self, institution: InstitutionId) -> Result<Option<HomeNotice>> {
        let undelivered = self.store.undelivered_notifications(institution).await?;
        let Some((address, why)) = undelivered.first() else { return Ok(None) };
        let why = format!("{address}: {}.", why.trim_end_matches('.'));
        let (title, text) = match undelivered.len() {
            1 => ("An email from Entrepost wasn't delivered.".to_owned(), format!("It was addressed to {why}")),
            count => (format!("{count} emails from Entrepost weren't delivered."), format!("The newest was to {why}")),
        };
        let notice = Notice::new(Tone::Warning, title, text);
        Ok(Some(HomeNotice { notice, path: USERS_PATH.to_owned(), action: "Open Users".to_owned(), is_past: true }))
    }
}
