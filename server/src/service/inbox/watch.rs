//! The stream of changes of a user's mail.

use std::sync::Arc;
use std::time::Duration;

use app::backend::{MailOwner, MailStream, OpenFolder, Result, SignedIn};
use futures::stream;
use tokio::sync::broadcast::error::RecvError;

use super::Services;
use crate::mailbox_sync;
use crate::store::Event;

/// How often a mail stream checks its session, and whether it missed events.
const CHECK_INTERVAL: Duration = Duration::from_secs(30);

struct Watching {
    services: Arc<Services>,
    user: SignedIn,
    event: tokio::sync::broadcast::Receiver<Event>,
    version: String,
    _folder: Option<mailbox_sync::FolderWatch>,
}

impl Services {
    pub(super) async fn watch_mail(
        self: &Arc<Self>,
        user: &MailOwner,
        open: Option<OpenFolder>,
        version: String,
    ) -> Result<MailStream> {
        let event = self.store.events();
        let watched = match open {
            Some(OpenFolder { mailbox, folder }) => {
                let mailbox = self.own_mailbox(user, mailbox).await?;
                let folders = self.store.folders(mailbox.key()).await?;
                let known = folder.eq_ignore_ascii_case("INBOX") || folders.iter().any(|row| row.name == folder);
                known.then(|| self.mailbox_sync.watch_folder(mailbox.key(), &folder))
            }
            None => None,
        };
        let start = Watching { services: Arc::clone(self), user: user.signed_in(), event, version, _folder: watched };
        Ok(Box::pin(stream::unfold(start, |mut watching| async move {
            loop {
                // Boxed: a stream waits most of the time, and keeps room for its largest step.
                if !Box::pin(watching.services.lives(&watching.user)).await {
                    return None;
                }
                let store = &watching.services.store;
                let (institution, user) = (watching.user.institution().id, watching.user.user_id());
                let now = Box::pin(store.mail_version(institution, user)).await.ok()?;
                if now != watching.version {
                    watching.version = now;
                    return Some(((), watching));
                }
                let end = tokio::time::Instant::now() + CHECK_INTERVAL;
                loop {
                    let heard = tokio::select! {
                        heard = watching.event.recv() => heard,
                        () = tokio::time::sleep_until(end) => break,
                        () = watching.services.stop.cancelled() => return None,
                    };
                    match heard {
                        Ok(Event::Mail(changed)) if changed == watching.user.user_id() => break,
                        Ok(_) => {}
                        Err(RecvError::Lagged(_)) => break,
                        Err(RecvError::Closed) => return None,
                    }
                }
            }
        })))
    }
}
