//! The home page: what needs attention, and what works.

use app::backend::{Home, Result, SignedIn};
use app::model::{
    ACCOUNT_PATH, EMAIL_CONFIG_PATH, INBOX_PATH, MailboxState, Notice, Provider, Tone, USERS_PATH, in_days,
};

use super::Services;
use super::background::alerts::REMIND_DAYS;
use crate::store::Slot;

impl Services {
    /// What the home page says, most urgent first.
    pub(super) async fn home_page(&self, user: &SignedIn) -> Result<Home> {
        let institution = user.institution().id;
        let config = || EMAIL_CONFIG_PATH.to_owned();
        let mut home = Home::default();
        let mut say = |tone, title: &str, text: String, path: String, action: &str| {
            home.notices.push((Notice::new(tone, title, text), path, action.to_owned()));
        };
        let settings = self.store.email_settings(institution).await?;
        let registration = self.store.registration(institution, Slot::Current).await?;
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
                        "The app registration hasn't been checked yet.",
                        "Microsoft didn't answer when it was saved.".into(),
                        config(),
                        "Check again",
                    );
                }
                _ => {}
            }
            if let Some((_, problem)) = self.store.registration_problem(institution).await? {
                let diagnosis = problem.explain(&self.reader(user, ""));
                say(
                    Tone::Problem,
                    "Microsoft rejected our app's credentials.",
                    format!(
                        "{} No one can send or receive until this is fixed; waiting messages stay queued.",
                        diagnosis.title
                    ),
                    config(),
                    "Fix it",
                );
            }
            match days {
                Some(days) if days < 0 => say(
                    Tone::Problem,
                    "The Client Secret has expired.",
                    "No one can connect, and mail will stop. Create a new one and paste its Value.".into(),
                    config(),
                    "Renew the secret",
                ),
                Some(days) if days <= REMIND_DAYS[0] => say(
                    Tone::Warning,
                    "The Client Secret expires soon.",
                    format!("It expires {}. A new one takes effect immediately for everyone.", in_days(days)),
                    config(),
                    "Renew the secret",
                ),
                _ => {}
            }
            if let Some(problem) = settings.notification_problem.filter(|_| settings.custom_from) {
                say(
                    Tone::Problem,
                    "The notification mailbox doesn't work.",
                    format!("{problem}. The system's sender is used instead, if there is one."),
                    config(),
                    "Fix it",
                );
            }
            let undelivered = self.store.undelivered_notifications(institution).await?;
            if let Some((address, why)) = undelivered.first() {
                let why = format!("{address}: {}.", why.trim_end_matches('.'));
                let (title, text) = match undelivered.len() {
                    1 => ("An email from Entrepost wasn't delivered.".to_owned(), format!("It was addressed to {why}")),
                    count => (
                        format!("{count} emails from Entrepost weren't delivered."),
                        format!("The newest was to {why}"),
                    ),
                };
                say(Tone::Warning, &title, text, USERS_PATH.into(), "Open Users");
            }
            let mailboxes = self.store.mailboxes(institution).await?;
            let sender = mailboxes.iter().find(|mailbox| Some(mailbox.id) == settings.notification_mailbox);
            let sender_works =
                settings.custom_from && sender.is_some_and(|mailbox| mailbox.state != MailboxState::NeedsReconnect);
            let can_send = self.config.system_smtp.is_some() || sender_works;
            if !can_send {
                say(
                    Tone::Warning,
                    "Notifications can't be sent.",
                    "There is no system SMTP and no notification mailbox. Copy invitation links and send them yourself.".into(),
                    config(),
                    "Choose a sender",
                );
            }
            let stuck = mailboxes.iter().filter(|mailbox| mailbox.state != MailboxState::Connected).count();
            if stuck > 0 {
                let (title, action) = match stuck {
                    1 => ("1 mailbox doesn't work.".to_owned(), "See the mailbox".to_owned()),
                    count => (format!("{count} mailboxes don't work."), format!("See the {count} mailboxes")),
                };
                say(Tone::Warning, &title, String::new(), USERS_PATH.into(), &action);
            }
        }
        let mine = self.store.mailboxes_of(institution, user.user_id()).await?;
        let account = || ACCOUNT_PATH.to_owned();
        let ready = registration.is_some() && settings.provider == Provider::ExchangeOnline;
        if mine.is_empty() && ready {
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
        Ok(home)
    }
}
